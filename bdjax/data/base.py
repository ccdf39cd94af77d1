"""The one form that every data source is brought into, and the checks they share."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from bdjax import checks
from bdjax.types import UserError

Progress: TypeAlias = Callable[[int, int], None]
"""Called as ``progress(rows_done, rows_total)`` while a slow source is read."""


class Vocabulary(NamedTuple):
    """The words of a text data set.

    Attributes:
        words: token id to word; 0 is padding, 1 any unknown word.
        vectors: float32 ``[V, E]``, token id to word vector; zero for padding.
    """

    words: tuple[str, ...]
    vectors: np.ndarray


class Units(NamedTuple):
    """How features in the user's units became what networks read.

    ``x = (raw - offset) / scale``; both float32, shaped like one example or its last
    axis. Queries are turned back before a user's network is asked.
    """

    offset: np.ndarray
    scale: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled examples in memory.

    Attributes:
        name: the data set's name, for messages and records.
        x: examples, ``[N, *shape]``. Images are channels last (``[N, H, W, C]``) and
            either uint8 (divide by 255 to get [0, 1]) or float32 in [0, 1]; waves
            ``[N, samples]`` int16 (divide by 32768) or float32; sentences int32
            ``[N, tokens]``; tables and series float32.
        y: labels, int32 ``[N]``, each in ``[0, num_classes)``.
        num_classes: number of classes of the task.
        num_train: ``x[:num_train]`` is the training split, the rest the test split.
            ``num_train == N`` means that the data set has no test split of its own.
        vocabulary: of sentences.
        units: of features that were rescaled.
        notes: what a reader of results must know, one sentence each without a full
            stop.
        columns: of tables, what each column is called; ``'name=level'`` where it is
            one level of a category. Empty where nothing is known.

    Raises:
        UserError: if the arrays disagree in length, ``num_train`` is outside [1, N] or
            a label is out of range.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    num_classes: int
    num_train: int
    vocabulary: Vocabulary | None = None
    units: Units | None = None
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_lengths(len(self.x), len(self.y), f"data set {self.name!r}: x", "y")
        rows = f"[1, {len(self.x)}]"
        checks.within(rows, **{f"data set {self.name!r}: num_train": self.num_train})
        check_labels(self.y, self.num_classes, f"data set {self.name!r}: y")


class Request(NamedTuple):
    """What a task asks a source for.

    Attributes:
        name: the data set's name; sources with several look it up.
        num_classes: labels must be in ``[0, num_classes)``.
        shape: of one example, images channels last.
        path: file or directory, for the sources that read one; None for the default.
        progress: called as a slow source proceeds.
    """

    name: str
    num_classes: int
    shape: tuple[int, ...]
    path: str | None = None
    progress: Progress | None = None

    def file(self, source: str, what: str = "its path") -> pathlib.Path:
        """The path, of a source that reads one file, and ``what`` to give.

        Raises:
            UserError: there is none.
        """
        if self.path is None:
            raise UserError(
                f"source {source!r} reads a file: give {what} (--zoo.data.path=FILE)"
            )
        return pathlib.Path(self.path).expanduser()

    def no_file(self, source: str) -> None:
        """Raises ``UserError`` if there is a path, which ``source`` has no use for."""
        if self.path is not None:
            raise UserError(
                f"source {source!r} reads no files, but a path is given ({self.path}): "
                "drop it, or choose another source"
            )


Loader: TypeAlias = Callable[..., Dataset]
"""What an entry of ``bdjax.data.SOURCES`` is: called with a request, some with options.

It checks that the data fit the task, and raises ``UserError`` for everything that its
user can mend.
"""


def check_lengths(x_rows: int, y_rows: int, x_label: str, y_label: str) -> None:
    """Raises ``UserError`` unless there are as many labels as examples."""
    if x_rows != y_rows:
        raise UserError(
            f"{x_label} has {x_rows} rows but {y_label} has {y_rows}: give one label "
            "a row"
        )


def check_labels(y: np.ndarray, num_classes: int, where: str) -> None:
    """Raises ``UserError`` naming the first label outside ``[0, num_classes)``."""
    bad = np.flatnonzero((y < 0) | (y >= num_classes))
    if bad.size:
        raise UserError(
            f"{where} holds label {y[bad[0]]} in row {bad[0]}, but the task's "
            f"{num_classes} classes are numbered 0 to {num_classes - 1}: relabel it or "
            "choose the task that it belongs to"
        )


def check_shape(found: tuple[int, ...], shape: tuple[int, ...], where: str) -> None:
    """Raises ``UserError`` unless one example's shape is the task's."""
    if tuple(found) != tuple(shape):
        if len(shape) > 1 and tuple(found) == (shape[-1], *shape[:-1]):
            axes = (0, *range(2, len(shape) + 1), 1)
            raise UserError(
                f"{where} holds examples of shape {tuple(found)}, channels first, but "
                f"the task takes {tuple(shape)}, channels last: save "
                f"x.transpose{axes}; a reshape would mix up their values"
            )
        raise UserError(
            f"{where} holds examples of shape {tuple(found)}, but the task takes "
            f"{tuple(shape)} (channels last): reshape them or choose another task"
        )
