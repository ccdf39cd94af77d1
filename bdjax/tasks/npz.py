"""A user's own arrays: a task made from the shape of an example and the classes.

``npz:28x28x1:10`` are images, ``npz:24x3:2`` series of 24 steps and 3 channels,
``npz:30:2`` vectors. ``npz`` alone is resolved from a file's headers by
:func:`name_of`, before anything else looks at it.
"""

import math
import re

import numpy as np

from bdjax.data.arrays import load_own
from bdjax.tasks.base import Task
from bdjax.types import UserError

SMALLEST = 4
"""Pixels a side that an image must have: two poolings, and room for a patch."""


def make_task(rest: str) -> Task:
    """The task that ``npz:`` and ``rest`` names, its network chosen by shape.

    Raises:
      UserError: ``rest`` is no shape and number of classes, or no network takes it.
    """
    match = re.fullmatch(r"(\d+(?:x\d+){0,2}):(\d+)", rest)
    if not match or int(match[2]) < 2 or 0 in map(int, match[1].split("x")):
        raise UserError(
            f"task 'npz:{rest}' is no shape and number of classes; write "
            "npz:HxWxC:K for images, npz:TxC:K for series, npz:D:K for vectors, K >= 2"
        )
    shape = tuple(map(int, match[1].split("x")))
    middle = {"official": (0.5, 0.25), "clipped": (0.5, 0.25)}
    return Task(
        name=f"npz:{rest}",
        shape=shape,
        num_classes=int(match[2]),
        value_range=(0.0, 1.0),
        model=_network(shape),
        query_init=middle,
        family={1: "tables", 2: "series", 3: "images"}[len(shape)],
        sources={"npz": load_own},
    )


def name_of(shape: tuple[int, ...], dtype: np.dtype, num_classes: int) -> str:
    """The full name of the task for arrays of such examples.

    ``[N, H, W, C]`` are images, ``[N, D]`` vectors. Of three axes, bytes and squares
    are grey images, any other floats series ``[N, T, C]``.

    Args:
      shape: of one example.
      dtype: of the array.
      num_classes: two or more.

    Raises:
      UserError: examples have no axis, or more than three.
    """
    if not 1 <= len(shape) <= 3 or not math.prod(shape):
        raise UserError(
            f"x_train holds examples of shape {shape}; give images (H, W, C) or "
            "(H, W), vectors (D,), or series (T, C)"
        )
    if len(shape) == 2 and (dtype == np.uint8 or shape[0] == shape[1]):
        shape = (*shape, 1)
    return f"npz:{'x'.join(map(str, shape))}:{num_classes}"


def _network(shape: tuple[int, ...]) -> str:
    if len(shape) < 3:
        return {1: "mlp", 2: "series_lstm"}[len(shape)]
    height, width, channels = shape
    if min(height, width) < SMALLEST:
        raise UserError(
            f"images of {height} x {width} pixels are too small; give {SMALLEST} or "
            "more a side, or save them as vectors"
        )
    if min(height, width) < 16:
        return "small_cnn"
    if max(height, width) > 40:
        return "thin_resnet"
    return "mntd_mnist_cnn" if channels == 1 else "mntd_cifar_cnn"
