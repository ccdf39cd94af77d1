"""MNTD end to end: data, populations, meta-classifiers, verdicts on unseen targets."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from bdjax import mntd, prng, storage, telemetry, tree
from bdjax.data import Dataset
from bdjax.experiments import populations, rundir
from bdjax.experiments.config import MNTDConfig
from bdjax.population import Population
from bdjax.tasks import Task, get_task
from bdjax.types import UserError

# What a variant changes in the configured fit. One-class is the paper's, on logits: it
# separates better on them, having no trojaned shadows to learn from what matters.
VARIANTS: dict[str, dict[str, Any]] = {
    "jumbo": {"mode": "binary", "query_tuning": True},
    "no_tuning": {"mode": "binary", "query_tuning": False},
    "one_class": {
        "mode": "one_class",
        "query_tuning": True,
        "batch_size": 1,
        "answers": "logits",
    },
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Everything that an experiment found out, before it is put in words.

    Attributes:
      config: what was asked.
      populations: by name, diverged models left out.
      fits: by variant.
      scores: by variant and target kind, float32 ``[R, targets]``.
      detector: the one that was saved.
      dataset: the data.
      test_N: int, its rows that accuracy and ASR are measured on.
      notes: what a reader must know, one sentence each.
    """

    config: MNTDConfig
    populations: dict[str, Population]
    fits: dict[str, mntd.Fit]
    scores: dict[str, dict[str, np.ndarray]]
    detector: mntd.MetaDetector
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
    task = get_task(config.task)
    for variant in config.variants:
        if variant not in VARIANTS:
            raise UserError(f"unknown variant {variant!r}; there are {list(VARIANTS)}")
    if "jumbo" not in config.variants:
        raise UserError("variants lack 'jumbo', which makes the detector; add it")
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
        with clock.phase("meta"):
            fits, scores = _fit(config, task, trained, workdir, metrics)
            labels_V = _labelled(config, trained, "validation")[1]
            detector = mntd.from_fit(
                fits["jumbo"],
                labels_V,
                task=task.name,
                num_classes=task.num_logits,
                spec=_query_spec(task, config.fit),
                config=fit_config(config, "jumbo"),
            )
            detector.save(workdir / "detector")
    return Outcome(config, trained, fits, scores, detector, dataset, splits.test, notes)


def fit_config(config: MNTDConfig, variant: str) -> mntd.FitConfig:
    """The configured fit with what the variant changes."""
    return dataclasses.replace(config.fit, **VARIANTS[variant])


def _labelled(
    config: MNTDConfig, trained: dict[str, Population], role: str
) -> tuple[Any, np.ndarray]:
    """Stacked variables of a role's benign and trojaned models, and their labels."""
    benign = trained[f"{role}-benign"]
    trojaned = trained[f"{role}-{config.population.shadow_attack}"]
    variables = tree.concatenate([benign.variables, trojaned.variables])
    return variables, np.repeat([0, 1], [len(benign), len(trojaned)])


def _query_spec(task: Task, config: mntd.FitConfig) -> mntd.QuerySpec:
    mean, std = task.query_init["clipped" if config.clip else "official"]
    return mntd.QuerySpec(task.query_shape, task.value_range, mean, std)


def _fit(
    config: MNTDConfig,
    task: Task,
    trained: dict[str, Population],
    workdir: Path,
    metrics: telemetry.MetricsWriter,
) -> tuple[dict[str, mntd.Fit], dict[str, dict[str, np.ndarray]]]:
    model = task.network(config.architecture, config.formulation)
    shadows, labels_M = jax.device_put(_labelled(config, trained, "shadow"))
    validation, labels_V = _labelled(config, trained, "validation")
    targets = {
        p.attack: jax.device_put(p.variables)
        for name, p in trained.items()
        if name.startswith("target-")
    }
    fits, scores = {}, {}
    total = len(config.variants) * config.fit.epochs
    with telemetry.progress("meta-training", total=total, unit="epochs") as bar:
        for variant in config.variants:
            options = fit_config(config, variant)

            def done(epoch: int, auc_R: np.ndarray, name: str = variant) -> None:
                bar.advance(1, now=name, validation_auc=float(auc_R.mean()))
                metrics.write("epoch", variant=name, epoch=epoch, validation_auc=auc_R)

            path = workdir / "fits" / variant
            fit = rundir.load_fit(path)
            if fit is None:
                fit = mntd.fit(
                    model.apply, shadows, np.asarray(labels_M), validation, labels_V,
                    spec=_query_spec(task, options),
                    config=options,
                    # Equal starts: tuning is then the only difference it makes.
                    key=prng.stream(prng.root(config.seed), "meta"),
                    callback=done,
                )  # fmt: skip
                rundir.save_fit(path, fit)
            else:
                bar.advance(config.fit.epochs, now=f"{variant} (on disk)")
            fits[variant] = fit
            scores[variant] = {
                kind: mntd.score_models(model.apply, options, fit.meta, variables)
                for kind, variables in targets.items()
            }
    return fits, scores
