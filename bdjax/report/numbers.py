"""What a detector's scores come to: AUCs, rates, verdicts, targets, masks, times.

Everywhere, benign targets are compared with trojaned ones whose attack took hold, and
thresholds that are set here come from calibration models alone.
"""

import collections
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from bdjax.evaluation import (
    AucSummary,
    best_threshold,
    binarize,
    iou,
    rates_at,
    summarize_auc,
    threshold_at_fpr,
)
from bdjax.report.run import Judged, Run

ALL = "all attacks"
BENIGN = "benign"
CALLS = ("trojaned", "inconclusive", "benign")
OWN = "the detector's own"
_LEAST = 2  # models of one kind of trigger, for an AUC of their own
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


def attacks_of(models: pd.DataFrame) -> list[str]:
    """Attacks of trojaned models, in order."""
    return list(models[models.trojaned == 1].attack.unique())


def summary(
    judged: Judged, trojaned_M: Any = True, confidence: float = 0.95
) -> AucSummary | None:
    """AUC of the benign against some of the trojaned; None without models of a kind.

    Args:
      judged: scores of benign and trojaned models.
      trojaned_M: bool, which trojaned ones.
      confidence: of the interval.
    """
    labels = judged.models.trojaned.to_numpy() == 1
    keep = ~labels | (labels & np.asarray(trojaned_M, bool))
    if not labels[keep].any() or labels[keep].all():
        return None
    return summarize_auc(
        labels[keep], judged.scores_RxM[:, keep], confidence=confidence
    )


def aucs(judged: Judged, confidence: float) -> dict[str, AucSummary | None]:
    """Of the targets, by attack and of all together."""
    targets = judged.targets()
    names = attacks_of(judged.models[judged.models.role == "target"])
    found = {
        name: summary(targets, targets.models.attack == name, confidence)
        for name in names
    }
    if len(names) > 1:
        found[ALL] = summary(targets, True, confidence)
    return found


def networks(judged: Judged, confidence: float) -> dict[str, AucSummary | None]:
    """By architecture and recipe, of the targets that share them; {} where all do."""
    targets = judged.targets()
    models = targets.models
    text = (models.architecture + " " + models.recipe).str.strip()
    if text.nunique() < 2:
        return {}
    return {
        k: summary(targets.take(text == k), True, confidence) for k in text.unique()
    }


def thresholds(judged: Judged, false_alarms: float) -> dict[str, float]:
    """By rule; those that there are models for, the best one first."""
    models = judged.models
    some = models[(models.role == "calibration") & (models.holds == 1)]
    some = some[np.isfinite(some.score)]
    benign = some[some.trojaned == 0].score
    found = {}
    if len(benign) and (some.trojaned == 1).any():
        found["calibrated"] = best_threshold(some.trojaned, some.score)
    if len(benign):
        found["few alarms"] = threshold_at_fpr(benign, false_alarms)
    own = models.threshold[np.isfinite(models.threshold)]
    return found | ({OWN: float(own.iloc[0])} if len(own) else {})


def rates(judged: Judged, false_alarms: float, confidence: float) -> dict[str, Any]:
    """By rule: what of the targets scores above the threshold, by attack."""
    models = judged.targets().models
    benign = models[models.trojaned == 0].score
    found: dict[str, Any] = {}
    for rule, threshold in thresholds(judged, false_alarms).items():
        by_attack = {}
        for attack in attacks_of(models):
            some = models[(models.trojaned == 0) | (models.attack == attack)]
            if len(benign):
                score = some.score.clip(-1e300, 1e300)
                flagged = rates_at(
                    threshold, some.trojaned, score, confidence=confidence
                )
                by_attack[attack] = flagged.to_dict()
        found[rule] = {
            "threshold": threshold,
            "benign": len(benign),
            "flagged": int((benign > threshold).sum()),
            "attacks": by_attack,
        }
    return found


def verdicts(judged: Judged) -> dict[str, Any]:
    """By kind of target, benign first: see :func:`tally`; {} without conclusions."""
    models = pd.concat([judged.models, judged.unjudged]).sort_index()
    models = models[(models.role == "target") & (models.holds == 1)]
    if not (models.conclusion != "").any():
        return {}
    kinds = {BENIGN: models[models.trojaned == 0]}
    kinds |= {name: models[models.attack == name] for name in attacks_of(models)}
    return {kind: tally(some) for kind, some in kinds.items()}


