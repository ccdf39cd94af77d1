"""An interval over models for an AUC, from the AUC and the numbers of models alone.

How it was chosen, with measured coverages and widths: ``docs/intervals.md``.
"""

import dataclasses

from scipy import stats

from bdjax.evaluation.checks import check_confidence
from bdjax.types import UserError

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
    check_confidence(confidence)
    if not 0 <= auc <= 1:
        raise UserError(f"auc={auc} must be in [0, 1]; write 98.5% as 0.985")
    for name, count in (("positives", positives), ("negatives", negatives)):
        if count < 1:
            raise UserError(
                f"{name}={count} must be at least 1; an AUC needs a model of each kind"
            )
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
