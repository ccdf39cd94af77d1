"""Thresholds of the white box, from reference networks of many architectures.

What a threshold promises is tried where users are: on an architecture that it has not
seen. Each is left out in turn, the thresholds are set on the others, and its own
networks are judged by them.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from bdjax.evaluation import Table, auc, threshold_at_fpr
from bdjax.experiments.tnd import Outcome
from bdjax.experiments.tnd_config import VARIANTS, detector_config
from bdjax.tnd.references import settings_of
from bdjax.types import UserError
from bdjax.verdicts import Calibration

GREY = 0.05  # share of benign references that reach the grey zone
ALARMS_OF_NEW = 0.01  # of benign networks of a new architecture, for the threshold
ALARMS_OF_SAME = 0.005  # of benign networks like the references, likewise
LEAST_ASR = 0.8  # of a trojaned reference
LEAST_ARCHITECTURES = 3  # for a spread between them; one more to leave one out


class Reference(NamedTuple):
    """A network whose truth is known, and what a detector said of it.

    Attributes:
      architecture: key in ``bdjax.models.MODELS``.
      regime: key in ``configs.references.REGIMES``.
      attack: key in ``bdjax.attacks.ATTACKS``.
      score: of the detector.
      is_right: whether the most suspicious label is the target; of benign ones False.
    """

    architecture: str
    regime: str
    attack: str
    score: float
    is_right: bool

    @property
    def is_benign(self) -> bool:
        """Whether it carries no backdoor."""
        return self.attack == "benign"


def collect(regime: str, architecture: str, outcome: Outcome) -> dict[str, list]:
    """References by detector, of a finished run; failed attacks are left out."""
    found: dict[str, list[Reference]] = {}
    for case, by_name in outcome.verdicts.items():
        for name, judged in by_name.items():
            population = outcome.populations[name]
            asr = np.nan_to_num(np.asarray(population.quality.asr), nan=1.0)
            targets = np.asarray(population.triggers.target)
            for each, rate, target in zip(judged, asr, targets, strict=True):
                if not each or rate < LEAST_ASR:
                    continue
                right = population.is_trojaned and each.label == int(target)
                row = Reference(
                    architecture, regime, population.attack.name, each.score, right
                )
                found.setdefault(case.variant, []).append(row)
    return found


def thresholds(references: Iterable[Reference]) -> tuple[float, float]:
    """Where the grey zone begins, and the threshold above it.

    The grey zone begins at the conformal threshold of all benign references. The
    threshold is the greatest of three: the greatest benign score; where a network of an
    architecture *to come* scores with a probability of :data:`ALARMS_OF_NEW`, if benign
    scores are a normal effect of the architecture plus a normal spread within it
    (Student's t, as few architectures as there are); and where one of the same kinds
    scores with a probability of :data:`ALARMS_OF_SAME`, if the scores beyond the grey
    zone's begin fall off exponentially (peaks over a threshold).
    """
    groups: dict[str, list[float]] = {}
    for each in references:
        if each.is_benign:
            groups.setdefault(each.architecture, []).append(each.score)
    if len(groups) < LEAST_ARCHITECTURES:
        raise UserError(
            f"the references have {len(groups)} architectures; thresholds for others "
            f"take {LEAST_ARCHITECTURES} or more: name more regimes"
        )
    scores = np.concatenate([*groups.values()])
    means = np.array([np.mean(some) for some in groups.values()])
    within = float(np.mean([np.var(some, ddof=1) for some in groups.values()]))
    between = float(np.var(means, ddof=1))  # the architectures' means spread in it, too
    spread = math.sqrt(between * (1 + 1 / len(means)) + within)
    new = means.mean() + stats.t.ppf(1 - ALARMS_OF_NEW, len(means) - 1) * spread
    grey = threshold_at_fpr(scores, GREY)
    beyond = scores[scores > grey] - grey
    decay = float(beyond.mean()) if len(beyond) else 0.0
    same = grey + decay * math.log(GREY / ALARMS_OF_SAME)
    return grey, max(float(new), same, float(scores.max()))


class Shares(NamedTuple):
    """What was said of some networks.

    Attributes:
      models: how many.
      trojaned: share called so.
      inconclusive: share in the grey zone.
      right: share whose most suspicious label is the target.
    """

    models: int
    trojaned: float
    inconclusive: float
    right: float


def shares(some: Sequence[Reference], grey: float, threshold: float) -> Shares:
    """What thresholds make of some references' scores."""
    scores = np.array([each.score for each in some])
    return Shares(
        len(some),
        float((scores > threshold).mean()) if some else math.nan,
        float(((scores > grey) & (scores <= threshold)).mean()) if some else math.nan,
        float(np.mean([each.is_right for each in some])) if some else math.nan,
    )


def left_out(
    references: Sequence[Reference],
) -> dict[str, tuple[float, float, Shares, Shares]]:
    """By architecture: thresholds set on all others; its benign and trojaned networks.

    And of all together, each judged by the thresholds that it had no part in.
    """
    found = {}
    for name in dict.fromkeys(each.architecture for each in references):
        others = [each for each in references if each.architecture != name]
        own = [each for each in references if each.architecture == name]
        limits = thresholds(others)
        found[name] = (*limits, *_by_truth(own, *limits))
    return found


def _by_truth(
    some: Sequence[Reference], grey: float, threshold: float
) -> tuple[Shares, Shares]:
    benign = [each for each in some if each.is_benign]
    trojaned = [each for each in some if not each.is_benign]
    return shares(benign, grey, threshold), shares(trojaned, grey, threshold)


def table(title: str, references: Sequence[Reference]) -> Table:
    """A row an architecture, left out of its own thresholds; then all, by all."""
    rows = []
    for name, (grey, threshold, benign, trojaned) in left_out(references).items():
        rows.append((name, *_cells(grey, threshold, benign, trojaned)))
    limits = thresholds(references)
    rows.append(("all, built in", *_cells(*limits, *_by_truth(references, *limits))))
    truth = [not each.is_benign for each in references]
    score = auc(np.array(truth, int), np.array([each.score for each in references]))
    return Table(
        title=f"{title}: AUC {score:.3f}; architectures by the others' thresholds",
        columns=(
            *("architecture", "grey zone", "benign", "flagged", "inconclusive"),
            *("trojaned", "found", "inconclusive", "label right"),
        ),
        rows=tuple(rows),
    )


def _cells(
    grey: float, threshold: float, benign: Shares, trojaned: Shares
) -> tuple[str, ...]:
    def percent(share: float) -> str:
        return "" if math.isnan(share) else f"{share:.0%}"

    return (
        f"{grey:.2f} to {threshold:.2f}",
        *(str(benign.models), percent(benign.trojaned), percent(benign.inconclusive)),
        *(str(trojaned.models), percent(trojaned.trojaned)),
        *(percent(trojaned.inconclusive), percent(trojaned.right)),
    )


def calibration(
    settings: dict[str, Any], references: Sequence[Reference]
) -> Calibration:
    """What is built in, of references scored with some settings."""
    grey, threshold = thresholds(references)
    benign = [each for each in references if each.is_benign]
    kinds = len({each.architecture for each in benign})
    return Calibration(
        np.array([each.score for each in benign]),
        threshold=round(threshold, 3),
        grey=round(grey, 3),
        source=f"built-in references of {kinds} architectures, 10 classes",
        settings=settings,
    )


def settings(outcome: Outcome, variant: str) -> dict[str, Any]:
    """What a detector of a run computed."""
    return settings_of(detector_config(outcome.config, variant))


def write(
    folder: Path, found: dict[str, list[Reference]], outcome: Outcome
) -> dict[str, Table]:
    """Calibrations as JSON and all scores as CSV; tables by detector."""
    tables = {}
    for variant, references in found.items():
        detector = "df_tnd" if VARIANTS[variant].data_free else "dl_tnd"
        folder.mkdir(parents=True, exist_ok=True)
        made = calibration(settings(outcome, variant), references)
        made.save(folder / f"{detector}.json")
        rows = [",".join(Reference._fields)]
        rows += [",".join(map(str, each)) for each in references]
        text = "\n".join(rows) + "\n"
        (folder / f"{detector}.csv").write_text(text, encoding="utf-8")
        tables[detector] = table(VARIANTS[variant].title, references)
    return tables
