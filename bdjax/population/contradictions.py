"""What is said of a model against its weights, and against itself."""

from typing import NamedTuple

import jax
import numpy as np

from bdjax.attacks import Attack
from bdjax.types import Variables


class Contradiction(NamedTuple):
    """The first of some models whose record cannot be true.

    Attributes:
      row: which, from 0.
      what: a predicate, such as ``"has an accuracy of 5, outside [0, 1]"``.
    """

    row: int
    what: str


def contradiction(
    attack: Attack,
    variables: Variables,
    rate: np.ndarray,
    loss: np.ndarray,
    accuracy: np.ndarray,
    asr: np.ndarray,
) -> Contradiction | None:
    """What training cannot have left behind, None where there is nothing of it.

    Args:
      attack: what was done to all of them.
      variables: stacked, leaves ``[M, ...]``.
      rate: float ``[M]``, poisoning rates: 0 of benign models and of edited ones that
        were trained clean, else above; at most 1.
      loss: float ``[M]``; NaN where training diverged, as it has where a weight is not
        finite.
      accuracy: float ``[M]`` in [0, 1]; NaN where it is not known.
      asr: likewise.
    """
    for name, values in (("accuracy", accuracy), ("attack success rate", asr)):
        # NaN lies outside nothing.
        for row in np.flatnonzero((values < 0) | (values > 1)):
            value = float(values[row])
            return _found(row, f"has an {name} of {value:.6g}, outside [0, 1]")
    is_right = (rate >= 0) & (rate <= 1)
    bound = "from 0 to 1"
    if attack.is_benign:
        is_right, bound = rate == 0, "0"
    elif attack.edit is None:
        is_right, bound = is_right & (rate > 0), "above 0 and at most 1"
    for row in np.flatnonzero(~is_right):
        value = float(rate[row])
        what = (
            f"is called {attack.name!r} and has a poisoning rate of {value:.6g}, not "
        )
        return _found(row, what + bound)
    for row in np.flatnonzero(~finite(variables) & ~np.isnan(loss)):
        value = float(loss[row])
        what = f"has weights that are not finite and a loss of {value:.6g}, not NaN"
        return _found(row, what)
    return None


def finite(variables: Variables) -> np.ndarray:
    """Which of some stacked models have finite weights only: bool ``[M]``."""
    each = [
        np.isfinite(leaf).reshape(len(leaf), -1).all(1)
        for leaf in map(np.asarray, jax.tree.leaves(variables))
    ]
    return np.logical_and.reduce(each)


def _found(row: np.integer, what: str) -> Contradiction:
    return Contradiction(int(row), what)