def tally(models: pd.DataFrame) -> dict[str, Any]:
    """What verdicts come to: how many ``models``, how many of each conclusion.

    And the ``reasons`` of the inconclusive, most frequent first; those that differ in
    their numbers alone are one, with the numbers of the first.
    """
    called = collections.Counter(models.conclusion)
    unsure = models[models.conclusion == "inconclusive"]
    reasons = (unsure.reasons + np.where(unsure.reasons == "", unsure.notes, "")).map(
        split
    )
    return {
        "models": len(models),
        **{name: called[name] for name in CALLS},
        "reasons": merged((reason, 1) for each in reasons for reason in each),
    }


def split(text: str) -> list[str]:
    """The sentences of a cell."""
    return [part for part in text.split(" | ") if part]


def merged(reasons: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Counts by sentence, most frequent first; numbers tell none apart."""
    counts: collections.Counter[str] = collections.Counter()
    first: dict[str, str] = {}
    for reason, count in reasons:
        counts[first.setdefault(_NUMBER.sub("#", reason), reason)] += count
    return dict(counts.most_common())


def targets_named(judged: Judged, false_alarms: float) -> dict[str, Any]:
    """By attack with a target: how often the most suspicious label is the target.

    ``share`` is of all models that count, ``share_of_detected`` of those above the
    first threshold; ``named`` are those whose verdict names a label, ``share_of_named``
    how many of them name the right one. None where there are none.
    """
    models = judged.targets().models
    models = models[(models.trojaned == 1) & models.top_label.notna()]
    limit = next(iter(thresholds(judged, false_alarms).values()), np.nan)
    found = {}
    for attack, some in models[models.target >= 0].groupby("attack", sort=False):
        right = some.top_label == some.target
        over, named = some.score > limit, some.named_target.notna()
        found[str(attack)] = {
            "models": len(some),
            "right": int(right.sum()),
            "share": float(right.mean()),
            "detected": int(over.sum()),
            "share_of_detected": _mean(right[over]),
            "named": int(named.sum()),
            "share_of_named": _mean((some.named_target == some.target)[named]),
        }
    return found


def kinds(judged: Judged, confidence: float) -> dict[str, Any]:
    """By attack and kind of trigger, of two models or more, the smallest first."""
    targets = judged.targets()
    models = targets.models
    trojaned = models[(models.trojaned == 1) & (models.trigger_kind != "")]
    found = {}
    sizes = trojaned.trigger_size.fillna(-1)
    for attack in attacks_of(trojaned):
        some = trojaned[trojaned.attack == attack]
        pairs = sorted({*zip(sizes[some.index], some.trigger_kind, strict=True)})
        for size, kind in pairs if len(pairs) > 1 else ():
            here = (models.attack == attack) & (models.trigger_kind == kind)
            here &= models.trigger_size.fillna(-1) == size
            result = summary(targets, here, confidence)
            if here.sum() >= _LEAST and result:
                name = f"{attack}: {kind}" + (f", {size:.0f}" if size >= 0 else "")
                found[name] = result
    return found


def seconds(judged: Judged) -> dict[str, Any] | None:
    """Wall time a model; the first of all, which compiles, apart."""
    every = pd.concat([judged.models, judged.unjudged]).sort_index().seconds
    every = every[np.isfinite(every)]
    if not len(every):
        return None
    later = every.iloc[1:] if len(every) > 1 else every
    return {
        "models": len(every),
        "median": float(later.median()),
        "max": float(later.max()),
        "first": float(every.iloc[0]),
    }


def failed(models: pd.DataFrame, min_asr: float) -> pd.Series:
    """Bool: the trojaned models whose attack did not take hold."""
    return (models.trojaned == 1) & (models.asr < min_asr)


def controls(run: Run, first: Judged | None, min_asr: float) -> dict[str, Any]:
    """By attack, what the AUCs must be read beside.

    ``accuracy_alone`` is the AUC of the targets' error rate as a score; ``successful``
    and ``failed`` are the first detector's on the targets whose attack took hold, and
    on the others.
    """
    targets = run.models[run.models.role == "target"]
    known = targets[targets.accuracy.notna()]
    errors = Judged("", "", known, 1 - known.accuracy.to_numpy()[None], known[:0])
    found = {}
    for attack in attacks_of(targets):
        some = targets[targets.attack == attack]
        here: dict[str, float | None] = {"successful": None, "failed": None}
        if first:
            judged = first.take(first.models.role == "target")
            failures, mine = (
                failed(judged.models, min_asr),
                judged.models.attack == attack,
            )
            here["successful"] = _auc(summary(judged, mine & ~failures))
            here["failed"] = _auc(summary(judged, mine & failures))
        alone = errors.targets()
        found[attack] = {
            "models": len(some),
            "failed_models": int(failed(some, min_asr).sum()),
            "accuracy_alone": _auc(summary(alone, alone.models.attack == attack)),
            **here,
        }
    return found


def populations(run: Run, min_asr: float) -> dict[str, Any]:
    """By population: who they are, and means and spreads of accuracy, ASR and loss."""
    found = {}
    for name, some in run.models.groupby("population", sort=False):
        first = some.iloc[0]
        texts = ("role", "attack", "architecture", "recipe")
        found[str(name)] = {
            **{key: str(first[key]) for key in texts},
            "models": len(some),
            "trojaned": bool(first.trojaned),
            "failed": int(failed(some, min_asr).sum()),
            "left_out": int((some.holds == 0).sum()),
            **{k: spread(some[k]) for k in ("accuracy", "asr", "loss")},
        }
    return found


def spread(values: pd.Series) -> dict[str, float] | None:
    """Mean, spread and range over models; None where nothing is known."""
    real = values[np.isfinite(values)]
    if not len(real):
        return None
    return {
        "mean": float(real.mean()),
        "std": float(real.std()) if len(real) > 1 else 0.0,
        "min": float(real.min()),
        "max": float(real.max()),
    }


def overlaps(run: Run, judged: Judged) -> dict[str, float]:
    """By attack: median IoU of recovered and true masks, of models that have both.

    True masks are kept of a population's first models only; a trigger on the whole
    image has none.
    """
    targets = judged.targets().models
    found: dict[str, list[float]] = {}
    for name in targets[targets.trojaned == 1].population.unique():
        shown = run.arrays("populations", name)
        ids = shown.get("ids", ())
        some = targets[(targets.population == name) & targets.id.isin(ids)]
        for model in some.itertuples():
            mask = top_trigger(run.found(judged.name, name, model.id), model.top_label)
            truth = true_mask(shown, [*ids].index(model.id))
            if mask is None or truth is None or truth.all():
                continue
            found.setdefault(str(model.attack), []).append(iou(truth, mask[0]))
    medians = {attack: float(np.nanmedian(v)) for attack, v in found.items()}
    return {attack: value for attack, value in medians.items() if not np.isnan(value)}


def true_mask(shown: dict[str, np.ndarray], i: int) -> np.ndarray | None:
    """Where an image and the same with its trigger differ; ``[H, W]``, or None."""
    if "mask" in shown:
        return binarize(shown["mask"][i])
    if "x_clean" not in shown or shown["x_clean"].ndim != 4:
        return None
    change = np.abs(shown["x_triggered"][i] - shown["x_clean"][i]).max(-1)
    return np.asarray(change > 1e-6)


def top_trigger(
    found: dict[str, np.ndarray], label: float = 0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Recovered mask and pattern of the most suspicious label, ``[H, W, C]`` each."""
    mask, pattern = (
        found.get(name, found.get(f"{name}s")) for name in ("mask", "pattern")
    )
    if mask is None or pattern is None or pattern.ndim not in (3, 4):
        return None
    if pattern.ndim == 4:  # of every label
        k = 0 if np.isnan(label) else min(int(label), len(pattern) - 1)
        mask, pattern = mask[k], pattern[k]
    return mask, pattern


def by_quantile(
    run: Run, judged: Judged, quantiles: Iterable[float], confidence: float
) -> dict[float, AucSummary]:
    """AUC, all attacks, of each quantile of the similarities; {} without any.

    A model's score is the greatest of its labels' quantiles.
    """
    targets = judged.targets()
    found = [similarity(run, judged, m) for m in targets.models.itertuples()]
    if not found or any(each is None for each in found):
        return {}
    result = {}
    for q in quantiles:
        scores = np.array([_quantile(each, q) for each in found])
        scored = Judged("", "", targets.models, scores[None], judged.unjudged)
        if auc := summary(scored, True, confidence):
            result[float(q)] = auc
    return result


def similarity(run: Run, judged: Judged, model: Any) -> np.ndarray | None:
    """``[K, N]`` of a model; None where the detector compares no answers."""
    found = run.found(judged.name, model.population, model.id)
    values = found.get("similarity", found.get("similarities"))
    if values is None or values.ndim != 2 or not np.isfinite(values).any():
        return None
    return np.asarray(values, np.float64)


def _quantile(similarity_KxN: np.ndarray | None, q: float) -> float:
    assert similarity_KxN is not None
    known = similarity_KxN[np.isfinite(similarity_KxN).any(axis=1)]
    return float(np.nanquantile(known, q, axis=1).max())


def notes(judged: Judged) -> dict[str, int]:
    """What findings noted most, and how many did; why models were not judged."""
    every = pd.concat([judged.models, judged.unjudged]).notes.map(split)
    counted = merged((note, 1) for each in every for note in each)
    return dict([*counted.items()][:3])


def _auc(found: AucSummary | None) -> float | None:
    return found.mean if found else None


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if len(values) else None
