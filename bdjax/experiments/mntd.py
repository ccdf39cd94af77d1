"""MNTD end to end: data, populations, meta-classifiers, verdicts on unseen targets."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from bdjax import mntd, storage, telemetry
from bdjax.data import Dataset
from bdjax.experiments import populations, rundir
from bdjax.experiments.config import MNTDConfig
from bdjax.experiments.fits import (
    VARIANTS,
    Job,
    Trained,
    fit_all,
    fit_config,
    query_spec,
)
from bdjax.mntd.fit import answers_of
from bdjax.mntd.groups import ApplyFn
from bdjax.population import Population
from bdjax.tasks import get_task
from bdjax.types import UserError


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Everything that an experiment found out, before it is put in words.

    Attributes:
      config: what was asked.
      populations: by name, diverged models left out.
      fits: by variant.
      scores: by variant and target kind, float32 ``[R, targets]``.
      detector: the one that was saved.
      verdicts: its verdicts on the targets, by kind; those that it cannot judge, such
        as of constant answers, are left out.
      dataset: the data.
      test_N: int, its rows that accuracy and ASR are measured on.
      notes: what a reader must know, one sentence each.
    """

    config: MNTDConfig
    populations: dict[str, Population]
    fits: dict[str, mntd.Fit]
    scores: dict[str, dict[str, np.ndarray]]
    detector: mntd.MetaDetector
    verdicts: dict[str, list[mntd.Verdict]]
    dataset: Dataset
    test_N: np.ndarray
    notes: list[str]


def run(
    config: MNTDConfig,
    workdir: Path,
    *,
    clock: telemetry.Clock,
    console: Console,
) -> Outcome | None:
    """Runs the experiment, or what is left of it, in ``workdir``.

    Under ``jax.distributed`` all processes train; the first one goes on to fit, and the
    others get None.

    Raises:
      UserError: the configuration or data are at fault, or the directory belongs to
        another experiment.
    """
    if "jumbo" not in config.variants:
        raise UserError("variants lack 'jumbo', which makes the detector; add it")
    trained = train(config, config.variants, workdir, clock=clock, console=console)
    if trained is None:
        return None
    rows_M = np.arange(len(trained.labels(config)))
    jobs = [Job(v, v, workdir / "fits" / v, rows_M) for v in config.variants]
    with populations.open_metrics(workdir) as metrics, clock.phase("meta"):
        found = dict(
            zip(config.variants, fit_all(config, jobs, trained, metrics), strict=True)
        )
        task = get_task(config.task)
        apply = task.network(config.architecture, config.formulation).apply
        validation, validation_labels_V = trained.shadows(config, "validation")
        detector = mntd.from_fit(
            found["jumbo"].fit,
            [mntd.Networks(apply, validation)],
            validation_labels_V,
            task=config.task,
            num_classes=task.num_logits,
            spec=query_spec(config),
            config=fit_config(config, "jumbo"),
            units=trained.dataset.units,
            vocabulary=trained.dataset.vocabulary,
            columns=trained.dataset.columns,
        )
        detector.save(workdir / "detector")
        verdicts = {
            name.removeprefix("target-"): judge(detector, apply, population)
            for name, population in trained.populations.items()
            if name.startswith("target-")
        }
    return Outcome(
        config,
        fits={v: each.fit for v, each in found.items()},
        scores={v: each.scores for v, each in found.items()},
        detector=detector,
        verdicts=verdicts,
        **vars(trained),
    )


def judge(
    detector: mntd.MetaDetector, apply: ApplyFn, population: Population
) -> list[mntd.Verdict]:
    """Verdicts on a population's models, in order, but those that cannot be judged."""
    found = []
    for answers_QxC in _answers(apply, detector.queries, population.variables):
        with contextlib.suppress(UserError):
            found.append(detector.judge(np.asarray(answers_QxC)))
    return found


_answers = jax.jit(answers_of, static_argnums=0)  # one compilation for all kinds


def check_variants(variants: Sequence[str]) -> None:
    """Raises UserError unless all are keys of :data:`VARIANTS`."""
    for variant in variants:
        if variant not in VARIANTS:
            raise UserError(f"unknown variant {variant!r}; there are {list(VARIANTS)}")


def train(
    config: MNTDConfig,
    variants: Sequence[str],
    workdir: Path,
    *,
    clock: telemetry.Clock,
    console: Console,
) -> Trained | None:
    """Trains the populations, or what is left of them, for fits of some variants.

    Under ``jax.distributed`` all but the first process get None.

    Raises:
      UserError: as :func:`run`.
    """
    check_variants(variants)
    task = get_task(config.task)
    if config.fit.query_space == "tokens" and task.input_shape == task.shape:
        raise UserError(
            f"fit.query_space is 'tokens', but task {task.name!r} has no vocabulary; "
            "leave it at 'input'"
        )
    specs = populations.specs(config)
    config.execution.local_devices()  # or UserError
    with clock.phase("data"):
        dataset, splits = populations.load_data(config)
    # Only now, so that a mistake in the data does not bind the directory to it.
    if storage.is_first():
        rundir.claim(workdir, config.semantic())
    with populations.open_metrics(workdir) as metrics:
        metrics.write("start", config=config.semantic())
        with clock.phase("population"):
            populations.train(
                config, specs, dataset, splits, workdir, metrics, console=console
            )
            if not storage.is_first():
                return None
            trained = populations.load(workdir, specs)
    trained, notes = populations.drop_diverged(trained)
    notes = [*dataset.notes, *notes]
    for note in notes:
        console.print(f"[yellow]note:[/] {note}")
    return Trained(trained, dataset, splits.test, notes)
