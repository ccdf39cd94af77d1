"""The threshold that turns a detector's scores into verdicts."""

import numpy as np
from numpy.typing import ArrayLike

from bdjax.evaluation.checks import check_labels, check_scores


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
