"""Thresholds of the white box, from reference networks of many architectures.

What a threshold promises is tried where users are: on an architecture that it has not
seen. Each is left out in turn, the thresholds are set on the others, and its own
networks are judged by them.

References are a table with a row a network and the columns :data:`COLUMNS`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich.console import Console
from scipy import stats

from bdjax.detectors import Detector
from bdjax.detectors.perturbations import Perturbing
from bdjax.evaluation import Table, auc, threshold_at_fpr
from bdjax.experiments import configurations, runner
from bdjax.experiments.config import BENIGN
from bdjax.experiments.overrides import change
from bdjax.tnd.references import settings_of
from bdjax.types import UserError
from bdjax.verdicts import Calibration

GREY = 0.05  # share of benign references that reach the grey zone
ALARMS_OF_NEW = 0.01  # of benign networks of a new architecture, for the threshold
ALARMS_OF_SAME = 0.005  # of benign networks like the references, likewise
LEAST_ASR = 0.8  # of a trojaned reference
LEAST_ARCHITECTURES = 3  # for a spread between them; one more to leave one out
COLUMNS = ("architecture", "regime", "attack", "score", "is_right")
"""``attack`` is ``"benign"`` of networks without a backdoor; ``is_right`` says whether
the most suspicious label is the target.
"""


def run(
    workdir: Path,
    names: Sequence[str],
    paths: Mapping[str, str],
    *,
    out: Path | None = None,
    console: Console | None = None,
) -> dict[str, Table]:
    """Trains and judges regimes, each a run of its own, and sets thresholds on them.

    Args:
      workdir: a folder of runs, each resumed if it is there.
      names: of regimes, keys of ``REGIMES`` in ``configs/references.py``.
      paths: by task, an npz; regimes that lack theirs are left out.
      out: where calibrations, scores and tables go; ``workdir / "calibrations"``.
      console: gets what the user should know.

    Returns:
      A table a detector.

    Raises:
      UserError: a regime is unknown, none is left, or as
        :func:`bdjax.experiments.runner.run`.
    """
    console = console or Console()
    regimes = configurations.module("references").REGIMES
    found: list[pd.DataFrame] = []
    asked: list[Detector] = []
    for name in names:
        if name not in regimes:
            raise UserError(f"no regime {name!r}; there are {list(regimes)}")
        experiment = configurations.load(f"references:{name}")
        task = experiment.zoo.task
        if experiment.zoo.data.source == "npz":
            if not (path := paths.get(task)):
                console.print(f"{name}: left out, for want of --{task}")
                continue
            experiment = change(experiment, {"zoo.data.path": path})
        table = runner.run(experiment, workdir / name, console=console)
        assert table  # one process
        found.append(collect(name, table))
        asked = runner.detectors_of(experiment)
    if not asked:
        raise UserError("no regime is left; give --mnist or --cifar10")
    return write(out or workdir / "calibrations", pd.concat(found), asked)


def collect(regime: str, path: Path) -> pd.DataFrame:
    """References of a run's ``scores.csv``, with their detector; no failed attacks."""
    rows = pd.read_csv(path)
    held = (rows.trojaned == 0) | (rows.asr >= LEAST_ASR)
    rows = rows[held & rows.detector.notna() & rows.score.notna()]
    right = (rows.trojaned == 1) & (rows.top_label == rows.target)
    return rows.assign(regime=regime, is_right=right)[["detector", *COLUMNS]]


def thresholds(references: pd.DataFrame) -> tuple[float, float]:
    """Where the grey zone begins, and the threshold above it.

    The grey zone begins at the conformal threshold of all benign references. The
    threshold is the greatest of three: the greatest benign score; where a network of an
    architecture *to come* scores with a probability of :data:`ALARMS_OF_NEW`, if benign
    scores are a normal effect of the architecture plus a normal spread within it
    (Student's t, as few architectures as there are); and where one of the same kinds
    scores with a probability of :data:`ALARMS_OF_SAME`, if the scores beyond the grey
    zone's begin fall off exponentially (peaks over a threshold).
    """
    benign = references[references.attack == BENIGN]
    groups = benign.groupby("architecture").score
    means, scores = groups.mean(), benign.score
    if len(means) < LEAST_ARCHITECTURES:
        raise UserError(
            f"the references have {len(means)} architectures; thresholds for others "
            f"take {LEAST_ARCHITECTURES} or more: name more regimes"
        )
    # The architectures' means spread in what is between them, too.
    spread = math.sqrt(means.var() * (1 + 1 / len(means)) + groups.var().mean())
    new = means.mean() + stats.t.ppf(1 - ALARMS_OF_NEW, len(means) - 1) * spread
    grey = threshold_at_fpr(scores, GREY)
    beyond = scores[scores > grey] - grey
    decay = float(beyond.mean()) if len(beyond) else 0.0
    same = grey + decay * math.log(GREY / ALARMS_OF_SAME)
    return grey, max(float(new), same, float(scores.max()))


