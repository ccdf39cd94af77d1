"""What the verdicts of an experiment come to: AUCs, rates, labels, masks, times.

Everywhere, benign targets are compared with trojaned ones whose attack took hold (ASR
of at least ``config.min_asr``), and thresholds come from calibration models alone.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from bdjax import tree
from bdjax.attacks import NO_TARGET, patch_size
from bdjax.attacks.patches import describe
from bdjax.evaluation import (
    AucSummary,
    auc,
    best_threshold,
    iou,
    rates_at,
    summarize_auc,
    threshold_at_fpr,
)
from bdjax.experiments import reporting
from bdjax.experiments.found import Case, Found, by_similarity
from bdjax.experiments.tnd import CALIBRATION, TARGET, Outcome, cases
from bdjax.experiments.tnd_config import BENIGN, VARIANTS

ALL = "all attacks"
_LEAST = 2  # models of one kind of trigger, for an AUC of their own


def main_cases(outcome: Outcome) -> list[Case]:
    """One a detector: those at ``config.per_class``, not the sweep's."""
    return cases(outcome.config)[: len(outcome.config.detectors)]


def took_hold(outcome: Outcome, name: str) -> np.ndarray:
    """Bool ``[M]``: the models of a population whose attack works; all benign ones."""
    population = outcome.populations[name]
    if not population.is_trojaned:
        return np.ones(len(population), bool)
    return np.asarray(population.quality.asr >= outcome.config.min_asr)


def judged(outcome: Outcome, case: Case, name: str) -> list[tuple[int, Found]]:
    """Verdicts on the models of a population that count, with their positions."""
    found = outcome.verdicts[case][name]
    worked = took_hold(outcome, name)
    return [(i, each) for i, each in enumerate(found) if each and worked[i]]


def scores(outcome: Outcome, case: Case, name: str) -> np.ndarray:
    """Scores of those."""
    return np.array([found.score for _, found in judged(outcome, case, name)])


def names_of(outcome: Outcome, role: str) -> list[str]:
    """The trojaned populations of a role."""
    return [
        name
        for name in outcome.populations
        if name.startswith(f"{role}-") and name != f"{role}-{BENIGN}"
    ]


def summary(
    outcome: Outcome, benign: Iterable[float], trojaned: Iterable[float]
) -> AucSummary | None:
    """AUC with its interval; None without models of both kinds."""
    negatives, positives = np.array([*benign]), np.array([*trojaned])
    if not len(negatives) or not len(positives):
        return None
    labels = np.repeat([0, 1], [len(negatives), len(positives)])
    both = np.concatenate([negatives, positives])
    return summarize_auc(labels, both[None], confidence=outcome.config.confidence)


def aucs(outcome: Outcome, case: Case) -> dict[str, AucSummary | None]:
    """By attack, and of all attacks together."""
    benign = scores(outcome, case, f"{TARGET}-{BENIGN}")
    trojaned = {
        name.removeprefix(f"{TARGET}-"): scores(outcome, case, name)
        for name in names_of(outcome, TARGET)
    }
    if len(trojaned) > 1:
        trojaned[ALL] = np.concatenate([*trojaned.values()])
    return {k: summary(outcome, benign, some) for k, some in trojaned.items()}


def thresholds(outcome: Outcome, case: Case) -> dict[str, float]:
    """By rule; those that calibration models suffice for, the best one first."""
    benign = scores(outcome, case, f"{CALIBRATION}-{BENIGN}")
    trojaned = np.concatenate(
        [scores(outcome, case, name) for name in names_of(outcome, CALIBRATION)]
    )
    found = {}
    if len(trojaned):
        labels = np.repeat([0, 1], [len(benign), len(trojaned)])
        found["calibrated"] = best_threshold(labels, np.append(benign, trojaned))
    return found | {"few alarms": threshold_at_fpr(benign, outcome.config.false_alarms)}


