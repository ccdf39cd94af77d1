"""What artefacts come to: recovered masks beside the true ones, similarities."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from bdjax.evaluation import AucSummary, iou
from bdjax.report.numbers import summary
from bdjax.report.run import Judged, Run


def overlaps(run: Run, judged: Judged) -> dict[str, float]:
    """By attack: median IoU of recovered and true masks, of models that have both.

    True masks are kept of a population's first models only; a trigger on the whole
    image has none.
    """
    found: dict[str, list[float]] = {}
    for model, shown, i in run.shown(judged.targets().models):
        arrays = run.found(judged.name, model.population, model.id)
        mask = top_trigger(arrays, model.top_label)
        truth = shown["mask"][i] if "mask" in shown else np.zeros(0)
        if mask and truth.any() and not truth.all():
            found.setdefault(str(model.attack), []).append(iou(truth, mask[0]))
    return {attack: float(np.median(values)) for attack, values in found.items()}


def top_trigger(
    found: dict[str, np.ndarray], label: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Recovered mask and pattern of the most suspicious label, ``[H, W, C]`` each.

    None where there are none, or no label is the most suspicious.
    """
    mask, pattern = (
        found.get(name, found.get(f"{name}s")) for name in ("mask", "pattern")
    )
    if mask is None or pattern is None or pattern.ndim not in (3, 4) or np.isnan(label):
        return None
    if pattern.ndim == 4:  # of every label
        k = min(int(label), len(pattern) - 1)
        mask, pattern = mask[k], pattern[k]
    return mask, pattern


def by_quantile(
    run: Run, judged: Judged, quantiles: Iterable[float], confidence: float
) -> dict[float, AucSummary]:
    """AUC, all attacks, of each quantile of the similarities; {} without any.

    And {} where a network's similarities differ by rounding alone.

    A model's score is the greatest of its labels' quantiles.
    """
    targets = judged.targets()
    found = [similarity(run, judged, m) for m in targets.models.itertuples()]
    known = [s[np.isfinite(s).any(axis=1)] for s in found if s is not None]
    flat = any(np.nanmax(s) - np.nanmin(s) < 1e-6 for s in known)
    if not known or len(known) < len(found) or flat:
        return {}
    result = {}
    for q in quantiles:
        scores = np.array([np.nanquantile(s, q, axis=1).max() for s in known])
        scored = dataclasses.replace(targets, scores_RxM=scores[None])
        if auc := summary(scored, True, confidence):
            result[float(q)] = auc
    return result


def derived(run: Run) -> list[str]:
    """Detectors that score what an earlier one solved: their similarities are equal."""
    seen: set[bytes] = set()
    found = []
    for name, judged in run.judged.items():
        for model in judged.targets().models.head(1).itertuples():
            values = similarity(run, judged, model)
            key = b"" if values is None else values.tobytes()
            found += [name] * (key in seen)
            seen |= {key} - {b""}
    return found


def similarity(run: Run, judged: Judged, model: Any) -> np.ndarray | None:
    """``[K, N]`` of a model; None where the detector compares no answers."""
    found = run.found(judged.name, model.population, model.id)
    values = found.get("similarity", found.get("similarities"))
    if values is None or values.ndim != 2 or not np.isfinite(values).any():
        return None
    return np.asarray(values, np.float64)
