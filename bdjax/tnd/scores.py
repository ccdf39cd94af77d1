"""Label scores: from similarities and sizes to one number a label; all NumPy."""

import functools
import warnings

import numpy as np

VERSION = 2  # of the rules here: raise it where the same solutions score otherwise

_FLOOR = 0.25  # of a size: below a part of one pixel, smaller says nothing
_ALIKE = 0.55  # of log sizes: images differ by as much under a trigger
_NATURAL = 0.15  # of log sizes: labels of any network differ by this
_REAL_AREA = 0.5  # official: a mask below it counts as none
_NEAR = 1.1  # official: areas up to this times the smallest are re-scored

# Of a label of NaN only.
_for_nan = functools.partial(
    warnings.catch_warnings, action="ignore", category=RuntimeWarning
)


def quantile(similarity_KxN: np.ndarray, q: float) -> np.ndarray:
    """Quantile over images, NaN left out: ``[K]``; a label without images is -1."""
    with _for_nan():
        values = np.nanquantile(similarity_KxN, q, axis=1)
    return np.nan_to_num(values, nan=-1.0)


def outlier(size_K: np.ndarray) -> np.ndarray:
    """How far each size is below the others', in units of how they differ: ``[K]``.

    The log of the others' median over the size, divided by a constant plus the spread
    of those others that are below the median: where a network's labels differ much in
    how easily they are reached, as in MLPs and with BatchNorm, the easiest of them is
    far below the median without a Trojan. What lies above the median says nothing of
    that. The constant keeps a few labels that agree by chance from deciding; without
    the spread this is a plain log ratio, and Neural Cleanse's index divides by the MAD
    of all. Free of units, so that it compares networks and norms.

    Labels of infinite size, which no perturbation reached, say nothing: they are left
    out of the medians and score -1.
    """
    found = np.isfinite(size_K)
    logs = np.log(np.maximum(size_K[found], _FLOOR))
    scores_K = np.full(len(size_K), -1.0)
    if len(logs) > 1:
        scores_K[found] = [_below(logs, k) for k in range(len(logs))]
    return scores_K


def _below(logs_K: np.ndarray, k: int) -> float:
    others = np.delete(logs_K, k)
    depth = np.maximum(np.median(others) - others, 0)
    natural = np.sqrt((depth[depth > 0] ** 2).mean()) if depth.any() else 0.0
    return float((np.median(others) - logs_K[k]) / (_NATURAL + natural))


def agreement(image_area_KxN: np.ndarray) -> np.ndarray:
    """How alike images are in what sends them to a label, in (0, 1]: ``[K]``.

    DL-TND's insight, as a factor: a trigger works on any image alike, where a label
    that is easy by nature, such as the 8 of a network that averages over places, is
    near for some images and far for others. 1 up to a spread of the log sizes of the
    per-image masks of :data:`_ALIKE`, then its square over the spread's; 0 where fewer
    than three images were sent there, which shows no agreement.
    """
    logs = np.log(np.maximum(image_area_KxN, _FLOOR))
    logs = np.where(np.isfinite(logs), logs, np.nan)
    with _for_nan():
        spread_K = np.nan_to_num(np.nanstd(logs, axis=1))
    alike_K = np.minimum(1.0, _ALIKE / np.maximum(spread_K, _ALIKE)) ** 2
    return np.where(np.isfinite(logs).sum(1) >= 3, alike_K, 0.0)


def label_scores(
    score: str,
    sizes: dict[str, np.ndarray],
    similarity_KxN: np.ndarray,
    image_area_KxN: np.ndarray,
    q: float,
) -> np.ndarray:
    """Scores of our solutions by one of the rules of ``DLTNDConfig.score``: ``[K]``."""
    if score == "similarity":
        return quantile(similarity_KxN, q)
    if score == "images":
        with _for_nan():
            return outlier(np.nanmedian(image_area_KxN, axis=1))
    if score == "size":
        far_K = np.maximum(*(outlier(sizes[name]) for name in ("sparse", "dense")))
        # What is below 0 is no outlier, whether images agree or not.
        return np.where(far_K > 0, far_K * agreement(image_area_KxN), far_K)
    return outlier(sizes[score])


def smallest_successful(area_KxS: np.ndarray, hit_KxS: np.ndarray) -> np.ndarray:
    """Which constant's mask is a label's smallest successful one: int ``[K]``.

    Where all constants failed it is the last.
    """
    found = np.where(hit_KxS & (area_KxS > _REAL_AREA), area_KxS, np.inf)
    last = found.shape[1] - 1
    return np.where(np.isfinite(found).any(1), found.argmin(1), last)


def rescored(
    similarity_KxSxN: np.ndarray, area_KxS: np.ndarray, first_K: np.ndarray, q: float
) -> np.ndarray:
    """The official code's choice of constant: int ``[K]``.

    Among masks of less than 1.1 times the smallest area of any label (zero areas
    included, as published), one whose quantile is above the *median* of the label's
    first similarities replaces them; of several, the last.

    Args:
      similarity_KxSxN: of every constant's solution.
      area_KxS: l1 of its mask.
      first_K: the constant that is scored at first.
      q: the quantile.
    """
    chosen = np.array(first_K)
    real = area_KxS[area_KxS > _REAL_AREA]
    if not real.size:
        return chosen
    for k, first in enumerate(first_K):
        bar = quantile(similarity_KxSxN[k, first][None], 0.5)[0]
        for s in np.flatnonzero(area_KxS[k] < _NEAR * real.min()):
            if quantile(similarity_KxSxN[k, s][None], q)[0] > bar:
                chosen[k] = s
    return chosen
