"""A user's own arrays: a task made from the shape of an example and the classes.

``npz:28x28x1:10`` are images, ``npz:24x3:2`` series of 24 steps and 3 channels,
``npz:30:2`` vectors. ``npz`` alone is resolved from a file's headers by
:func:`name_of`, before anything else looks at it.
"""

import math
import re

import numpy as np

from bdjax.data.npz import load_own
from bdjax.tasks.base import IMAGES, SERIES, TABLES, Task
from bdjax.types import UserError

SMALLEST = 4
"""Pixels a side that an image must have: two poolings, and room for a patch."""

COLOURS = 4
"""So many channels or fewer at the end are taken for channels, whatever comes first."""


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
        modality={1: TABLES, 2: SERIES, 3: IMAGES}[len(shape)],
        sources={"npz": load_own},
    )


def name_of(shape: tuple[int, ...], dtype: np.dtype, num_classes: int) -> str:
    """The full name of the task for arrays of such examples.

    ``[N, H, W, C]`` are images, ``[N, D]`` vectors. Of three axes, bytes and squares
    are grey images, any other floats series ``[N, T, C]``. What looks channels first
    is refused: it can still be named.

    Args:
      shape: of one example.
      dtype: of the array.
      num_classes: two or more.

    Raises:
      UserError: examples have no axis, or more than three, or look channels first.
    """
    if not 1 <= len(shape) <= 3 or not math.prod(shape):
        raise UserError(
            f"x_train holds examples of shape {shape}; give images (H, W, C) or "
            "(H, W), vectors (D,), or series (T, C)"
        )
    if len(shape) == 2 and (dtype == np.uint8 or shape[0] == shape[1]):
        shape = (*shape, 1)
    name = f"npz:{'x'.join(map(str, shape))}:{num_classes}"
    if looks_channels_first(shape):
        raise UserError(
            f"x_train holds examples of shape {shape}, which look channels first: save "
            f"{_TRANSPOSED[len(shape)]}, channels last{_otherwise(shape, num_classes)}"
        )
    return name


_TRANSPOSED = {2: "x.transpose(0, 2, 1)", 3: "x.transpose(0, 2, 3, 1)"}


def looks_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether one example is rather ``(C, H, W)`` or ``(C, T)`` than channels last.

    The first of three axes is shorter than both others, or these are alike: images are
    seldom less high than they have channels, or as wide. Series are some times longer
    than they have channels.
    """
    if len(shape) < 2 or shape[-1] <= COLOURS:
        return False
    if len(shape) == 2:
        return 4 * shape[0] <= shape[1]
    first, height, width = shape
    return first < min(height, width) or first != height == width


def _otherwise(shape: tuple[int, ...], num_classes: int) -> str:
    """How to say that an example is what its shape says, if any network takes it."""
    sizes = "x".join(map(str, shape))
    if len(shape) == 2:
        return (
            f"; or say what they are: --zoo.task=npz:{sizes}:{num_classes} (series "
            f"of {shape[0]} steps), or npz:{sizes}x1:{num_classes} (grey images)"
        )
    if min(shape[:2]) < SMALLEST:
        return ""
    return (
        f"; or, if they are images of {shape[0]} x {shape[1]} pixels and {shape[2]} "
        f"channels, say so: --zoo.task=npz:{sizes}:{num_classes}"
    )


def _network(shape: tuple[int, ...]) -> str:
    if len(shape) < 3:
        return {1: "mlp", 2: "series_lstm"}[len(shape)]
    height, width, channels = shape
    if min(height, width) < SMALLEST:
        remedy = (
            f"if they are channels first, save {_TRANSPOSED[3]}, channels last"
            if looks_channels_first(shape)
            else f"give {SMALLEST} or more a side, or save them as vectors"
        )
        raise UserError(f"images of {height} x {width} pixels are too small; {remedy}")
    if min(height, width) < 16:
        return "small_cnn"
    if max(height, width) > 40:
        return "thin_resnet"
    return "mntd_mnist_cnn" if channels == 1 else "mntd_cifar_cnn"
