"""Area under the ROC curve of a detector, with an interval over models.

A detector gives each model a score, higher meaning more likely trojaned. Two things
make its AUC uncertain: the repeats of its own fit, reported as a standard deviation,
and the few models that it was tested on, reported as an interval.

How the interval was chosen, with measured coverages and widths: ``docs/intervals.md``.

Letters: N models scored, of which P trojaned (label 1) and K benign (label 0);
R repeats of the detector's fit; S bootstrap resamples.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn import metrics

from bdjax import checks
from bdjax.evaluation.checks import check_labels, check_repeats, check_scores

_EXTRA = 0.75
"""Of a model, added to the side that an end must make room for.

0.5 is Jeffreys' interval (held in 87 % at worst), 1 is Clopper and Pearson's (95 %, and
a tenth wider); this is the least quarter that is held in 92 % at worst.
"""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A closed interval, ``low <= high``."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class AucSummary:
    """AUC of a detector over the repeats of its fit.

    Attributes:
      mean: mean AUC over the repeats, in [0, 1].
      std: standard deviation over the repeats (ddof=1; 0 for one repeat).
      low: lower end of the interval of the mean, over models.
      high: upper end of that interval.
      repeats: number of repeats R.
      positives: number of trojaned models P.
      negatives: number of benign models K.
    """

    mean: float
    std: float
    low: float
    high: float
    repeats: int
    positives: int
    negatives: int


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve; ties count one half.

    Args:
      labels: shape ``(N,)``, 1 (trojaned) or 0 (benign), both present.
      scores: shape ``(N,)``, finite, higher meaning more likely trojaned.

    Returns:
      The AUC, in [0, 1]; 0.5 is chance.

    Raises:
      UserError: a shape, a label or a score is not as above.
    """
    labels_N = check_labels(labels)
    return float(metrics.roc_auc_score(labels_N, check_scores(labels_N, scores)))


