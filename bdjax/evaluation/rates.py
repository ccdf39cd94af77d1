"""How often verdicts at a threshold are right, and thresholds to judge by."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bdjax import checks
from bdjax.evaluation.auc import Interval
from bdjax.evaluation.checks import as_finite, check_labels, check_scores
from bdjax.types import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rates:
    """Verdicts ``score > threshold`` on labelled models.

    Attributes:
      threshold: the threshold, in units of the scores.
      tpr: share of the trojaned models that are flagged, in [0, 1].
      tpr_interval: Wilson interval of it, over models.
      fpr: share of the benign models that are flagged, in [0, 1].
      fpr_interval: Wilson interval of it, over models.
      positives: number of trojaned models.
      negatives: number of benign models.
    """

    threshold: float
    tpr: float
    tpr_interval: Interval
    fpr: float
    fpr_interval: Interval
    positives: int
    negatives: int


def rates_at(
    threshold: float,
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    confidence: float = 0.95,
) -> Rates:
    """True- and false-positive rate of the verdict ``score > threshold``.

    Args:
      threshold: finite, and calibrated on *other* models; see
        :func:`threshold_at_fpr` and :func:`best_threshold`.
      labels: shape ``(N,)``, 1 (trojaned) or 0 (benign), both present.
      scores: shape ``(N,)``, finite.
      confidence: of the intervals, in (0, 1).

    Returns:
      Both rates with Wilson intervals, which are no point at 0 or 1 either.

    Raises:
      UserError: a shape, a label, a score or the confidence is not as above.
    """
    checks.within("(0, 1)", confidence=confidence)
    limit = float(as_finite(threshold, name="threshold"))
    labels_N = check_labels(labels)
    flagged_N = check_scores(labels_N, scores) > limit
    hits, alarms = flagged_N[labels_N], flagged_N[~labels_N]
    return Rates(
        threshold=limit,
        tpr=float(hits.mean()),
        tpr_interval=_wilson(int(hits.sum()), hits.size, confidence),
        fpr=float(alarms.mean()),
        fpr_interval=_wilson(int(alarms.sum()), alarms.size, confidence),
        positives=hits.size,
        negatives=alarms.size,
    )


def threshold_at_fpr(benign_scores: ArrayLike, fpr: float) -> float:
    """Threshold that flags at most a share ``fpr`` of benign models *to come*.

    For ``score > threshold``, in expectation over the benign models that it is
    calibrated on: of those ``K`` no more than ``fpr (K + 1) - 1`` are flagged, since a
    new model is as likely to rank anywhere among them. With fewer than ``1 / fpr - 1``
    models no score of theirs promises as much; it is then the greatest one, which a
    new benign model exceeds with probability ``1 / (K + 1)``.

    Args:
      benign_scores: shape ``(K,)``, finite, at least one, of models kept for
        calibration and alike to those that verdicts are asked for.
      fpr: wanted false-positive rate, in [0, 1).

    Returns:
      One of the scores.

    Raises:
      UserError: the shape or the rate is wrong, or a score is not finite.
    """
    scores_K = as_finite(benign_scores, name="benign scores")
    if scores_K.ndim != 1 or not scores_K.size:
        raise UserError(
            f"benign scores have shape {scores_K.shape}, expected (models,) with at "
            "least one; score some benign models"
        )
    checks.within("[0, 1)", fpr=fpr)
    # The sliver: .29 * 100 is 28.999...
    flagged = math.floor(fpr * (len(scores_K) + 1) + 1e-9) - 1
    return float(np.sort(scores_K)[::-1][max(flagged, 0)])


def best_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """Threshold with the greatest balanced accuracy, for ``score > threshold``.

    Call it on models kept for calibration, never on those that the verdicts are
    then judged by. The threshold lies midway between two neighbouring scores; of
    equally good ones it is that with the lower false-positive rate. If none beats
    chance it is the greatest score, which flags nothing.

    Args:
      labels: shape ``(N,)``, 1 (trojaned) or 0 (benign), both present.
      scores: shape ``(N,)``, finite.

    Returns:
      The threshold, exact in the dtype of ``scores`` where that is a float.

    Raises:
      UserError: a shape, a label or a score is not as above.
    """
    labels_N = check_labels(labels)
    scores_N = check_scores(labels_N, scores)
    levels = np.unique(scores_N)[::-1]
    upper, lower = levels[:-1], levels[1:]
    middle = upper / 2 + lower / 2
    # Between neighbouring floats the middle rounds to one of them; it must not be
    # the upper, which would then no longer be flagged.
    middle = np.where((lower < middle) & (middle < upper), middle, lower)
    thresholds = np.concatenate([levels[:1], middle])

    flagged = scores_N > thresholds[:, None]
    hits = np.count_nonzero(flagged & labels_N, axis=1)
    alarms = np.count_nonzero(flagged & ~labels_N, axis=1)
    # Youden's J times P times K: whole numbers, so ties are exact. From the highest
    # threshold down, the first best has the lowest false-positive rate.
    youden = hits * np.count_nonzero(~labels_N) - alarms * np.count_nonzero(labels_N)
    return float(thresholds[np.argmax(youden)])


def _wilson(count: int, total: int, confidence: float) -> Interval:
    test = stats.binomtest(count, total)
    low, high = test.proportion_ci(confidence, method="wilson")
    return Interval(low=float(low), high=float(high))
