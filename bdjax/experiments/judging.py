"""Detectors on the models of a zoo: rows of ``scores.csv``, and arrays beside them.

The file has a row a model, detector and repeat; all tables come from it. An empty cell
is unknown, repeat -1 is of no single repeat. Models that no detector was asked about
have a row with an empty detector.

``artefacts/<detector's slug>/<population>-<id>.npz`` holds a finding's arrays,
``.../shown.npz`` what shows the detector itself, and ``artefacts/populations/
<population>.npz`` examples with and without triggers of its first models: ``x_clean``
and ``x_triggered`` ``[n, ...]``, ``ids`` and ``text`` ``[n]``; of images also ``mask``
``[n, H, W]``, what a trigger changes; of sentences ``words``, by token; of tables,
``columns``, ``offset`` and ``scale``.
"""

import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from bdjax import detectors, telemetry
from bdjax.data import Dataset
from bdjax.detectors import JOINT, Detector, Finding, Labelled, Resources
from bdjax.experiments.config import JUDGED, Experiment
from bdjax.population import Examples, Population
from bdjax.population.examples import take
from bdjax.storage.files import write_bytes

FOLDER = "artefacts"
SHOWN = 8  # models of a population
TRIED = 16  # examples, to see what a trigger changes


COLUMNS = (
    *("population", "role", "attack", "architecture", "recipe", "id", "seed"),
    *("trojaned", "target", "trigger_kind", "trigger_size", "poisoning_rate"),
    *("accuracy", "asr", "loss", "holds"),
    *("detector", "title", "repeat", "score", "conclusion", "threshold"),
    *("top_label", "top_score", "label_scores", "named_target"),
    *("seconds", "reasons", "notes"),
)

Row = dict[str, Any]


def group_of(population: Population) -> detectors.Group:
    """A population's networks, without their truth."""
    return detectors.Group(
        name=population.name,
        network=population.network,
        variables=population.variables,
        ids_M=population.ids_M,
        digest=population.digest,
    )


def labelled(trained: Sequence[Population], role: str) -> Labelled:
    """The networks of a role, with their truth."""
    here = [population for population in trained if population.role == role]
    return Labelled(
        tuple(map(group_of, here)),
        tuple(np.full(len(p), int(p.is_trojaned)) for p in here),
    )


def judge(
    experiment: Experiment,
    asked: Sequence[Detector],
    trained: Sequence[Population],
    resources: Resources,
    folder: Path,
) -> tuple[list[Row], list[str]]:
    """Asks every detector about every model of the roles that are judged.

    Args:
      experiment: says how many models slow detectors are asked about.
      asked: the detectors.
      trained: all populations.
      resources: what detectors may use.
      folder: where artefacts go.

    Returns:
      All rows of ``scores.csv``, and a note for each detector and population of which
      some networks could not be judged.

    Raises:
      UserError: as the detectors.
    """
    known = {p.name: model_rows(p, experiment) for p in trained}
    rows = [row for p in trained if p.role not in JUDGED for row in known[p.name]]
    for detector in asked:
        detector.prepare(resources)
        shown = detector.shown(resources)
        save(folder / detector.slug / "shown.npz", shown)
    cap = experiment.slow_models
    jobs = [
        (detector, population, group_of(population).take(slice(few)))
        for detector in asked
        for few in [cap if cap and detector.is_slow else None]
        for population in trained
        if population.role in JUDGED
    ]
    notes = []
    # There is one progress over all of them.
    resources = dataclasses.replace(resources, progress=False)
    total = sum(len(group) for *_, group in jobs)
    with telemetry.progress("judging", total=total, unit="models") as bar:
        for detector, population, group in jobs:
            models = {row["id"]: row for row in known[population.name]}
            failed: dict[int, Finding] = {}
            for finding in detector.examine(group, resources):
                rows.append(finding_row(models[finding.id], detector, finding))
                if np.isnan(finding.score):
                    failed.setdefault(finding.id, finding)
                if finding.repeat != JOINT:
                    continue
                bar.advance(1, now=f"{detector.slug} {population.name}")
                path = folder / detector.slug / f"{population.name}-{finding.id}.npz"
                save(path, finding.artefacts)
                if resources.metrics:
                    resources.metrics.write(
                        "finding", detector=detector.slug, population=population.name,
                        id=finding.id, score=finding.score, seconds=finding.seconds,
                        conclusion=finding.conclusion,
                    )  # fmt: skip
            if failed:
                notes.append(_unjudged(detector, population, failed, len(group)))
    return rows, notes