def roc(
    labels: ArrayLike, scores: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ROC curve from (0, 0) to (1, 1).

    Args:
      labels: shape ``(N,)``, 1 (trojaned) or 0 (benign), both present.
      scores: shape ``(N,)``, finite.

    Returns:
      False-positive and true-positive rates at the corners of the curve, each
      non-decreasing and in [0, 1].

    Raises:
      UserError: a shape, a label or a score is not as above.
    """
    labels_N = check_labels(labels)
    fpr, tpr, _ = metrics.roc_curve(labels_N, check_scores(labels_N, scores))
    return fpr, tpr


def mean_roc(
    labels_N: ArrayLike, scores_RxN: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ROC curves of the repeats, averaged at equal false-positive rate.

    The area under the result is the mean of the repeats' AUCs.

    Args:
      labels_N: shape ``(N,)``, 1 (trojaned) or 0 (benign), both present.
      scores_RxN: shape ``(R, N)``, finite.

    Returns:
      False-positive and true-positive rates, each of shape ``(2K + 2,)``,
      non-decreasing and in [0, 1].

    Raises:
      UserError: a shape, a label or a score is not as above.
    """
    labels = check_labels(labels_N)
    scores = check_repeats(labels, scores_RxN)
    negatives = np.count_nonzero(~labels)
    grid = np.arange(negatives + 1) / negatives
    # Each curve can jump at every rate of the grid, so it is read on both sides.
    step = 1e-9
    sides = np.stack([grid - step, grid + step], axis=1).ravel()
    tpr = np.mean([np.interp(sides, *roc(labels, row)) for row in scores], axis=0)
    return np.repeat(grid, 2), tpr


def summarize_auc(
    labels_N: ArrayLike, scores_RxN: ArrayLike, *, confidence: float = 0.95
) -> AucSummary:
    """Mean AUC over repeats, its spread, and its interval over models.

    Args:
      labels_N: shape ``(N,)``, 1 (trojaned) or 0 (benign), both present.
      scores_RxN: shape ``(R, N)``, finite; row r holds the r-th fit's scores.
      confidence: of the interval, in (0, 1).

    Returns:
      The summary; its interval is :func:`bdjax.evaluation.auc_interval` of the mean.

    Raises:
      UserError: a shape, a label, a score or the confidence is not as above.
    """
    labels = check_labels(labels_N)
    scores = check_repeats(labels, scores_RxN)
    auc_R = np.array([auc(labels, row) for row in scores])
    mean, positives = float(auc_R.mean()), int(labels.sum())
    negatives = len(labels) - positives
    interval = auc_interval(mean, positives, negatives, confidence=confidence)
    return AucSummary(
        mean=mean,
        std=float(auc_R.std(ddof=1)) if len(auc_R) > 1 else 0.0,
        low=interval.low,
        high=interval.high,
        repeats=len(auc_R),
        positives=positives,
        negatives=negatives,
    )


def auc_interval(
    auc: float, positives: int, negatives: int, *, confidence: float = 0.95
) -> Interval:
    """Interval, over models, of an AUC or of the mean AUC of several fits.

    An AUC of P and K models is an average over pairings of means of n = min(P, K)
    independent values in [0, 1], so it varies no more than a share of n models
    (Hoeffding 1963, section 5a; in variance, Birnbaum and Klose 1957), whatever the
    scores' distributions, with ties, and averaged over fits. Hence the interval of a
    share ``A`` of n: its low end is the lower quantile of
    ``Beta(n A + 1 - e, n (1 - A) + e)``, its high end the upper one of
    ``Beta(n A + e, n (1 - A) + 1 - e)``, with e = 3/4 between Jeffreys (1/2) and
    Clopper and Pearson (1).

    At 95 %, for 3 to 60 models of the rarer kind and true AUCs from .5 to 1, it holds
    the true AUC in 92.3 % of experiments or more where scores are the least favourable
    of those tried (a model of the rarer kind falls either above or below all others),
    and in 98 to 100 % where they are normal or exponential. It is never a point:
    without a misordered pair the low end is .71 of 9 models, .88 of 24 and .94 of 48.

    Args:
      auc: in [0, 1].
      positives: number of trojaned models P, at least 1.
      negatives: number of benign models K, at least 1.
      confidence: in (0, 1); coverage was measured at 0.95.

    Returns:
      The interval, inside [0, 1], with ``auc`` in it; ``high`` is 1 just if ``auc`` is
      (up to rounding), ``low`` is 0 likewise.

    Raises:
      UserError: a value lies outside its bounds.
    """
    checks.within("(0, 1)", confidence=confidence)
    checks.within("[0, 1]", auc=auc)
    checks.at_least(1, positives=positives, negatives=negatives)
    count = min(positives, negatives)
    tail = (1 - confidence) / 2
    low, high = _low(auc, count, tail), 1 - _low(1 - auc, count, tail)
    # Of a few models, or at a low confidence, a quantile may lie beyond the AUC.
    return Interval(low=min(low, float(auc)), high=max(high, float(auc)))


def _low(auc: float, count: int, tail: float) -> float:
    if auc == 0:
        return 0.0
    won, lost = count * auc + 1 - _EXTRA, count * (1 - auc) + _EXTRA
    return float(stats.beta.ppf(tail, won, lost))


def auc_gain(
    labels_N: ArrayLike,
    scores_RxN: ArrayLike,
    other_SxN: ArrayLike,
    *,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, Interval]:
    """How much greater the mean AUC is than another detector's on the same models.

    Args:
      labels_N: shape ``(N,)``, 1 (trojaned) or 0 (benign), both present.
      scores_RxN: shape ``(R, N)``, finite.
      other_SxN: the other's, shape ``(S, N)``, finite.
      samples: resamples of the models, at least 1.
      confidence: share of the resampled gains inside the interval, in (0, 1).
      seed: of the resampling, at least 0.

    Returns:
      The difference, in [-1, 1], and its paired interval over models: a percentile
      bootstrap of each class at its size, the same resamples for both detectors.

    Raises:
      UserError: a shape, a label, a score or a setting is not as above.
    """
    checks.at_least(1, samples=samples)
    checks.within("(0, 1)", confidence=confidence)
    checks.at_least(0, seed=seed)
    wins_PxK = _wins(labels_N, scores_RxN) - _wins(labels_N, other_SxN)
    rng = np.random.default_rng(seed)
    counts = (draw_counts(rng, n, samples=samples) for n in wins_PxK.shape)
    tail = (1 - confidence) / 2
    ends = np.quantile(resampled_auc(wins_PxK, *counts), [tail, 1 - tail])
    return float(wins_PxK.mean()), Interval(*map(float, ends))


def _wins(labels_N: ArrayLike, scores_RxN: ArrayLike) -> NDArray[np.float64]:
    labels = check_labels(labels_N)
    scores = check_repeats(labels, scores_RxN)
    return mean_wins(scores[:, labels], scores[:, ~labels])


def draw_counts(
    rng: np.random.Generator, size: int, *, samples: int
) -> NDArray[np.int64]:
    """How often each of ``size`` models is in each resample: ``(samples, size)``."""
    # Counts of draws with replacement are multinomial; the order is of no use.
    return rng.multinomial(size, np.full(size, 1 / size), size=samples)


def mean_wins(scores_RxP: NDArray, scores_RxK: NDArray) -> NDArray[np.float64]:
    """Share of repeats in which positive p outscores negative k, ties one half.

    Shape ``(P, K)``; its mean is the mean AUC over repeats (Mann-Whitney).
    """
    wins_PxK = np.zeros((scores_RxP.shape[1], scores_RxK.shape[1]))
    # One repeat at a time: R x P x K need not fit in memory.
    for score_P, score_K in zip(scores_RxP, scores_RxK, strict=True):
        wins_PxK += score_P[:, None] > score_K
        wins_PxK += 0.5 * (score_P[:, None] == score_K)
    return wins_PxK / len(scores_RxP)


def resampled_auc(
    wins_PxK: NDArray, counts_SxP: NDArray, counts_SxK: NDArray
) -> NDArray[np.float64]:
    """Mean AUC of each resample: the mean of ``wins_PxK`` weighted by the counts.

    Counts say how often each model is in each resample; shape ``(S,)``.
    """
    return np.sum((counts_SxP @ wins_PxK) * counts_SxK, axis=1) / wins_PxK.size
