"""Detectors on the models of a zoo: all findings, as rows of ``scores.csv``."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bdjax import detectors, telemetry
from bdjax.detectors import JOINT, Detector, Finding, Labelled, Resources
from bdjax.experiments import artefacts, scores
from bdjax.experiments.config import JUDGED, Experiment
from bdjax.population import Population


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
) -> tuple[list[scores.Row], list[str]]:
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
    known = {p.name: scores.model_rows(p, experiment) for p in trained}
    rows = [row for p in trained if p.role not in JUDGED for row in known[p.name]]
    for detector in asked:
        detector.prepare(resources)
        shown = detector.shown(resources)
        artefacts.save(folder / detector.slug / "shown.npz", shown)
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
                rows.append(scores.finding_row(models[finding.id], detector, finding))
                if np.isnan(finding.score):
                    failed.setdefault(finding.id, finding)
                if finding.repeat != JOINT:
                    continue
                bar.advance(1, now=f"{detector.slug} {population.name}")
                path = folder / detector.slug / f"{population.name}-{finding.id}.npz"
                artefacts.save(path, finding.artefacts)
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
