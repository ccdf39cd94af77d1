"""Which rows the defender, the attacker and the final test may use."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from bdjax import checks
from bdjax.data.base import Dataset
from bdjax.types import UserError

Draw: TypeAlias = Callable[[np.ndarray, int, int, int], tuple[np.ndarray, np.ndarray]]
"""``(labels, defender, attacker, seed)`` of the training rows -> the defender's and
the attacker's rows."""

# Streams of one seed, so that the test rows do not depend on the mode's generator.
_TRAIN_STREAM, _TEST_STREAM = 0, 1


@dataclasses.dataclass(frozen=True, eq=False)
class Splits:
    """Row indices into ``Dataset.x``.

    Attributes:
        defender: int32 ``[defender]``, training rows that shadow models learn from.
        attacker: int32 ``[attacker]``, training rows that target models learn from.
        test: int32 ``[test]``, rows in neither of them.
    """

    defender: np.ndarray
    attacker: np.ndarray
    test: np.ndarray


def make_splits(
    dataset: Dataset,
    *,
    defender: int,
    attacker: int,
    test: int,
    seed: int,
    mode: str = "disjoint",
) -> Splits:
    """Draws the rows of the three parts, uniformly and, but for a mode, not stratified.

    Args:
        dataset: the data set. The test rows come from its test split if it has one,
            else from the training rows that the other two parts leave.
        defender: number of the defender's rows; the paper takes 2 % of the training
            split.
        attacker: number of the attacker's rows; the paper takes 50 %.
        test: number of test rows.
        seed: in ``[0, 2**32)``; the same arguments give the same rows.
        mode: ``'disjoint'``: one permutation of the training split, the defender's rows
            first, then the attacker's. ``'official'``: the draw of MNTD's published
            code, each part with replacement from the whole training split, so rows
            repeat and the parts overlap (with its 2 % and 50 %, 39 % of the defender's
            rows are the attacker's too). ``'every_class'``: as ``'disjoint'``, but
            where the defender's rows lack a class, its first row behind them takes the
            place of their last row of a class that they hold more than once; then
            likewise the attacker's, from what the defender leaves.

    Returns:
        The rows of each part, in the order drawn.

    Raises:
        UserError: if the mode is unknown, the seed or a size is out of range, there
            are too few rows, or the defender's rows lack a class.
    """
    checks.one_of(MODES, **{"split mode": mode})
    if not 0 <= seed < 2**32:
        raise UserError(f"split seed is {seed}; it must be in [0, 2**32)")
    checks.at_least(0, defender=defender, attacker=attacker, test=test)
    _check_sizes(dataset, defender, attacker, test, mode)
    drawn = MODES[mode](dataset.y[: dataset.num_train], defender, attacker, seed)
    room = dataset.num_train - attacker
    if dataset.num_train == len(dataset.y):
        room -= test
    _check_classes(dataset, drawn[0], seed, mode, room)
    pool = np.arange(dataset.num_train, len(dataset.y))
    if not pool.size:
        pool = np.setdiff1d(np.arange(dataset.num_train), np.concatenate(drawn))
        if test > pool.size:
            raise UserError(
                f"data set {dataset.name!r} has no test split and the defender's and "
                f"attacker's draws leave {pool.size} of its {dataset.num_train} rows, "
                f"fewer than test = {test}: lower one of the three"
            )
    rng = np.random.default_rng((seed, _TEST_STREAM))
    rows = rng.choice(pool, test, replace=False)
    return Splits(*(part.astype(np.int32) for part in (*drawn, rows)))


def _permutation(num_train: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, _TRAIN_STREAM)).permutation(num_train)