def built_in(outcome: Outcome, case: Case) -> tuple[float, float]:
    """Grey and threshold of the detector's own calibration; both may be infinite."""
    ((_, found), *_) = judged(outcome, case, f"{TARGET}-{BENIGN}")
    return found.grey, found.threshold


def conclusions(outcome: Outcome, case: Case) -> dict[str, dict[str, Any]]:
    """What verdicts on targets that count come to, by kind, the benign ones first."""
    return {
        name.removeprefix(f"{TARGET}-"): reporting.tally(
            each for _, each in judged(outcome, case, name)
        )
        for name in (f"{TARGET}-{BENIGN}", *names_of(outcome, TARGET))
    }


def rates(outcome: Outcome, case: Case) -> dict[str, dict[str, Any]]:
    """By rule of the threshold: what is flagged of the targets, by attack."""
    benign = scores(outcome, case, f"{TARGET}-{BENIGN}")
    found = {}
    for rule, threshold in thresholds(outcome, case).items():
        by_attack = {}
        for name in names_of(outcome, TARGET):
            some = scores(outcome, case, name)
            if len(some):
                labels = np.repeat([0, 1], [len(benign), len(some)])
                flagged = rates_at(threshold, labels, np.append(benign, some))
                by_attack[name.removeprefix(f"{TARGET}-")] = flagged.to_dict()
        found[rule] = {
            "threshold": threshold,
            "false_positive_rate": float((benign > threshold).mean()),
            "attacks": by_attack,
        }
    return found


def labels_found(outcome: Outcome, case: Case) -> dict[str, dict[str, Any]]:
    """By attack with a target: how often the most suspicious label is the target.

    ``share`` is of all models that count, ``share_of_detected`` of those above the
    calibrated threshold (or that of few alarms); None where there are none.
    """
    limit = next(iter(thresholds(outcome, case).values()))
    found = {}
    for name in names_of(outcome, TARGET):
        target_M = np.asarray(outcome.populations[name].triggers.target)
        some = judged(outcome, case, name)
        if not some or (target_M == NO_TARGET).all():
            continue
        right = np.array([each.label == target_M[i] for i, each in some])
        over = np.array([each.score > limit for _, each in some])
        found[name.removeprefix(f"{TARGET}-")] = {
            "models": len(right),
            "share": float(right.mean()),
            "detected": int(over.sum()),
            "share_of_detected": float(right[over].mean()) if over.any() else None,
        }
    return found


def overlaps(outcome: Outcome, case: Case, name: str) -> np.ndarray:
    """IoU of recovered and true masks, ``[models that count]``.

    NaN where the trigger covers the whole image. It is empty for variants that score
    the solutions of another.
    """
    if VARIANTS[case.variant].of:
        return np.zeros(0)
    triggers = outcome.populations[name].triggers
    whole = np.asarray(patch_size(triggers)) == np.asarray(triggers.form.mask)[0].size
    return np.array(
        [
            np.nan if whole[i] else iou(np.asarray(triggers.form.mask)[i], found.mask)
            for i, found in judged(outcome, case, name)
        ]
    )


def median_overlap(values: np.ndarray) -> float | None:
    """Of what there is."""
    real = values[~np.isnan(values)]
    return float(np.median(real)) if len(real) else None


def kinds(outcome: Outcome, case: Case) -> dict[str, dict[str, Any]]:
    """By attack and kind of trigger with two models or more: AUC and median IoU."""
    benign = scores(outcome, case, f"{TARGET}-{BENIGN}")
    found = {}
    for name in names_of(outcome, TARGET):
        triggers, some = outcome.populations[name].triggers, judged(outcome, case, name)
        shape = np.array([describe(tree.index(triggers, i)).kind for i, _ in some])
        score, overlap = scores(outcome, case, name), overlaps(outcome, case, name)
        pixels = np.array([int(patch_size(tree.index(triggers, i))) for i, _ in some])
        order = sorted({*zip(pixels.tolist(), shape.tolist(), strict=True)})
        for size, kind in order:
            here = shape == kind
            result = summary(outcome, benign, score[here])
            if here.sum() < _LEAST or result is None:
                continue
            found[f"{name.removeprefix(f'{TARGET}-')}: {kind}"] = {
                "pixels": size,
                "auc": result,
                "iou": median_overlap(overlap[here]) if len(overlap) else None,
            }
    return found


