"""Columns of any kind as numbers in [0, 1], by what the training rows hold."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from bdjax.data.base import Units
from bdjax.types import UserError

IMBALANCE = 0.1
"""How much more accurate than chance the answer of one class must be, for a note."""
_CHANCE = 4  # standard errors: few rows of balanced data are uneven, too

LONE = 0.1
"""All values but one in a smaller share of a feature's range are worth one as well."""

MISSING = frozenset(("", "?", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"))
"""Cells that stand for no number, in any case of letters."""

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
    widths = (len(field.columns) for field in fields)
    return tuple(itertools.pairwise(itertools.accumulate(widths, initial=0)))


def min_max(
    x_NxD: np.ndarray, num_train: int, names: Sequence[str] = ()
) -> tuple[np.ndarray, Units, list[str]]:
    """Scales features to [0, 1] by the least and greatest of the training rows.

    The last axis holds the features: the steps of ``[N, T, C]`` share one scale a
    channel. Constant ones become 0. Values beyond the training rows' are clipped.

    Args:
        x_NxD: finite floats, ``[N, D]`` or ``[N, T, C]``.
        num_train: ``x[:num_train]`` are the training rows.
        names: of the features, for notes; none for their numbers.

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
        of = f" of {_called(names, 0)}" if len(names) == 1 else ""
        notes.append(
            f"{outside} of {x.size} values{of} lie beyond those of the training rows "
            "and are clipped to the nearest of them"
        )
    # Networks are asked float32, in which large numbers have few decimals.
    units = Units(low_D.astype(np.float32), scale_D.astype(np.float32))
    coarse_D = np.spacing(np.abs(units.offset)) > COARSE * scale_D
    train_NxD = raw[:num_train].reshape(-1, raw.shape[-1])
    notes += _lone_note(train_NxD, low_D, high_D, names)
    for i in np.flatnonzero(coarse_D)[:1]:
        notes.append(
            f"{_called(names, i)} varies by {scale_D[i]:g} around {low_D[i]:g}, which "
            "float32 hardly tells apart: a network that reads it as it is will not "
            "either; take its mean off"
        )
    return np.clip(x, 0, 1).astype(np.float32), units, notes


def _called(names: Sequence[str], i: int) -> str:
    return repr(str(names[i])) if names else f"feature {i}"


def _lone_note(
    raw_NxD: np.ndarray, low_D: np.ndarray, high_D: np.ndarray, names: Sequence[str]
) -> list[str]:
    """Says which value leaves next to no range to all others, of the first feature."""
    above_D = raw_NxD.min(0, where=raw_NxD > low_D, initial=np.inf)
    below_D = raw_NxD.max(0, where=raw_NxD < high_D, initial=-np.inf)
    # What is left without the greatest value, and without the least.
    rest_2xD = np.stack([below_D - low_D, high_D - above_D])
    rest_D = rest_2xD.min(0)
    # 0 where there are two values, and no range where there is one.
    lone_D = (rest_D > 0) & (rest_D < LONE * (high_D - low_D))
    if not lone_D.any():
        return []
    i = int(lone_D.argmax())
    greatest = rest_2xD[0, i] <= rest_2xD[1, i]
    value = (high_D if greatest else low_D)[i]
    rest = (low_D[i], below_D[i]) if greatest else (above_D[i], high_D[i])
    count, more = int((raw_NxD[:, i] == value).sum()), int(lone_D.sum()) - 1
    return [
        f"one value, {value:g} ({count} of {len(raw_NxD)}), spans {_called(names, i)}: "
        f"all others lie in [{rest[0]:g}, {rest[1]:g}], close together once scaled; if "
        "it is a mistake or stands for a missing value, take it out"
        f"{f' (so it is with {more} more features)' if more else ''}"
    ]


def parse_numbers(
    texts: Sequence[str], num_train: int, name: str, places: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Numbers of one column, the training rows' median where one is missing.

    Args:
        texts: the cells; one of :data:`MISSING` stands for no number.
        num_train: how many of them, the first, are of training rows.
        name: the column's.
        places: where each cell is, in words.

    Returns:
        float64 ``[N]``, finite; notes.

    Raises:
        UserError: a cell is neither missing nor a number, or no training row has one.
    """
    x_N = np.array([_number(text) for text in texts])
    known = np.array([text.lower() not in MISSING for text in texts], bool)
    # Ranges, too, must be numbers in float32.
    strange = known & ~(np.abs(x_N) <= float(np.finfo(np.float32).max) / 2)
    if strange.any():
        i = int(strange.argmax())
        what = "no number" if np.isnan(x_N[i]) else "beyond float32"
        raise UserError(
            f"{places[i]} says {texts[i]!r} in column {name!r}, which is {what}: write "
            "it like 7688.5, without separators and units, or leave the cell empty if "
            "it is missing"
        )
    if not known[:num_train].any():
        raise UserError(
            f"column {name!r} holds no number in the {num_train} training rows, such "
            f"as {texts[0]!r} in the first: fill it in, or check the header"
        )
    if known.all():
        return x_N, []
    from sklearn.impute import SimpleImputer

    x_Nx1 = np.where(known, x_N, np.nan)[:, None]
    imputer = SimpleImputer(strategy="median").fit(x_Nx1[:num_train])
    note = (
        f"{int((~known).sum())} of {len(x_N)} values of {name!r} are missing; the "
        f"training rows' median, {imputer.statistics_[0]:g}, stands for them"
    )
    return imputer.transform(x_Nx1)[:, 0], [note]


def one_hot(
    texts: Sequence[str], num_train: int, field: Field
) -> tuple[np.ndarray, list[str]]:
    """One column a level; all are 0 where no training row has the row's level.

    A cell of :data:`MISSING` is of the level ``"?"``, if there is one.

    Returns:
        float32 ``[N, levels]``; notes.

    Raises:
        UserError: no training row has a known level.
    """
    from sklearn.preprocessing import OneHotEncoder

    level_N = np.array(
        [t if t in field.levels or t.lower() not in MISSING else "?" for t in texts]
    )
    known = np.isin(level_N, np.intersect1d(level_N[:num_train], field.levels))
    if not known[:num_train].any():
        raise UserError(
            f"column {field.name!r} holds no level that is known in the {num_train} "
            f"training rows, such as {texts[0]!r} in the first: write "
            f"{', '.join(map(repr, field.levels[:3]))} or the like, or check the header"
        )
    encoder = OneHotEncoder(
        categories=[list(field.levels)],
        handle_unknown="ignore",
        sparse_output=False,
        dtype=np.float32,
    )
    x_NxL = encoder.fit_transform(np.where(known, level_N, "")[:, None])
    if known.all():
        return x_NxL, []
    strange = texts[int(known.argmin())]
    note = (
        f"{int((~known).sum())} of {len(texts)} rows have a level of {field.name!r} "
        f"that no training row has, such as {strange!r}; its columns are all 0"
    )
    return x_NxL, [note]


def imbalance_notes(y_N: np.ndarray, num_classes: int) -> list[str]:
    """Says how frequent the most frequent class is, if that misleads.

    It does where a network that knows nothing could seem good: where that class has a
    tenth of the rows more than in balanced data, and more than a draw of as many rows
    from balanced data gives.

    Args:
        y_N: labels of the training rows.
        num_classes: of the task.
    """
    share_C = np.bincount(y_N, minlength=num_classes) / len(y_N)
    even = 1 / num_classes
    error = math.sqrt(even * (1 - even) / len(y_N))
    if share_C.max() <= even + max(IMBALANCE, _CHANCE * error):
        return []
    return [
        f"classes are imbalanced: {share_C.max():.0%} of the training rows are of "
        f"class {share_C.argmax()}, so a network that always says so has that accuracy"
    ]


def _number(text: str) -> float:
    try:
        return float(text) if "_" not in text else np.nan  # 1_2 is a code
    except ValueError:
        return np.nan
