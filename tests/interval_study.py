"""How often intervals over models hold the true AUC, and how wide they are.

``python tests/interval_study.py`` prints the table of ``docs/intervals.md``. What is
compared is written down here, slowly, from the papers; bdjax has the one it chose.

Letters: E experiments of P trojaned and K benign models.
"""

import functools
import sys

import numpy as np
from scipy import optimize, stats

from bdjax.evaluation import auc_interval

Z = stats.norm.ppf(0.975)
SIZES = ((9, 9), (12, 24), (24, 12), (9, 48), (48, 9), (24, 24), (48, 48))
AUCS = (0.8, 0.9, 0.95, 0.98, 0.995)


# Scores with a known AUC.


@functools.cache
def _shift(freedom, auc):
    """How far apart two t distributions of this AUC stand."""
    steps = (np.arange(20_000) + 0.5) / 20_000
    y = stats.t.ppf(steps, freedom)
    return optimize.brentq(
        lambda shift: stats.t.sf(y - shift, freedom).mean() - auc, 0, 500
    )


def binormal(rng, auc, shape_p, shape_k, ratio=1.0):
    shift = stats.norm.ppf(auc) * np.hypot(1, ratio)
    return rng.normal(shift, ratio, shape_p), rng.normal(size=shape_k)


def exponential(rng, auc, shape_p, shape_k):
    return rng.exponential(auc / (1 - auc), shape_p), rng.exponential(1, shape_k)


def exponential_down(rng, auc, shape_p, shape_k):
    scale = auc / (1 - auc)
    return -rng.exponential(1, shape_p), -rng.exponential(scale, shape_k)


def student(rng, auc, shape_p, shape_k):
    shift = _shift(2, auc)
    return shift + rng.standard_t(2, shape_p), rng.standard_t(2, shape_k)


def cauchy(rng, auc, shape_p, shape_k):
    shift = 2 * np.tan(np.pi * (auc - 0.5))
    return shift + rng.standard_cauchy(shape_p), rng.standard_cauchy(shape_k)


def unseen(rng, auc, shape_p, shape_k):
    """Some trojaned models look benign, the others stand above all benign ones."""
    found = rng.random(shape_p) >= 2 * (1 - auc)
    return rng.random(shape_p) + found, rng.random(shape_k)


def outliers(rng, auc, shape_p, shape_k):
    """Some of the smaller class lie beyond all of the other: the worst there is."""
    p, k = rng.random(shape_p) + 1, rng.random(shape_k)
    if shape_p[1] <= shape_k[1]:
        return p - 2 * (rng.random(shape_p) >= auc), k
    return p, k + 2 * (rng.random(shape_k) >= auc)


SCORES = {
    "normal": (binormal,),
    "normal, spreads 1 : 3 and 3 : 1": tuple(
        functools.partial(binormal, ratio=ratio) for ratio in (1 / 3, 3)
    ),
    "exponential, up and down": (exponential, exponential_down),
    "t, 2 degrees of freedom": (student,),
    "Cauchy": (cauchy,),
    "Trojans unseen": (unseen,),
    "outliers of one class": (outliers,),
}


def experiments(rng, scores, auc, positives, negatives, count):
    """Scores ``[E, P]`` and ``[E, K]`` and their AUCs ``[E]``."""
    p_ExP, k_ExK = scores(rng, auc, (count, positives), (count, negatives))
    found_E = [stats.mannwhitneyu(p_ExP, k_ExK, axis=1).statistic]
    return p_ExP, k_ExK, np.ravel(found_E) / (positives * negatives)


# Intervals from AUC and numbers of models: (AUC, P, K) -> low, high.


def ours(auc, positives, negatives):
    found = auc_interval(auc, positives, negatives)
    return found.low, found.high


def beta(auc, count, extra):
    won, lost = count * auc, count * (1 - auc)
    low = stats.beta.ppf(0.025, won + 1 - extra, lost + extra) if auc > 0 else 0
    high = stats.beta.ppf(0.975, won + extra, lost + 1 - extra) if auc < 1 else 1
    return low, high


def jeffreys(auc, positives, negatives):
    return beta(auc, min(positives, negatives), 0.5)


def clopper_pearson(auc, positives, negatives):
    return beta(auc, min(positives, negatives), 1)


def wilson(auc, positives, negatives):
    count = min(positives, negatives)
    middle = (auc + Z**2 / 2 / count) / (1 + Z**2 / count)
    half = np.sqrt(auc * (1 - auc) / count + (Z / 2 / count) ** 2) * Z
    half /= 1 + Z**2 / count
    return middle - half, middle + half


def agresti_coull(auc, positives, negatives):
    count = min(positives, negatives)
    middle = (count * auc + Z**2 / 2) / (count + Z**2)
    half = Z * np.sqrt(middle * (1 - middle) / (count + Z**2))
    return max(middle - half, 0), min(middle + half, 1)


GRID = np.concatenate([np.linspace(0, 0.9, 1800), 1 - np.geomspace(0.1, 1e-7, 1200)])


def newcombe(auc, positives, negatives):
    """Method 5 of Newcombe (2006), Stat. Med. 25:559: Hanley and McNeil's variance."""
    more = (positives + negatives) / 2 - 1
    share = 1 + more * ((1 - GRID) / (2 - GRID) + GRID / (1 + GRID))
    variance = GRID * (1 - GRID) * share / (positives * negatives)
    inside = GRID[(auc - GRID) ** 2 <= Z**2 * variance]
    return inside[0], 1 if auc == 1 else inside[-1]