def controls(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """By attack, what the AUCs must be read beside.

    ``accuracy_alone`` is the AUC of the targets' error rate as a score, ``failed``
    that of the first detector on targets whose attack failed.
    """
    case = main_cases(outcome)[0]
    accuracy = outcome.populations[f"{TARGET}-{BENIGN}"].quality.accuracy
    found = {}
    for name in names_of(outcome, TARGET):
        population, worked = outcome.populations[name], took_hold(outcome, name)
        # Of slow detectors there are not verdicts on all.
        failed = [
            each.score
            for each, works in zip(
                outcome.verdicts[case][name], worked, strict=False
            )
            if each and not works
        ]  # fmt: skip
        other = np.asarray(population.quality.accuracy)[worked]
        labels = np.repeat([0, 1], [len(accuracy), len(other)])
        errors = 1 - np.append(accuracy, other)
        result = summary(outcome, scores(outcome, case, f"{TARGET}-{BENIGN}"), failed)
        found[name.removeprefix(f"{TARGET}-")] = {
            "models": len(population),
            "failed_models": int((~worked).sum()),
            "accuracy_alone": auc(labels, errors) if len(other) else None,
            "failed": result.mean if result else None,
        }
    return found


def has_similarities(outcome: Outcome, case: Case) -> bool:
    """Whether a detector compares answers, which not every setting does."""
    if VARIANTS[case.variant].data_free or VARIANTS[case.variant].of:
        return False
    every = [found for some in outcome.verdicts[case].values() for found in some]
    return all(np.isfinite(each.similarity).any() for each in every if each)


def quantile_sweep(outcome: Outcome) -> dict[str, dict[float, AucSummary]]:
    """By detector with similarities: AUC, all attacks, of each of the percentiles."""
    found: dict[str, dict[float, AucSummary]] = {}
    for case in main_cases(outcome):
        if not has_similarities(outcome, case):
            continue

        def scored(name: str, q: float, case: Case = case) -> list[float]:
            return [by_similarity(e, q) for _, e in judged(outcome, case, name)]

        for q in outcome.config.quantiles:
            trojaned = [s for n in names_of(outcome, TARGET) for s in scored(n, q)]
            result = summary(outcome, scored(f"{TARGET}-{BENIGN}", q), trojaned)
            if result:
                found.setdefault(case.variant, {})[q] = result
    return found


def image_sweep(outcome: Outcome) -> dict[str, dict[str, dict[int, AucSummary]]]:
    """By detector, attack and number of clean images a class: AUC."""
    found: dict[str, dict[str, dict[int, AucSummary]]] = {}
    swept = {case.variant for case in cases(outcome.config)[len(main_cases(outcome)) :]}
    for case in sorted(outcome.verdicts, key=lambda case: case.per_class):
        if case.variant in swept:
            for attack, result in aucs(outcome, case).items():
                if result:
                    curves = found.setdefault(case.variant, {})
                    curves.setdefault(attack, {})[case.per_class] = result
    return found


def seconds(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Wall time a model, by case; first ones of a process, which compile, apart."""
    found = {}
    for case, by_name in outcome.verdicts.items():
        if VARIANTS[case.variant].of:
            continue
        every = [each for some in by_name.values() for each in some if each]
        warm = [each.seconds for each in every if not each.is_first]
        found[case.name] = {
            "models": len(every),
            "median": float(np.median(warm)) if warm else None,
            "max": max(warm, default=None),
            "first": max((e.seconds for e in every if e.is_first), default=None),
        }
    return found
