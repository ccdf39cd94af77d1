"""A TND report: ``results.json`` for programs, ``report.md`` for people."""

import collections
import dataclasses
from pathlib import Path
from typing import Any

from bdjax import storage, telemetry
from bdjax.evaluation import AucSummary
from bdjax.experiments import findings as words
from bdjax.experiments import reporting, tnd_figures, tnd_scores, tnd_tables
from bdjax.experiments.found import Case
from bdjax.experiments.tnd import TARGET, Outcome
from bdjax.experiments.tnd_config import BENIGN, VARIANTS, detector_config
from bdjax.tasks import get_task
from bdjax.verdicts import number


def results(outcome: Outcome, clock: telemetry.Clock) -> dict[str, Any]:
    """Everything measured, ready for JSON; most of it by detector and attack."""
    main = tnd_scores.main_cases(outcome)
    return {
        "findings": findings(outcome),
        "auc": {c.variant: _dicts(tnd_scores.aucs(outcome, c)) for c in main},
        "rates": {c.variant: tnd_scores.rates(outcome, c) for c in main},
        "verdicts": {c.variant: _verdicts(outcome, c) for c in main},
        "target_labels": {c.variant: tnd_scores.labels_found(outcome, c) for c in main},
        "iou": {
            c.variant: {
                name.removeprefix(f"{TARGET}-"): tnd_scores.median_overlap(
                    tnd_scores.overlaps(outcome, c, name)
                )
                for name in tnd_scores.names_of(outcome, TARGET)
            }
            for c in main
            if not VARIANTS[c.variant].of
        },
        "kinds": {
            c.variant: {
                kind: fields | {"auc": fields["auc"].to_dict()}
                for kind, fields in tnd_scores.kinds(outcome, c).items()
            }
            for c in main
        },
        "quantiles": {
            k: {f"{q:g}": s.to_dict() for q, s in points.items()}
            for k, points in tnd_scores.quantile_sweep(outcome).items()
        },
        "images_a_class": {
            variant: {
                attack: {str(n): s.to_dict() for n, s in points.items()}
                for attack, points in curves.items()
            }
            for variant, curves in tnd_scores.image_sweep(outcome).items()
        },
        "seconds_a_model": tnd_scores.seconds(outcome),
        "controls": tnd_scores.controls(outcome),
        "detector_notes": _detector_notes(outcome),
        **reporting.qualities(outcome.populations, outcome.config.min_asr),
        **reporting.machine(clock),
        "notes": outcome.notes,
        "detectors": {
            v: dataclasses.asdict(detector_config(outcome.config, v))
            for v in outcome.config.detectors
        },
        "config": dataclasses.asdict(outcome.config),
    }


def findings(outcome: Outcome) -> list[str]:
    """What was found, and whether to trust it; a sentence each, see words."""
    config, populations = outcome.config, outcome.populations
    targets = (f"{TARGET}-{BENIGN}", *tnd_scores.names_of(outcome, TARGET))
    lines = []
    for case in tnd_scores.main_cases(outcome):
        if not VARIANTS[case.variant].of:
            lines += _of_detector(outcome, case)
    counts = {
        name.removeprefix(f"{TARGET}-"): (
            int((~tnd_scores.took_hold(outcome, name)).sum()),
            len(populations[name]),
        )
        for name in targets[1:]
    }
    fate = "they are left out of AUCs and rates"
    lines += words.failed("targets", counts, config.min_asr, fate)
    accuracies = {
        reporting.plural(name): populations[name].quality.accuracy for name in targets
    }
    lines += words.at_chance(accuracies, outcome.dataset.y[outcome.test_N])
    worked = [int(tnd_scores.took_hold(outcome, name).sum()) for name in targets]
    return [*lines, *words.few(worked[0], sum(worked[1:]))]


