"""Everything that a report says, as one value: what ``results.json`` holds."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bdjax.report import evidence, numbers, sweeps, words
from bdjax.report.run import CONTROL, Judged, Run

_DEFAULTS = {"confidence": 0.95, "false_alarms": 0.1, "min_asr": 0.5}


def compute(run: Run) -> dict[str, Any]:
    """All numbers; most go by measure, detector and attack.

    ``auc.<detector>.<attack>`` are :class:`bdjax.evaluation.AucSummary`; None where
    there are not both kinds of models.
    """
    judged = run.judged
    settings = {k: run.experiment.get(k, default) for k, default in _DEFAULTS.items()}
    confidence, alarms, min_asr = (settings[name] for name in _DEFAULTS)
    quantiles = run.experiment.get("quantiles", ())
    swept = sweeps.beside(run)
    main = [name for name in judged if name != CONTROL and name not in swept]
    first = next((j for name, j in judged.items() if name != CONTROL), None)
    measures: dict[str, Callable[[Judged], Any]] = {
        "auc": lambda j: numbers.aucs(j, confidence),
        "rates": lambda j: numbers.rates(j, alarms, confidence),
        "verdicts": numbers.verdicts,
        "targets_named": lambda j: numbers.targets_named(j, alarms),
        "iou": lambda j: evidence.overlaps(run, j),
        "kinds": lambda j: numbers.kinds(j, confidence),
        "networks": lambda j: numbers.networks(j, confidence),
        "quantiles": lambda j: evidence.by_quantile(run, j, quantiles, confidence),
        "seconds_a_model": numbers.seconds,
        "unjudged": lambda j: len(j.unjudged),
        "classes": lambda j: int(j.models.label_scores.str.count("=").max()),
        "detector_notes": numbers.notes,
    }
    found: dict[str, Any] = {
        "task": run.task,
        "settings": settings,
        "titles": {name: j.title for name, j in judged.items()},
        "main": main,
        "first": first.title if first else "",
        **{k: {n: f(j) for n, j in judged.items()} for k, f in measures.items()},
        "sweeps": {
            s.option: sweeps.results(run, s, confidence) for s in sweeps.find(run)
        },
        "controls": numbers.controls(run, first, min_asr),
        "populations": numbers.populations(run, min_asr),
        "notes": list(run.facts.get("notes", ())),
        "machine": {k: v for k, v in run.facts.items() if k not in ("notes", "kind")},
        "experiment": dict(run.experiment),
    }
    found["derived"] = derived = evidence.derived(run)
    found["quantiles"] |= {name: {} for name in derived}
    found["called"] = {k: _called(v) for k, v in found["verdicts"].items() if v}
    found["failed"] = {role: _failed(found, role) for role in ("target", "shadow")}
    found["left_out"] = bool((run.models.holds == 0).any())
    found["at_chance"] = _at_chance(run)
    targets = run.models[(run.models.role == "target") & (run.models.holds == 1)]
    trojaned = int(targets.trojaned.sum())
    found["compared"] = len(targets) - trojaned, trojaned
    said = words.lines(words.render("findings.txt", found=found))
    return {"best": _best(found), "findings": said} | found


def _best(found: dict[str, Any]) -> str:
    last = {k: [*v.values()][-1] for k, v in found["auc"].items() if v and k != CONTROL}
    last = {name: auc for name, auc in last.items() if auc}
    if not last:
        return ""
    name = max(last, key=lambda name: last[name].mean)
    (said,) = words.sentence("best", found["titles"][name], last[name], len(last))
    return said


def _called(verdicts: dict[str, Any]) -> tuple[Any, ...]:
    """Tallies of benign and of all trojaned targets, and the reasons of both."""
    benign, *others = verdicts.values()
    keys = ("models", *numbers.CALLS)
    trojaned = {key: sum(each[key] for each in others) for key in keys}
    every = (item for each in verdicts.values() for item in each["reasons"].items())
    return benign, trojaned, numbers.merged(every)


def _failed(found: dict[str, Any], role: str) -> dict[str, tuple[int, int]]:
    """By attack: how many of a role's models it failed on, and of how many."""
    every = found["populations"].values()
    return {f["attack"]: (f["failed"], f["models"]) for f in every if f["role"] == role}


def _at_chance(run: Run) -> tuple[dict[str, tuple[int, int]], float, float]:
    """By kind of models: how many are no better than chance; chance and its bound.

    Two standard errors above chance are still chance.
    """
    if "chance" not in run.facts:
        return {}, 1.0, 1.0
    chance, examples = run.facts["chance"], run.facts["test_examples"]
    bound = chance + 2 * float(np.sqrt(chance * (1 - chance) / examples))
    models = run.models[(run.models.role != "validation") & run.models.accuracy.notna()]
    found = {}
    for (role, attack), some in models.groupby(["role", "attack"], sort=False):
        name = f"benign {role}s" if attack == "benign" else f"{role}s with {attack}"
        found[name] = int((some.accuracy <= bound).sum()), len(some)
    return found, chance, bound
