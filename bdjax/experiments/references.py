"""Thresholds of the white box, from reference networks of many architectures.

What a threshold promises is tried where users are: on an architecture that it has not
seen. Each is left out in turn, the thresholds are set on the others, and its own
networks are judged by them.

References are a table with a row a network and the columns :data:`COLUMNS`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
    return write(
        out or workdir / "calibrations",
        pd.concat(found, ignore_index=True),
        asked,
        _command(() if list(names) == list(regimes) else names, paths),
    )


def _command(names: Sequence[str], paths: Mapping[str, str]) -> str:
    """What a user types for these regimes, ``names`` of all being none."""
    files = (f"--{task}={task}.npz" for task, path in paths.items() if path)
    some = [f"--regimes={','.join(names)}"] if names else []
    return " ".join(["bdjax references", *some, *files])


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


def judged(some: pd.DataFrame, grey: float, threshold: float) -> dict[str, Any]:
    """What thresholds make of references; shares are NaN of none.

    ``benign`` and ``trojaned`` networks, shares ``flagged`` and ``unsure`` of those,
    ``found``, ``missed`` into the grey zone and ``right`` in the target of these.
    """
    benign = some[some.attack == BENIGN]
    trojaned = some.drop(benign.index)
    return {
        "grey": grey,
        "threshold": threshold,
        "benign": len(benign),
        "flagged": (benign.score > threshold).mean(),
        "unsure": benign.score.between(grey, threshold, inclusive="right").mean(),
        "trojaned": len(trojaned),
        "found": (trojaned.score > threshold).mean(),
        "missed": trojaned.score.between(grey, threshold, inclusive="right").mean(),
        "right": trojaned.is_right.mean(),
    }


def left_out(references: pd.DataFrame) -> pd.DataFrame:
    """By architecture: thresholds set on all others, which judge its own networks."""
    found = {}
    for name, own in references.groupby("architecture", sort=False):
        limits = thresholds(references.drop(own.index))
        found[str(name)] = judged(own, *limits)
    return pd.DataFrame.from_dict(found, orient="index")


def table(title: str, references: pd.DataFrame) -> Table:
    """A row an architecture, left out of its own thresholds; then all, by all."""
    rows = left_out(references)
    rows.loc["all, built in"] = judged(references, *thresholds(references))
    score = auc((references.attack != BENIGN).astype(int), references.score)

    def percent(*shares: float) -> list[str]:
        return ["" if math.isnan(share) else f"{share:.0%}" for share in shares]

    return Table(
        title=f"{title}: AUC {score:.3f}; architectures by the others' thresholds",
        columns=(
            *("architecture", "grey zone", "benign", "flagged", "inconclusive"),
            *("trojaned", "found", "inconclusive", "label right"),
        ),
        rows=tuple(
            (
                *(row.Index, f"{row.grey:.2f} to {row.threshold:.2f}"),
                *(f"{row.benign:.0f}", *percent(row.flagged, row.unsure)),
                *(f"{row.trojaned:.0f}", *percent(row.found, row.missed, row.right)),
            )
            for row in rows.itertuples()
        ),
    )


def calibration(
    references: pd.DataFrame, settings: dict[str, Any], command: str = ""
) -> Calibration:
    """What references of one detector come to.

    Args:
      references: columns as :data:`COLUMNS`.
      settings: that the scores depend on.
      command: that made it all.
    """
    grey, threshold = (round(limit, 3) for limit in thresholds(references))
    benign = references[references.attack == BENIGN]
    trojaned = references.drop(benign.index)
    kinds = benign.architecture.nunique()
    regimes = benign.groupby("regime", sort=False).size()
    return Calibration(
        benign.score.to_numpy(),
        threshold=threshold,
        grey=grey,
        source=f"built-in references of {kinds} architectures, 10 classes",
        settings=settings,
        regimes={str(name): int(n) for name, n in regimes.items()},
        found=(int((trojaned.score > threshold).sum()), len(trojaned)),
        command=command,
    )


def write(
    folder: Path, found: pd.DataFrame, asked: Iterable[Detector], command: str = ""
) -> dict[str, Table]:
    """Calibrations as JSON, all scores as CSV, and the tables, which are returned."""
    tables = {}
    folder.mkdir(parents=True, exist_ok=True)
    for detector in asked:
        assert isinstance(detector, Perturbing)
        references = found[found.detector == detector.slug]
        made = calibration(references, settings_of(detector.config), command)
        made.save(folder / f"{detector.name}.json")
        references[list(COLUMNS)].to_csv(folder / f"{detector.name}.csv", index=False)
        tables[detector.name] = table(detector.title, references)
    text = "\n\n".join(table.to_markdown() for table in tables.values())
    (folder / "thresholds.md").write_text(text + "\n", encoding="utf-8")
    return tables