def _of_detector(outcome: Outcome, case: Case) -> list[str]:
    title, config = VARIANTS[case.variant].title, outcome.config
    aucs = tnd_scores.aucs(outcome, case)
    aucs.pop(tnd_scores.ALL, None)
    lines = [words.separation(title, aucs, config.confidence)]
    alone = {
        attack: found["accuracy_alone"]
        for attack, found in tnd_scores.controls(outcome).items()
        if found["accuracy_alone"] is not None
    }
    lines += words.accuracy_alone(title, aucs, alone)
    found = tnd_scores.labels_found(outcome, case).values()
    models = sum(each["models"] for each in found)
    right = sum(round(each["share"] * each["models"]) for each in found)
    lines += words.labels(title, right, models, outcome.dataset.num_classes)
    benign, *others = tnd_scores.conclusions(outcome, case).values()
    lines += reporting.verdicts_found(title, benign, others)
    (rule, limit), *_ = tnd_scores.thresholds(outcome, case).items()
    scores = tnd_scores.scores(outcome, case, f"{TARGET}-{BENIGN}")
    over = int((scores > limit).sum())
    return lines + words.alarms(title, over, len(scores), f"'{rule}' ({limit:.3g})")


def _verdicts(outcome: Outcome, case: Case) -> dict[str, Any]:
    grey, threshold = map(number, tnd_scores.built_in(outcome, case))
    kinds = tnd_scores.conclusions(outcome, case)
    return {"threshold": threshold, "grey": grey, "targets": kinds}


def write(outcome: Outcome, workdir: Path, clock: telemetry.Clock) -> dict[str, Any]:
    """Writes figures, ``results.json`` and ``report.md``; returns the results."""
    with clock.phase("report"):
        drawn = tnd_figures.draw(outcome, workdir / "figures")
    found = results(outcome, clock)
    storage.write_json(workdir / "results.json", found)
    text = "\n".join(_lines(outcome, found))
    text += "\n" + "\n".join(reporting.figure_lines(drawn, workdir))
    (workdir / "report.md").write_text(text, encoding="utf-8")
    return found


def _lines(outcome: Outcome, found: dict[str, Any]) -> list[str]:
    config, counts = outcome.config, outcome.config.population
    targets = ", ".join(f"{n} {attack}" for attack, n in counts.target_counts.items())
    trojaned = ", ".join(f"{n} {k}" for k, n in counts.calibration_counts.items())
    lines = [
        f"# DL-TND and DF-TND on {outcome.dataset.name}",
        "",
        *words.markdown(found["findings"]),
        f"Targets: {counts.targets} benign, {targets}. Calibration: "
        f"{counts.calibration} benign, {trojaned}. Architecture: "
        f"{config.architecture or get_task(config.task).model}. Each model trains "
        f"{config.train.recipe(config.data.attacker).steps} steps on "
        f"{config.data.attacker} examples of the attacker's "
        f"(split: {config.data.split}); the defender has {config.per_class} clean "
        f"images a class, and none for DF-TND. Seed {config.seed}.",
        "",
        reporting.machine_line(found),
        "",
        f"A trojaned model counts where its ASR is at least {config.min_asr:g}; the "
        "others are counted apart (Controls). Thresholds come from calibration models: "
        "'calibrated' has the best balanced accuracy on them, 'few alarms' is meant to "
        f"flag at most {config.false_alarms:.0%} of benign models (where there are too "
        "few calibration models to tell, it is their greatest score). Verdicts are the "
        "detector's own, by its built-in benign references.",
        "",
    ]
    lines += [f"**Note:** {note}.", ""] if (note := _subset(outcome)) else []
    for note in outcome.notes:
        lines += [f"**Note:** {note}.", ""]
    for case, notes in found["detector_notes"].items():
        for note, count in notes.items():
            lines += [f"**Note:** {case}, {count} verdicts: {note}.", ""]
    for table in tnd_tables.tables(outcome):
        lines += [table.to_markdown(), ""]
    return lines


def _subset(outcome: Outcome) -> str:
    """Which detectors have not seen all models."""
    config = outcome.config
    slow = [v for v in config.detectors if VARIANTS[v].is_slow]
    if not slow or not config.slow_models:
        return ""
    names = ", ".join(VARIANTS[v].title for v in slow)
    return (
        f"{names} ran on the first {config.slow_models} models of every population "
        "only; rows of one table are then not on the same models"
    )


def _detector_notes(outcome: Outcome) -> dict[str, dict[str, int]]:
    """By case: what verdicts noted, and how many did."""
    found = {}
    for case, by_name in outcome.verdicts.items():
        if VARIANTS[case.variant].of:
            continue
        every = (n for some in by_name.values() for v in some if v for n in v.notes)
        if counted := collections.Counter(every):
            found[case.name] = dict(counted.most_common(3))
    return found


def _dicts(summaries: dict[str, AucSummary | None]) -> dict[str, Any]:
    return {name: s.to_dict() if s else None for name, s in summaries.items()}
