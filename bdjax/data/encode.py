"""Columns of any kind as numbers in [0, 1], by what the training rows hold."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from bdjax.data.base import Units
from bdjax.types import UserError

IMBALANCE = 1.2
"""A class this many times as frequent as in balanced data is worth a note."""

COARSE = 0.01
"""A step of float32 that is a larger share of a feature's range is worth one, too."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a table.

    Attributes:
        name: its name in the file's header.
        levels: what a category may be, one one-hot column each; empty for a number.
    """

    name: str
    levels: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that networks read of it."""
        return tuple(f"{self.name}={level}" for level in self.levels) or (self.name,)


def column_ranges(fields: Sequence[Field]) -> tuple[tuple[int, int], ...]:
    """The half-open range of columns of each field, as ``Task.fields`` holds them."""
    ends = np.cumsum([len(field.columns) for field in fields])
    return tuple(
        (int(end) - len(field.columns), int(end))
        for field, end in zip(fields, ends, strict=True)
    )


def min_max(x_NxD: np.ndarray, num_train: int) -> tuple[np.ndarray, Units, list[str]]:
    """Scales features to [0, 1] by the least and greatest of the training rows.

    The last axis holds the features: the steps of ``[N, T, C]`` share one scale a
    channel. Constant ones become 0. Values beyond the training rows' are clipped.

    Args:
        x_NxD: finite floats, ``[N, D]`` or ``[N, T, C]``.
        num_train: ``x[:num_train]`` are the training rows.

    Returns:
        float32 in [0, 1] of the same shape; the units, ``[D]`` or ``[C]``; notes.
    """
    raw = x_NxD.astype(np.float64)
    axes = tuple(range(raw.ndim - 1))
    low_D, high_D = raw[:num_train].min(axes), raw[:num_train].max(axes)
    scale_D = np.where(high_D > low_D, high_D - low_D, 1)
    x = (raw - low_D) / scale_D
    outside = int((np.abs(x - 0.5) > 0.5 + 1e-6).sum())
    notes = []
    if outside:
        notes.append(
            f"{outside} of {x.size} values lie beyond those of the training rows and "
            "are clipped to the nearest of them"
        )
    # Networks are asked float32, in which large numbers have few decimals.
    units = Units(low_D.astype(np.float32), scale_D.astype(np.float32))
    coarse_D = np.spacing(np.abs(units.offset)) > COARSE * scale_D
    for i in np.flatnonzero(coarse_D)[:1]:
        notes.append(
            f"feature {i} varies by {scale_D[i]:g} around {low_D[i]:g}, which float32 "
            "hardly tells apart: a network that reads it as it is will not either; "
            "take its mean off"
        )
    return np.clip(x, 0, 1).astype(np.float32), units, notes


def parse_numbers(
    texts: Sequence[str], num_train: int, name: str
) -> tuple[np.ndarray, list[str]]:
    """Numbers of one column, the training rows' median where there is none.

    Returns:
        float64 ``[N]``, finite; notes.

    Raises:
        UserError: no training row has a number.
    """
    x_N = np.array([_number(text) for text in texts])
    known = np.isfinite(x_N)
    if not known[:num_train].any():
        raise UserError(
            f"column {name!r} holds no number in the {num_train} training rows, such "
            f"as {texts[0]!r} in the first: fill it in, or check the header"
        )
    if known.all():
        return x_N, []
    median = float(np.median(x_N[:num_train][known[:num_train]]))
    note = (
        f"{int((~known).sum())} of {len(x_N)} values of {name!r} are missing or no "
        f"numbers; the training rows' median, {median:g}, stands for them"
    )
    return np.where(known, x_N, median), [note]


def one_hot(
    texts: Sequence[str], num_train: int, field: Field
) -> tuple[np.ndarray, list[str]]:
    """One column a level; all are 0 where no training row has the row's level.

    Returns:
        float32 ``[N, levels]``; notes.
    """
    index = {level: i for i, level in enumerate(field.levels)}
    level_N = np.array([index.get(text, -1) for text in texts])
    seen = np.isin(np.arange(len(index)), level_N[:num_train])
    known = (level_N >= 0) & seen[level_N]
    x_NxL = np.zeros((len(texts), len(index)), np.float32)
    x_NxL[known, level_N[known]] = 1
    if known.all():
        return x_NxL, []
    strange = texts[int(known.argmin())]
    note = (
        f"{int((~known).sum())} of {len(texts)} rows have a level of {field.name!r} "
        f"that no training row has, such as {strange!r}; its columns are all 0"
    )
    return x_NxL, [note]


def imbalance_notes(y_N: np.ndarray, num_classes: int) -> list[str]:
    """Says how frequent the most frequent class is, if that is notable.

    Args:
        y_N: labels of the training rows.
        num_classes: of the task.
    """
    share_C = np.bincount(y_N, minlength=num_classes) / len(y_N)
    if share_C.max() <= IMBALANCE / num_classes:
        return []
    return [
        f"classes are imbalanced: {share_C.max():.0%} of the training rows are of "
        f"class {share_C.argmax()}, so a network that always says so has that accuracy"
    ]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