BY_AUC = {
    "**bdjax**: beta, e = 3/4, of min(P, K)": ours,
    "Clopper-Pearson of min(P, K)": clopper_pearson,
    "Agresti-Coull of min(P, K)": agresti_coull,
    "Wilson of min(P, K)": wilson,
    "Jeffreys of min(P, K)": jeffreys,
    "Newcombe's method 5 (Hanley-McNeil)": newcombe,
}


def by_auc(interval, found_E, positives, negatives):
    """Low and high ends ``[E]``; an AUC that recurs is worked out once."""
    unique, back = np.unique(found_E, return_inverse=True)
    ends = np.array([interval(auc, positives, negatives) for auc in unique])
    return ends[back].T


# Intervals from scores: (rng, scores [P], scores [K]) -> low, high.


def delong(p_P, k_K):
    """Wald's interval of the logit, by the variance of DeLong et al. (1988)."""
    wins = np.heaviside(p_P[:, None] - k_K, 0.5)
    auc = wins.mean()
    variance = wins.mean(1).var(ddof=1) / len(p_P) + wins.mean(0).var(ddof=1) / len(k_K)
    if auc in (0, 1):
        return auc, auc
    logit, half = np.log(auc / (1 - auc)), Z * np.sqrt(variance) / auc / (1 - auc)
    return tuple(1 / (1 + np.exp(-(logit + np.array([-half, half])))))


def bootstraps(rng, p_P, k_K, samples=500):
    """Percentile and BCa (Efron 1987), each class resampled at its size."""
    wins, (p, k) = np.heaviside(p_P[:, None] - k_K, 0.5), (len(p_P), len(k_K))
    draws_p = rng.multinomial(p, np.full(p, 1 / p), size=samples)
    draws_k = rng.multinomial(k, np.full(k, 1 / k), size=samples)
    auc, found = wins.mean(), ((draws_p @ wins) * draws_k).sum(1) / (p * k)
    percentile = np.quantile(found, [0.025, 0.975])
    if found.min() == found.max():
        return percentile, percentile
    below = np.mean(found < auc) + np.mean(found == auc) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / samples, 1 - 1 / samples))
    # Leaving one out moves the AUC by its own share of the wins.
    pull = np.concatenate(
        [(wins.mean(1) - auc) / (p - 1), (wins.mean(0) - auc) / (k - 1)]
    )
    speed = np.sum(pull**3) / (6 * np.sum(pull**2) ** 1.5)
    z = bias + np.array([-Z, Z])
    return percentile, np.quantile(found, stats.norm.cdf(bias + z / (1 - speed * z)))


def by_scores(rng, p_ExP, k_ExK):
    """Ends ``[E, 2]`` by name."""
    pairs = list(zip(p_ExP, k_ExK, strict=True))
    percentile, bca = np.moveaxis([bootstraps(rng, *pair) for pair in pairs], 1, 0)
    return {
        "logit-Wald (DeLong)": np.array([delong(*pair) for pair in pairs]),
        "BCa bootstrap": bca,
        "percentile bootstrap (before)": percentile,
    }


# The study.


def coverage(ends_Ex2, auc):
    return np.mean((ends_Ex2[:, 0] <= auc) & (auc <= ends_Ex2[:, 1]))


def study(runs, few, seed=0):
    """Coverage and mean width by (name, scores, sizes, AUC); ``few`` by scores."""
    rng, held, width = np.random.default_rng(seed), {}, {}
    for title, family in SCORES.items():
        for which, scores in enumerate(family):
            for sizes in SIZES:
                for auc in AUCS:
                    p, k, found = experiments(rng, scores, auc, *sizes, runs)
                    ends = {
                        name: by_auc(interval, found, *sizes).T
                        for name, interval in BY_AUC.items()
                    } | by_scores(rng, p[:few], k[:few])
                    for name, each in ends.items():
                        key = name, title, which, sizes, auc
                        held[key] = coverage(each, auc)
                        width[key] = np.mean(each[:, 1] - each[:, 0])
    return held, width


def worst(interval, counts=range(9, 49)):
    """Least coverage for ``outliers`` of so many models, at any AUC from .5.

    The AUC is then a share of ``min(P, K)``, so that this is a sum, without chance.
    """
    truth = np.r_[np.arange(0.5, 0.98, 1e-3), 1 - np.geomspace(2e-2, 1e-6, 300)]
    found = []
    for count in counts:
        hits = np.arange(count + 1)
        ends = np.array([interval(hit / count, count, count) for hit in hits])
        low, high = ends.T[..., None]
        share = stats.binom.pmf(hits[:, None], count, truth)
        found.append(np.sum(share * ((low <= truth) & (truth <= high)), axis=0).min())
    return min(found)


def table(held, width):
    """Markdown: coverage, least and mean over sizes and AUCs, in %; mean widths."""
    names = list(dict.fromkeys(key[0] for key in held))
    wide = [(9, 9), (9, 48), (12, 24), (24, 24), (48, 48)]
    columns = [*SCORES, "worst", *(f"width, {p} + {k}" for p, k in wide)]
    lines = ["| interval | " + " | ".join(columns) + " |"]
    lines.append("| --- |" + " ---: |" * len(columns))
    for name in names:
        cells = []
        for title in SCORES:
            some = [v for key, v in held.items() if key[:2] == (name, title)]
            cells.append(f"{100 * min(some):.0f}, {100 * np.mean(some):.0f}")
        exact = f"{100 * worst(BY_AUC[name]):.1f}" if name in BY_AUC else ""
        cells.append(exact)
        for sizes in wide:
            some = [
                v
                for key, v in width.items()
                if key[:2] == (name, "normal") and key[3] == sizes
            ]
            cells.append(f"{np.mean(some):.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    counts = [int(word) for word in sys.argv[1:]] or [4000, 300]
    print(table(*study(*counts)))
