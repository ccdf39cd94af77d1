"""Experiments end to end: a zoo is trained, detectors are asked, scores are kept."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from bdjax import detectors, storage, telemetry
from bdjax.data import Dataset, Splits
from bdjax.detectors import JOINT, Detector, Finding, Labelled, Resources
from bdjax.experiments import artefacts, directory, scores, training, zoo
from bdjax.experiments.config import JUDGED, Experiment
from bdjax.population import Population
from bdjax.population.examples import Examples, embed, take
from bdjax.tasks import get_task
from bdjax.types import UserError

DETECTORS = "detectors"


def run(
    experiment: Experiment,
    workdir: Path,
    *,
    train: bool = True,
    clock: telemetry.Clock | None = None,
    console: Console | None = None,
) -> Path | None:
    """Runs the experiment, or what is left of it, in ``workdir``.

    Under ``jax.distributed`` all processes train; the first one goes on to the
    detectors, and the others get None.

    Args:
      experiment: what is wanted.
      workdir: the run's directory; made where missing.
      train: whether to train what is missing; else that is an error.
      clock: gets the seconds of each phase.
      console: gets what the user should know.

    Returns:
      ``workdir / "scores.csv"``, which :func:`bdjax.report.write` reads.

    Raises:
      UserError: the configuration or data are at fault, or the directory belongs to
        another experiment.
    """
    clock, console = clock or telemetry.Clock(), console or Console()
    experiment = zoo.resolve(experiment)
    wanted, asked = zoo.specs(experiment), detectors_of(experiment)
    experiment.execution.local_devices()  # or UserError
    experiment.solving.local_devices()
    with clock.phase("data"):
        dataset, splits = zoo.load_data(experiment)
        examples = zoo.examples_of(dataset)
        resources = _resources(experiment, dataset, examples, splits)
    for detector in asked:
        detector.check(resources)
    if not train:
        zoo.require(workdir, wanted)
    if storage.is_first():
        # Only now, so that a mistake in the data does not bind the directory to it.
        directory.claim(workdir, experiment)
        resources = dataclasses.replace(resources, directory=workdir / DETECTORS)
        for detector in asked:
            detector.check(resources)
        directory.write(workdir, experiment)
    with training.open_metrics(workdir) as metrics:
        if metrics:
            metrics.write("start", experiment=experiment.to_dict())
        with clock.phase("population"):
            training.train(
                experiment, wanted, examples, splits, workdir, metrics, console=console
            )
            if not storage.is_first():
                return None
            trained, diverged = zoo.drop_diverged(zoo.load(workdir, wanted))
        with clock.phase("detectors"):
            resources = dataclasses.replace(
                resources,
                shadows=_labelled(trained, "shadow"),
                validation=_labelled(trained, "validation"),
                metrics=metrics,
            )
            judge = _Judge(experiment, trained, resources, workdir)
            rows = judge.ask(asked)
    notes = [*dataset.notes, *diverged, *judge.notes]
    for note in notes:
        training.note(console, note)
    shown = workdir / artefacts.FOLDER / "populations"
    for population in trained:
        arrays = artefacts.population_arrays(population, dataset, splits.test)
        artefacts.save(shown / f"{population.name}.npz", arrays)
    scores.write(workdir / directory.SCORES, rows)
    directory.write(
        workdir,
        experiment,
        **_facts(experiment, dataset, splits),
        detectors=[_said(detector) for detector in asked],
        notes=notes,
        wall_seconds=clock.seconds,
        peak_memory_bytes=telemetry.peak_memory_bytes(),
        device=directory.device(),
    )
    return workdir / directory.SCORES


def detectors_of(experiment: Experiment) -> list[Detector]:
    """The detectors of an experiment.

    Raises:
      UserError: there is no such detector or option, two are the same, or one needs
        shadows and the zoo has none.
    """
    defaults = detectors.Defaults(
        fit=experiment.fit, solver=experiment.solver, per_class=experiment.per_class
    )
    found: dict[str, Detector] = {}
    for text in experiment.detectors:
        detector = detectors.get_detector(text, defaults)
        if detector.slug in found:
            raise UserError(f"detectors name {text!r} twice; leave one out")
        found[detector.slug] = detector
        for role in ("shadow", "validation") if detector.needs.shadows else ():
            if not experiment.zoo.of(role):
                raise UserError(
                    f"{text} learns from shadow models, and the zoo has no group of "
                    f"role {role!r}; add one, or leave {text} out"
                )
    return list(found.values())


def _resources(
    experiment: Experiment,
    dataset: Dataset,
    examples: Examples,
    splits: Splits,
) -> Resources:
    """What detectors may use, but for shadows, which have yet to be trained."""

    def read(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = take(examples, rows)
        return np.asarray(embed(examples, x)), np.asarray(y)

    x, y = read(splits.defender)
    test_x, test_y = read(splits.test)
    return Resources(
        task=get_task(experiment.zoo.task),
        seed=experiment.seed,
        x=x,
        y=y,
        test_x=test_x,
        test_y=test_y,
        vocabulary=dataset.vocabulary,
        units=dataset.units,
        columns=dataset.columns,
        execution=experiment.solving,
    )


def _group(population: Population) -> detectors.Group:
    return detectors.Group(
        name=population.name,
        network=population.network,
        variables=population.variables,
        ids_M=population.ids_M,
        digest=population.digest,
    )


def _labelled(trained: Sequence[Population], role: str) -> Labelled:
    here = [population for population in trained if population.role == role]
    return Labelled(
        tuple(map(_group, here)),
        tuple(np.full(len(p), int(not p.attack.is_benign)) for p in here),
    )


class _Judge:
    """Asks detectors about populations; ``notes`` says what could not be judged."""

    def __init__(
        self,
        experiment: Experiment,
        trained: Sequence[Population],
        resources: Resources,
        workdir: Path,
    ):
        self._experiment, self._trained = experiment, trained
        self._resources, self._workdir = resources, workdir
        self.notes: list[str] = []

    def ask(self, asked: Sequence[Detector]) -> list[scores.Row]:
        """All rows of ``scores.csv``; artefacts are written on the way."""
        judged = [p for p in self._trained if p.role in JUDGED]
        known = {
            population.name: scores.model_rows(population, self._experiment)
            for population in self._trained
        }
        rows = [
            row for p in self._trained if p.role not in JUDGED for row in known[p.name]
        ]
        for detector in asked:
            detector.prepare(self._resources)
            artefacts.save(
                self._place(detector, "shown"), detector.shown(self._resources)
            )
        # There is one progress over all of them.
        self._resources = dataclasses.replace(self._resources, progress=False)
        total = sum(self._count(d, p) for d in asked for p in judged)
        with telemetry.progress("judging", total=total, unit="models") as bar:
            for detector in asked:
                for population in judged:
                    by_id = {row["id"]: row for row in known[population.name]}
                    for finding in self._findings(detector, population, bar):
                        rows.append(
                            scores.finding_row(by_id[finding.id], detector, finding)
                        )
        return rows

    def _findings(
        self, detector: Detector, population: Population, bar: telemetry.Progress
    ) -> Iterator[Finding]:
        count = self._count(detector, population)
        group = _group(population).take(slice(count))
        failed: dict[int, str] = {}
        seen = None
        for finding in detector.examine(group, self._resources):
            if finding.id != seen:
                bar.advance(1, now=f"{detector.slug} {population.name}")
                seen = finding.id
            if np.isnan(finding.score):
                failed.setdefault(finding.id, " ".join(finding.notes))
            if finding.repeat == JOINT:
                name = f"{population.name}-{finding.id}"
                artefacts.save(self._place(detector, name), finding.artefacts)
                self._tell(detector, population, finding)
            yield finding
        if not failed:
            return
        (first, why), *_ = failed.items()
        reason = f"{population.name} {first}, {detector.slug}: {why}"
        if population.attack.is_benign and len(failed) == count:
            raise UserError(f"no network of {population.name} can be judged: {reason}")
        self.notes.append(
            f"{len(failed)} of {count} networks of {population.name} could not be "
            f"judged and are left out ({reason})"
        )

    def _tell(
        self, detector: Detector, population: Population, finding: Finding
    ) -> None:
        if metrics := self._resources.metrics:
            metrics.write(
                "finding", detector=detector.slug, population=population.name,
                id=finding.id, score=finding.score, conclusion=finding.conclusion,
                seconds=finding.seconds,
            )  # fmt: skip

    def _count(self, detector: Detector, population: Population) -> int:
        """How many of a population's models a detector is asked about."""
        cap = self._experiment.slow_models if detector.is_slow else 0
        return min(cap or len(population), len(population))

    def _place(self, detector: Detector, name: str) -> Path:
        return self._workdir / artefacts.FOLDER / detector.slug / f"{name}.npz"


def _facts(
    experiment: Experiment, dataset: Dataset, splits: Splits
) -> dict[str, object]:
    """What a report says of task and data."""
    task, y = get_task(experiment.zoo.task), dataset.y[splits.test]
    return {
        "task": {
            "name": task.name,
            "modality": task.family,
            "num_classes": task.num_classes,
            "value_range": task.value_range,
        },
        "test_examples": len(y),
        "chance": float(np.bincount(y).max() / len(y)),
    }


def _said(detector: Detector) -> dict[str, object]:
    """What a report says of a detector."""
    return {
        "name": detector.name,
        "slug": detector.slug,
        "title": detector.title,
        "options": dict(detector.options),
        "access": detector.access.value,
        "needs": detector.needs.text,
        "is_slow": detector.is_slow,
    }
