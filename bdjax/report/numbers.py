"""What a detector's scores come to: AUCs, rates, verdicts, targets, masks, times.

Everywhere, benign targets are compared with trojaned ones whose attack took hold, and
thresholds that are set here come from calibration models alone.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from bdjax.evaluation import (
    AucSummary,
    best_threshold,
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
    """AUC of the benign against some of the trojaned; None without models of a kind."""
    labels = judged.models.trojaned.to_numpy() == 1
    some = judged.take(~labels | np.asarray(trojaned_M, bool))
    if some.models.trojaned.nunique() < 2:
        return None
    return summarize_auc(some.models.trojaned, some.scores_RxM, confidence=confidence)


def aucs(judged: Judged, confidence: float) -> dict[str, AucSummary | None]:
    """Of the targets, by attack and of all together."""
    targets = judged.targets()
    names = attacks_of(judged.models[judged.models.role == "target"])
    where = targets.models.attack
    found = {name: summary(targets, where == name, confidence) for name in names}
    if len(names) > 1:
        found[ALL] = summary(targets, True, confidence)
    return found


def networks(judged: Judged, confidence: float) -> dict[str, AucSummary | None]:
    """By architecture and recipe, of the targets that share them; {} where all do."""
    targets = judged.targets()
    models = targets.models
    text = (models.architecture + " " + models.recipe).str.strip()
    kinds = text.unique() if text.nunique() > 1 else ()
    return {k: summary(targets.take(text == k), True, confidence) for k in kinds}


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
        for attack in attacks_of(models) if len(benign) else ():
            some = judged.targets(attack).models
            score = some.score.clip(-1e300, 1e300)  # infinite ones, too
            here = rates_at(threshold, some.trojaned, score, confidence=confidence)
            by_attack[attack] = dataclasses.asdict(here)
        found[rule] = {
            "threshold": threshold,
            "benign": len(benign),
            "flagged": int((benign > threshold).sum()),
            "attacks": by_attack,
        }
    return found


def verdicts(judged: Judged) -> dict[str, Any]:
    """By kind of target, benign first: see :func:`tally`; {} without conclusions."""
    models = judged.every
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
    why = unsure.reasons.where(unsure.reasons != "", unsure.notes)
    return {
        "models": len(models),
        **{name: called[name] for name in CALLS},
        "reasons": merged((reason, 1) for text in why for reason in split(text)),
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
    how many of them name the right one. None where there are none. ``tied`` have no
    most suspicious label, as several score the same, and count in none of these.
    """
    models = judged.targets().models
    models = models[(models.trojaned == 1) & (models.label_scores != "")]
    limit = next(iter(thresholds(judged, false_alarms).values()), np.nan)
    found = {}
    for attack, every in models[models.target >= 0].groupby("attack", sort=False):
        some = every[every.top_label.notna()]
        right = some.top_label == some.target
        over, named = some.score > limit, some.named_target.notna()
        found[str(attack)] = {
            "models": len(some),
            "right": int(right.sum()),
            "tied": len(every) - len(some),
            "share": _mean(right),
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
    every = judged.every.seconds.dropna()
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
    known = targets[targets.accuracy.notna() & (targets.holds == 1)]
    errors = Judged("", "", known, 1 - known.accuracy.to_numpy()[None], known[:0])
    found = {}
    for attack in attacks_of(targets):
        some = targets[targets.attack == attack]
        found[attack] = {
            "models": len(some),
            "failed_models": int(failed(some, min_asr).sum()),
            "accuracy_alone": _auc(summary(errors, known.attack == attack)),
            "successful": None,
            "failed": None,
        }
        if first:
            judged = first.take(first.models.role == "target")
            failures = failed(judged.models, min_asr)
            mine = judged.models.attack == attack
            found[attack]["successful"] = _auc(summary(judged, mine & ~failures))
            found[attack]["failed"] = _auc(summary(judged, mine & failures))
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
    real = values.dropna()
    if not len(real):
        return None
    std = real.std() if len(real) > 1 else 0.0
    found = {"mean": real.mean(), "std": std, "min": real.min(), "max": real.max()}
    return {name: float(value) for name, value in found.items()}


def notes(judged: Judged) -> dict[str, int]:
    """What findings noted most, and how many did; why models were not judged."""
    counted = merged((n, 1) for text in judged.every.notes for n in split(text))
    return dict([*counted.items()][:3])


def _auc(found: AucSummary | None) -> float | None:
    return found.mean if found else None


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if len(values) else None
