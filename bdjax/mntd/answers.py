"""A stranger's network's answers, and whether they are logits."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bdjax.checks import keeps_to
from bdjax.types import UserError
from bdjax.verdicts.preconditions import kind_of


class Answers(NamedTuple):
    """What a network answered, once it is known to be readable.

    Attributes:
      logits: float32 ``[Q, C]``; log-probabilities, if that is what was given.
      reasons: what forbids a verdict, one sentence each.
      notes: what was made of the answers, likewise.
    """

    logits: np.ndarray
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check_answers(
    answers: ArrayLike,
    shape: tuple[int, int],
    asks: str,
    *,
    scale_free: bool = True,
    repeats: bool = False,
) -> Answers:
    """Logits of a shape ``[Q, C]``, or probabilities read as such.

    Args:
      answers: what the network returned.
      shape: what it should have. Of two classes, one logit and two are turned into
        each other.
      asks: what it was asked, in words.
      scale_free: whether an offset common to a query's logits does not matter, so that
        log-probabilities, and the logs of probabilities, will do.
      repeats: whether queries were asked more than once, so that a constant would be no
        wonder.

    Raises:
      UserError: they have the wrong shape or type, are not finite, or do not depend on
        the query.
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
    least = 1e-6 * max(1.0, np.abs(logits).max())
    spread = np.ptp(logits.astype(np.float64), axis=0).max()
    if not repeats and spread <= least:
        raise UserError(
            "the model gives the same answer to every query; check that it reads "
            f"its input, {asks}, and is not a constant"
        )
    if given.shape[1:] > (1,):
        return _by_kind(given.astype(np.float32), logits, shape, scale_free)
    return Answers(logits, _doubtful(given))


def _doubtful(given: np.ndarray) -> tuple[str, ...]:
    """Logits of a weak network may all lie in [0, 1], as probabilities do."""
    if not keeps_to(given.min(), given.max(), (0, 1)):
        return ()
    return (
        "every answer lies in [0, 1], so that logits cannot be told from "
        "probabilities; if they are that, return the logits, from before the sigmoid",
    )


def _by_kind(
    given: np.ndarray, logits: np.ndarray, shape: tuple[int, int], scale_free: bool
) -> Answers:
    """Two or more values a query, by what a softmax or sigmoid leaves."""
    kind = kind_of(given)
    if kind == "logits":
        return Answers(logits)
    if not scale_free:
        return Answers(
            logits,
            reasons=(
                f"the model seems to return {kind}, and this detector reads logits; "
                "return them, from before the softmax or sigmoid",
            ),
        )
    if kind == "log-probabilities":
        return Answers(logits)
    if kind == "values in [0, 1]":
        return Answers(logits, _doubtful(given))
    share = given / (100 if kind == "percentages" else 1)
    if (share <= 0).any():
        return Answers(
            logits,
            reasons=(
                f"the model seems to return {kind}, {np.count_nonzero(share <= 0)} of "
                "them rounded to 0: how sure it is cannot be told; return the logits, "
                "from before the softmax or sigmoid",
            ),
        )
    return Answers(
        _of_two_classes(np.log(share), shape),
        notes=(
            f"the model seems to return {kind}; their logarithms were read, which "
            "rounding has made coarse: logits would be better",
        ),
    )


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
        # Of infinities, which are refused next.
        with np.errstate(invalid="ignore", over="ignore"):
            return answers[:, 1:] - answers[:, :1]
    if answers.shape == (count, 1) and expected == 2:
        return np.concatenate([np.zeros_like(answers), answers], axis=1)
    return answers


def _is_floating(answers: np.ndarray) -> bool:
    return answers.dtype.kind == "f" or str(answers.dtype) == "bfloat16"
