"""Everything that a report says, as one value: what ``results.json`` holds."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from bdjax.report import findings as words
from bdjax.report import numbers, sweeps
from bdjax.report.run import Judged, Run
from bdjax.tasks import get_task
from bdjax.types import UserError

CONTROL = "accuracy"  # the detector that AUCs must be read beside
_DEFAULTS = {"confidence": 0.95, "false_alarms": 0.1, "min_asr": 0.5}


def setting(run: Run, name: str) -> float:
    """A number of the configuration that the report goes by."""
    return float(run.experiment.get(name, _DEFAULTS[name]))


def compute(run: Run) -> dict[str, Any]:
    """All numbers; most go by measure, detector and attack.

    ``auc.<detector>.<attack>`` are :class:`bdjax.evaluation.AucSummary`; None where
    there are not both kinds of models.
    """
    confidence, alarms = setting(run, "confidence"), setting(run, "false_alarms")
    quantiles = run.experiment.get("quantiles", ())
    judged, min_asr = run.judged, setting(run, "min_asr")
    first = next((j for name, j in judged.items() if name != CONTROL), None)
    swept = sweeps.find(run)
    found: dict[str, Any] = {
        "task": run.task,
        "titles": {k: j.title for k, j in judged.items()},
        "auc": {k: numbers.aucs(j, confidence) for k, j in judged.items()},
        "rates": {k: numbers.rates(j, alarms, confidence) for k, j in judged.items()},
        "verdicts": {k: numbers.verdicts(j) for k, j in judged.items()},
        "targets_named": {
            k: numbers.targets_named(j, numbers.thresholds(j, alarms))
            for k, j in judged.items()
        },
        "iou": {k: numbers.overlaps(run, j) for k, j in judged.items()},
        "kinds": {k: numbers.kinds(j, confidence) for k, j in judged.items()},
        "networks": {
            k: numbers.by_column(j, ["architecture", "recipe"], confidence)
            for k, j in judged.items()
        },
        "quantiles": {
            k: numbers.by_quantile(run, j, quantiles, confidence)
            for k, j in judged.items()
        },
        "seconds_a_model": {k: numbers.seconds(j) for k, j in judged.items()},
        "unjudged": {k: len(j.unjudged) for k, j in judged.items()},
        "detector_notes": {k: numbers.notes(j) for k, j in judged.items()},
        "sweeps": {s.option: sweeps.results(run, s, confidence) for s in swept},
        "swept": sorted(sweeps.beside(run)),
        "controls": numbers.controls(run, first, min_asr),
        "populations": numbers.populations(run, min_asr),
        "notes": list(run.facts.get("notes", ())),
        "machine": {k: v for k, v in run.facts.items() if k not in ("notes", "kind")},
        "experiment": dict(run.experiment),
    }  # fmt: skip
    return {"best": _best(found), "findings": [*_findings(run, found)]} | found


def _best(found: dict[str, Any]) -> str:
    """The detector of the greatest AUC, and what accuracy alone comes to."""
    last = {
        name: [*aucs.values()][-1]
        for name, aucs in found["auc"].items()
        if aucs and name != CONTROL
    }
    last = {name: auc for name, auc in last.items() if auc}
    if not last:
        return ""
    name = max(last, key=lambda name: last[name].mean)
    auc, title = last[name], found["titles"][name]
    who = (
        f"Of {len(last)} detectors {title} best separates"
        if len(last) > 1
        else (f"{title} separates")
    )
    return (
        f"{who} trojaned from benign targets: AUC {words.interval(auc)} over "
        f"{auc.positives} trojaned and {auc.negatives} benign ones"
    )


def _findings(run: Run, found: dict[str, Any]) -> Iterable[str]:
    for name, judged in run.judged.items():
        if name != CONTROL and name not in found["swept"]:
            yield from _of_detector(run, judged, found)
    for sweep in found["sweeps"].values():
        yield from sweeps.findings(sweep)
    fields = found["populations"]
    out = any(f["left_out"] for f in fields.values())
    for role, fate in (
        (
            "target",
            "they are left out of AUCs and rates"
            if out
            else "they count as trojaned all the same",
        ),
        ("shadow", "detectors learn from them, too"),
    ):
        counts = {
            f["attack"]: (f["failed"], f["models"])
            for f in fields.values()
            if f["role"] == role
        }
        yield from words.failed(f"{role}s", counts, setting(run, "min_asr"), fate)
    yield from words.at_chance(*_accuracies(run))
    targets = run.models[(run.models.role == "target") & (run.models.holds == 1)]
    benign = int((targets.trojaned == 0).sum())
    yield from words.few(benign, len(targets) - benign)


def _of_detector(run: Run, judged: Judged, found: dict[str, Any]) -> Iterable[str]:
    name, title = judged.name, judged.title
    aucs = {k: v for k, v in found["auc"][name].items() if k != numbers.ALL}
    yield words.separation(title, aucs, setting(run, "confidence"))
    alone = {
        attack: fields["accuracy_alone"]
        for attack, fields in found["controls"].items()
        if fields["accuracy_alone"] is not None
    }
    yield from words.accuracy_alone(title, aucs, alone)
    named = found["targets_named"][name].values()
    models, right = (sum(each[key] for each in named) for key in ("models", "right"))
    classes = judged.models.label_scores.map(lambda text: text.count("=")).max()
    yield from words.labels(title, right, models, int(classes))
    if tallies := found["verdicts"][name]:
        benign, *others = tallies.values()
        reasons = numbers.merged(
            item for each in (benign, *others) for item in each["reasons"].items()
        )
        yield from words.called(title, _called([benign]), _called(others), reasons)
    for rule, rates in [*found["rates"][name].items()][:1]:
        where = f"'{rule}' ({rates['threshold']:.3g})"
        yield from words.alarms(title, rates["flagged"], rates["benign"], where)
    if count := found["unjudged"][name]:
        yield f"{title} could not judge {count} models, which are left out"


def _called(tallies: list[dict[str, Any]]) -> words.Called:
    names = ("models", "trojaned", "inconclusive")
    return words.Called(*(sum(each[name] for each in tallies) for name in names))


def _accuracies(run: Run) -> tuple[dict[str, pd.Series], float, int]:
    """By kind of judged models, their accuracies; chance, and of how many examples."""
    chance = float(run.facts.get("chance") or np.nan)
    if np.isnan(chance):
        try:
            chance = 1 / get_task(run.task).num_classes
        except UserError:
            return {}, 1.0, 1
    data = run.experiment.get("zoo", {}).get("data", {})
    examples = int(run.facts.get("test_examples") or data.get("test", 0) or 1)
    models = run.models[(run.models.role != "validation") & run.models.accuracy.notna()]
    found = {
        plural(str(role), str(attack)): some.accuracy
        for (role, attack), some in models.groupby(["role", "attack"], sort=False)
    }
    return found, chance, examples


def plural(role: str, attack: str) -> str:
    """Models in words, such as "benign targets" or "shadows with M"."""
    return f"benign {role}s" if attack == "benign" else f"{role}s with {attack}"
