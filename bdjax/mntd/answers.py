"""A stranger's network's answers, and whether they are logits."""

import numpy as np
from numpy.typing import ArrayLike

from bdjax.ranges import keeps_to
from bdjax.types import UserError


def check_answers(answers: ArrayLike, shape: tuple[int, int], asks: str) -> np.ndarray:
    """Logits as float32 of a shape ``[Q, C]``.

    Args:
      answers: what the network returned.
      shape: what it should have. Of two classes, one logit and two are turned into
        each other.
      asks: what it was asked, in words.

    Raises:
      UserError: they have the wrong shape or type, are not finite, do not depend on the
        query, or are probabilities and not logits.
    """
    try:
        given = np.asarray(answers)
    except Exception as error:
        raise UserError(
            f"the model's answer is a {type(answers).__name__} that NumPy cannot "
            f"read ({error}); return logits on the CPU, without gradients"
        ) from error
    logits = _of_two_classes(given, shape)
    if logits.shape != shape:
        raise UserError(
            f"the model answered with shape {logits.shape}; it must give logits "
            f"{shape}, one row for each query, which are {asks}"
        )
    if not _is_floating(logits):
        raise UserError(
            f"the model answered with dtype {logits.dtype}; it must give floating "
            "point logits, not class indices"
        )
    with np.errstate(over="ignore"):
        logits = logits.astype(np.float32)
    if not np.isfinite(logits).all():
        raise UserError(
            f"{np.count_nonzero(~np.isfinite(logits))} of the model's "
            f"{logits.size} logits are NaN or infinite; check its weights"
        )
    if np.ptp(logits, axis=0).max() <= 1e-6 * max(1.0, np.abs(logits).max()):
        raise UserError(
            "the model gives the same answer to every query; check that it reads "
            f"its input, {asks}, and is not a constant"
        )
    if given.shape[1:] > (1,):  # a single one is doubted, not refused
        _refuse_probabilities(given.astype(np.float32))
    return logits


def doubts(logits_QxC: np.ndarray) -> tuple[str, ...]:
    """What is odd in answers that have been checked, and yet possible; a sentence each.

    The single logits of a weak network may all lie in [0, 1], as probabilities do.
    """
    is_single = logits_QxC.shape[1] == 1 or not logits_QxC[:, :-1].any()
    if is_single and logits_QxC.min() >= 0 and logits_QxC.max() <= 1:
        return (
            "every answer lies in [0, 1]: if they are probabilities, return the "
            "logits, from before the sigmoid",
        )
    return ()


def _of_two_classes(answers: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Two logits of two classes as the one that detectors may expect, or the reverse.

    They are the same network: a logit of class 1 beside a 0 of class 0.
    """
    count, expected = shape
    if expected > 2 or not _is_floating(answers):
        return answers
    if answers.shape == (count,):
        answers = answers[:, None]
    if answers.shape == (count, 2) and expected == 1:
        with np.errstate(invalid="ignore"):  # of infinities, which are refused next
            return answers[:, 1:] - answers[:, :1]
    if answers.shape == (count, 1) and expected == 2:
        return np.concatenate([np.zeros_like(answers), answers], axis=1)
    return answers


def _is_floating(answers: np.ndarray) -> bool:
    return answers.dtype.kind == "f" or str(answers.dtype) == "bfloat16"


def _refuse_probabilities(logits_QxC: np.ndarray) -> None:
    """Raises for what a softmax or sigmoid leaves, rounded or in percent included."""
    what = None
    if keeps_to(logits_QxC.min(), logits_QxC.max(), (0, 1)):
        what = "probabilities (every value lies in [0, 1])"
    elif (logits_QxC >= 0).all() and np.allclose(logits_QxC.sum(1), 100, atol=2):
        what = "percentages (every row sums to 100)"
    elif np.allclose(np.exp(np.minimum(logits_QxC, 1)).sum(1), 1, atol=1e-3):
        what = "log-probabilities (every row's exponentials sum to 1)"
    if what:
        raise UserError(
            f"the model seems to return {what}; return the logits, from before the "
            "softmax or sigmoid"
        )