class Shares(NamedTuple):
    """What thresholds make of some networks' scores; shares are NaN of none.

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


class Judged(NamedTuple):
    """Thresholds, and what they make of benign networks and of trojaned ones."""

    grey: float
    threshold: float
    benign: Shares
    trojaned: Shares

    @classmethod
    def by(cls, limits: tuple[float, float], some: pd.DataFrame) -> "Judged":
        """What thresholds make of some references."""
        grey, threshold = limits
        shares = [
            Shares(
                len(each),
                (each.score > threshold).mean(),
                ((each.score > grey) & (each.score <= threshold)).mean(),
                each.is_right.mean(),
            )
            for each in (some[some.attack == BENIGN], some[some.attack != BENIGN])
        ]
        return cls(grey, threshold, *shares)


def left_out(references: pd.DataFrame) -> dict[str, Judged]:
    """By architecture: thresholds set on all others, which judge its own networks."""
    found = {}
    for name in references.architecture.unique():
        own = references.architecture == name
        found[name] = Judged.by(thresholds(references[~own]), references[own])
    return found


def table(title: str, references: pd.DataFrame) -> Table:
    """A row an architecture, left out of its own thresholds; then all, by all."""
    rows = left_out(references)
    rows["all, built in"] = Judged.by(thresholds(references), references)
    score = auc((references.attack != BENIGN).astype(int), references.score)
    return Table(
        title=f"{title}: AUC {score:.3f}; architectures by the others' thresholds",
        columns=(
            *("architecture", "grey zone", "benign", "flagged", "inconclusive"),
            *("trojaned", "found", "inconclusive", "label right"),
        ),
        rows=tuple((name, *_cells(judged)) for name, judged in rows.items()),
    )


def _cells(judged: Judged) -> tuple[str, ...]:
    benign, trojaned = judged.benign, judged.trojaned
    shares = benign[1:3], trojaned[1:]
    percent = [["" if math.isnan(s) else f"{s:.0%}" for s in some] for some in shares]
    return (
        f"{judged.grey:.2f} to {judged.threshold:.2f}",
        *(str(benign.models), *percent[0], str(trojaned.models), *percent[1]),
    )


def calibration(settings: dict[str, Any], references: pd.DataFrame) -> Calibration:
    """What is built in, of references scored with some settings."""
    grey, threshold = thresholds(references)
    benign = references[references.attack == BENIGN]
    kinds = benign.architecture.nunique()
    return Calibration(
        benign.score.to_numpy(),
        threshold=round(threshold, 3),
        grey=round(grey, 3),
        source=f"built-in references of {kinds} architectures, 10 classes",
        settings=settings,
    )


def write(
    folder: Path, found: pd.DataFrame, asked: Iterable[Detector]
) -> dict[str, Table]:
    """Calibrations as JSON, all scores as CSV, and the tables, which are returned."""
    tables = {}
    folder.mkdir(parents=True, exist_ok=True)
    for detector in asked:
        assert isinstance(detector, Perturbing)
        references = found[found.detector == detector.slug]
        made = calibration(settings_of(detector.config), references)
        made.save(folder / f"{detector.name}.json")
        references[list(COLUMNS)].to_csv(folder / f"{detector.name}.csv", index=False)
        tables[detector.name] = table(detector.title, references)
    text = "\n\n".join(table.to_markdown() for table in tables.values())
    (folder / "thresholds.md").write_text(text + "\n", encoding="utf-8")
    return tables
