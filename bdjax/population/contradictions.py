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
    # NaN lies outside nothing.
    outside = [(values < 0) | (values > 1) for values in (accuracy, asr, rate)]
    bound, is_wrong = "from 0 to 1", outside[2] | np.isnan(rate)
    if attack.is_benign:
        bound, is_wrong = "0", rate != 0
    elif attack.edit is None:
        bound, is_wrong = "above 0 and at most 1", is_wrong | (rate == 0)
    called = f"is called {attack.name!r} and has a poisoning rate of"
    for wrong, values, before, after in (
        (outside[0], accuracy, "has an accuracy of", ", outside [0, 1]"),
        (outside[1], asr, "has an attack success rate of", ", outside [0, 1]"),
        (is_wrong, rate, called, f", not {bound}"),
        (
            ~_finite(variables) & ~np.isnan(loss),
            loss,
            "has weights that are not finite and a loss of",
            ", not NaN",
        ),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            return Contradiction(row, f"{before} {float(values[row]):.6g}{after}")
    return None


def _finite(variables: Variables) -> np.ndarray:
    """Which of some stacked models have finite weights only: bool ``[M]``."""
    each = [
        np.isfinite(leaf).reshape(len(leaf), -1).all(1)
        for leaf in map(np.asarray, jax.tree.leaves(variables))
    ]
    return np.logical_and.reduce(each)