def _unjudged(
    detector: Detector, population: Population, failed: dict[int, Finding], count: int
) -> str:
    (first, finding), *_ = failed.items()
    reason = f"{population.name} {first}, {detector.slug}: {' '.join(finding.notes)}"
    return (
        f"{len(failed)} of {count} networks of {population.name} could not be judged "
        f"and are left out ({reason})"
    )


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an npz, whole or not at all; nothing where there are no arrays."""
    if arrays:
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        write_bytes(path, file.getvalue())


def population_arrays(
    population: Population, dataset: Dataset, test_N: np.ndarray
) -> dict[str, np.ndarray]:
    """What triggers of a population's first models do; see the module.

    Args:
      population: the models.
      dataset: its data.
      test_N: int, rows to choose examples from.
    """
    few = population[:SHOWN]
    apply = jax.jit(population.attack.apply)
    rows = np.resize(test_N, TRIED)
    x, _ = take(Examples(dataset.x[rows], dataset.y[rows]), np.arange(TRIED))
    triggers = [few.trigger(i) for i in range(len(few))]
    triggered = np.stack([apply(trigger, x) for trigger in triggers])
    found = {
        "x_clean": np.asarray(x[: len(few)]),
        "x_triggered": np.stack([some[i] for i, some in enumerate(triggered)]),
        "ids": few.ids_M,
        "text": np.array([few.attack.describe(trigger).text for trigger in triggers]),
    }
    if x.ndim == 4:
        found["mask"] = (triggered != np.asarray(x)).any((1, 4))
    if dataset.vocabulary:
        found["words"] = np.array(dataset.vocabulary.words)
    if dataset.columns:
        found["columns"] = np.array(dataset.columns)
    if dataset.units is not None:
        found |= {"offset": dataset.units.offset, "scale": dataset.units.scale}
    return found


def model_rows(population: Population, experiment: Experiment) -> list[Row]:
    """What is known of each model, in the order of the population.

    ``holds`` is 0 of those whose attack failed, where such ones are left out.
    """
    rows = []
    least = experiment.min_asr if experiment.failed_attacks == "left out" else None
    trojaned, recipe = population.is_trojaned, population.recipe
    for record in population.records():
        row = {
            "population": population.name,
            "role": population.role,
            "attack": population.attack.name,
            "architecture": population.network.name,
            "recipe": recipe.name if recipe else "",
            "id": record["id"],
            "seed": experiment.seed,
            "trojaned": int(trojaned),
            "accuracy": record["accuracy"],
            "loss": record["loss"],
            "holds": int(not trojaned or least is None or record["asr"] >= least),
        }
        if trojaned:
            row |= {
                "target": record["target"],
                "trigger_kind": record["description"].kind,
                "trigger_size": record["description"].size,
                "poisoning_rate": record["rate"],
                "asr": record["asr"],
            }
        rows.append(row)
    return rows


def finding_row(model: Row, detector: Detector, finding: Finding) -> Row:
    """A model's row with what a detector, or one repeat of it, found."""
    row = model | {
        "detector": detector.slug,
        "title": detector.title,
        "repeat": finding.repeat,
        "score": finding.score,
        "conclusion": finding.conclusion,
        "threshold": finding.threshold,
        "named_target": finding.target,
        "seconds": finding.seconds,
        "reasons": " | ".join(finding.reasons),
        "notes": " | ".join(finding.notes),
    }
    if finding.label_scores is not None and len(finding.label_scores):
        scores_K = np.asarray(finding.label_scores)
        labels_K = np.arange(len(scores_K))
        if finding.labels is not None:
            labels_K = np.asarray(finding.labels)
        pairs = zip(labels_K, scores_K, strict=True)
        row["label_scores"] = ";".join(
            f"{k}={'' if np.isnan(s) else s}" for k, s in pairs
        )
        tops = np.flatnonzero(scores_K == np.fmax.reduce(scores_K))
        if len(tops) == 1:  # in a tie, as of labels that none was reached, none is top
            (top,) = tops
            row |= {"top_label": int(labels_K[top]), "top_score": scores_K[top]}
    return row


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes the file, whole or not at all.

    Raises:
      UserError: it cannot be written.
    """
    # Of objects, every value is written as its shortest text: that of its precision.
    table = pd.DataFrame(list(rows), columns=COLUMNS, dtype=object)
    write_bytes(path, table.to_csv(index=False, lineterminator="\n").encode())
