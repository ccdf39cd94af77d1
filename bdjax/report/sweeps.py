"""Detectors that differ in one number only: AUC against it, and what tuning adds."""

import re
from typing import Any, NamedTuple

from bdjax.evaluation import auc_gain
from bdjax.report import numbers
from bdjax.report.run import Judged, Run

UNITS = {"shadows": "shadow models", "per_class": "clean images a class"}
"""Option of a detector -> what it counts."""

TUNED, UNTUNED = "mntd", "mntd_no_tuning"

# Xu et al., S&P 2021, Fig. 6: AUC by total number of shadow models, by task and attack;
# read off the plot, good to about .01.
_SIZES = tuple(2**k for k in range(5, 13))
PUBLISHED = {
    ("mnist", "M"): (0.80, 0.915, 0.945, 0.99, 0.99, 0.995, 0.995, 0.998),
    ("cifar10", "M"): (0.75, 0.80, 0.86, 0.87, 0.87, 0.885, 0.91, 0.92),
}


class Sweep(NamedTuple):
    """Detectors by the number that they differ in.

    Attributes:
      option: key in :data:`UNITS`.
      curves: by name and options but for that one, then by number.
      titles: of the curves, likewise.
    """

    option: str
    curves: dict[str, dict[int, Judged]]
    titles: dict[str, str]


def find(run: Run) -> list[Sweep]:
    """The sweeps of a run; curves of one number only are none."""
    shadows = int((run.models.role == "shadow").sum())
    per_class = int(run.experiment.get("per_class", 0))
    defaults = {"shadows": shadows, "per_class": per_class}
    found = []
    for option in UNITS:
        curves: dict[str, dict[int, Judged]] = {}
        titles: dict[str, str] = {}
        given = re.compile(rf"[-:, (]*\b{option}=(\d+)\b")
        for name, judged in run.judged.items():
            if number := given.search(name):
                rest = given.sub("", name)
                curves.setdefault(rest, {})[int(number[1])] = judged
                titles[rest] = given.sub("", judged.title).replace("()", "").strip(" )")
        for rest, points in curves.items():
            if rest in run.judged and defaults[option]:
                points.setdefault(defaults[option], run.judged[rest])
        curves = {k: dict(sorted(v.items())) for k, v in curves.items() if len(v) > 1}
        if curves:
            found.append(Sweep(option, curves, titles))
    return found


def beside(run: Run) -> set[str]:
    """Detectors that are shown in sweeps only: all but the one without the option.

    Or the one of the greatest number, where there is none without.
    """
    names = set()
    for sweep in find(run):
        for rest, points in sweep.curves.items():
            main = rest if rest in run.judged else [*points.values()][-1].name
            names |= {judged.name for judged in points.values()} - {main}
    return names


def results(run: Run, sweep: Sweep, confidence: float) -> dict[str, Any]:
    """By attack: AUC by curve and number, gain of tuning, the paper's curve."""
    attacks: dict[str, Any] = {}
    for curve, points in sweep.curves.items():
        for number, judged in points.items():
            for attack, auc in numbers.aucs(judged, confidence).items():
                if auc:
                    here = attacks.setdefault(attack, {"auc": {}})["auc"]
                    here.setdefault(curve, {})[number] = auc
    for attack, found in attacks.items():
        paper = PUBLISHED.get((run.task, attack))
        found["published"] = (
            dict(zip(_SIZES, paper, strict=True))
            if paper and sweep.option == "shadows"
            else {}
        )
        found["gain_of_tuning"] = _gains(sweep, attack)
    unit = UNITS[sweep.option]
    return {
        "option": sweep.option,
        "unit": unit,
        "titles": sweep.titles,
        "attacks": attacks,
    }


def _gains(sweep: Sweep, attack: str) -> dict[int, dict[str, float]]:
    """What tuning adds to the mean AUC on the same models."""
    tuned, untuned = (sweep.curves.get(name, {}) for name in (TUNED, UNTUNED))
    found = {}
    for number in sorted({*tuned} & {*untuned}):
        only = "" if attack == numbers.ALL else attack
        one, other = (each[number].targets(only) for each in (tuned, untuned))
        labels = one.models.trojaned
        if labels.nunique() == 2 and len(labels) == len(other.models):
            gain, interval = auc_gain(labels, one.scores_RxM, other.scores_RxM)
            found[number] = {"mean": gain, "low": interval.low, "high": interval.high}
    return found