def _draw_disjoint(
    y_N: np.ndarray, defender: int, attacker: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rows = _permutation(len(y_N), seed)
    return rows[:defender], rows[defender : defender + attacker]


def _draw_every_class(
    y_N: np.ndarray, defender: int, attacker: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rows = _with_every_class(_permutation(len(y_N), seed), y_N, defender)
    rest = _with_every_class(rows[defender:], y_N, attacker)
    return rows[:defender], rest[:attacker]


def _with_every_class(rows: np.ndarray, y_N: np.ndarray, size: int) -> np.ndarray:
    """The same rows, ordered so that the first ``size`` hold as many classes as can be.

    As few of them change places as need be.
    """
    first_C = np.unique(y_N[rows], return_index=True)[1]
    absent = np.sort(first_C[first_C >= size])
    spare = np.setdiff1d(np.arange(size), first_C)[::-1][: len(absent)]
    absent = absent[: len(spare)]
    rows = rows.copy()
    rows[spare], rows[absent] = rows[absent], rows[spare]
    return rows


def _draw_official(
    y_N: np.ndarray, defender: int, attacker: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    # The order of the two draws is the published code's: its counts depend on it.
    rng = np.random.RandomState(seed)
    return rng.choice(len(y_N), defender), rng.choice(len(y_N), attacker)


MODES: dict[str, Draw] = {
    "disjoint": _draw_disjoint,
    "every_class": _draw_every_class,
    "official": _draw_official,
}
"""Name of a mode -> how it draws the defender's and the attacker's rows."""


def _check_sizes(
    dataset: Dataset, defender: int, attacker: int, test: int, mode: str
) -> None:
    """Raises ``UserError`` where no draw can have enough rows."""
    num_test = len(dataset.y) - dataset.num_train
    parts = {"defender": defender, "attacker": attacker}
    alone = [("test", test, num_test, "test")] if num_test else []
    if mode == "official":
        alone += [(*part, dataset.num_train, "training") for part in parts.items()]
    for part, size, held, kind in alone:
        if size > held:
            raise UserError(
                f"data set {dataset.name!r} has {held} {kind} rows, fewer than {part} "
                f"= {size}: lower it"
            )
    if mode == "official":
        return
    if not num_test:
        parts["test"] = test
    need = sum(parts.values())
    if need > dataset.num_train:
        terms = " + ".join(f"{part} {size}" for part, size in parts.items())
        raise UserError(
            f"data set {dataset.name!r} has {dataset.num_train} training rows"
            f"{'' if num_test else ' and no test split'}, but {terms} need {need}: "
            "lower one, or load a larger data set"
        )


def _check_classes(
    dataset: Dataset, defender: np.ndarray, seed: int, mode: str, room: int
) -> None:
    """Raises ``UserError`` naming a class that the defender's rows lack.

    And what gives them one, of which ``room`` is the most rows that they may be.
    """
    classes = np.arange(dataset.num_classes)
    missing = np.setdiff1d(classes, dataset.y[defender])
    if not missing.size:
        return
    absent = np.setdiff1d(classes, dataset.y[: dataset.num_train])
    if absent.size:
        raise UserError(
            f"data set {dataset.name!r} has no training row of class {absent[0]} (of "
            f"{dataset.num_classes}): add some, or choose the task that it belongs to"
        )
    least, others = dataset.num_classes, len(missing) - 1
    remedy = "set data.split to 'every_class'"
    if len(defender) < least:
        remedy = f"raise data.defender to {least} or more, and " + remedy
    if mode == "every_class":
        remedy = f"raise data.defender to {least} or more"
    elif mode == "disjoint" and (enough := _enough(dataset, seed)) <= room:
        remedy += f", or raise data.defender to {enough} or more (at this seed)"
    raise UserError(
        f"the defender's {len(defender)} rows of {dataset.name!r} hold none of class "
        f"{missing[0]}{f' and {others} others' if others else ''}: {remedy}"
    )


def _enough(dataset: Dataset, seed: int) -> int:
    """How many rows a disjoint draw takes to hold every class."""
    y = dataset.y[_permutation(dataset.num_train, seed)]
    return int(np.unique(y, return_index=True)[1].max()) + 1
