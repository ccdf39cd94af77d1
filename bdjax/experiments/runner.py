"""Experiments end to end: a zoo is trained, detectors are asked, scores are kept."""

import dataclasses
from pathlib import Path

import numpy as np
from rich.console import Console

from bdjax import detectors, storage, telemetry
from bdjax.data import Dataset, Splits
from bdjax.detectors import Detector, Resources
from bdjax.experiments import directory, judging, training, zoo
from bdjax.experiments.config import Experiment
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
        directory.read(workdir)  # or UserError
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
            if train:
                training.train(
                    experiment, wanted, examples, splits, workdir, metrics,
                    console=console,
                )  # fmt: skip
            if not storage.is_first():
                return None
            trained, diverged = zoo.drop_diverged(zoo.load(experiment, workdir, wanted))
        with clock.phase("detectors"):
            resources = dataclasses.replace(
                resources,
                shadows=judging.labelled(trained, "shadow"),
                validation=judging.labelled(trained, "validation"),
                metrics=metrics,
            )
            rows, unjudged = judging.judge(
                experiment, asked, trained, resources, workdir / judging.FOLDER
            )
    notes = [*dataset.notes, *diverged, *unjudged]
    for note in notes:
        training.note(console, note)
    shown = workdir / judging.FOLDER / "populations"
    for population in trained:
        arrays = judging.population_arrays(population, dataset, splits.test)
        judging.save(shown / f"{population.name}.npz", arrays)
    judging.write_rows(workdir / directory.SCORES, rows)
    directory.write(
        workdir,
        experiment,
        notes=notes,
        test_examples=len(splits.test),
        chance=float(np.bincount(dataset.y[splits.test]).max() / len(splits.test)),
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
    experiment: Experiment, dataset: Dataset, examples: Examples, splits: Splits
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
