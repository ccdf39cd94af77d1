"""MNTD end to end: data, populations, meta-classifiers, verdicts on unseen targets."""

import contextlib
import dataclasses
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from bdjax import data, mntd, prng, telemetry, tree
from bdjax.attacks import get_attack
from bdjax.data import Dataset, Splits
from bdjax.experiments import rundir
from bdjax.experiments.config import MNTDConfig
from bdjax.models import get_model
from bdjax.population import (
    Examples,
    Population,
    PopulationSpec,
    Quality,
    train_population,
)
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
) -> Outcome:
    """Runs the experiment, or what is left of it, in ``workdir``.

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
    specs = list(_specs(config))
    config.execution.local_devices()  # or UserError
    with clock.phase("data"):
        dataset = _load(config, task)
        splits = data.make_splits(
            dataset,
            defender=config.data.defender,
            attacker=config.data.attacker,
            test=config.data.test,
            seed=config.seed,
            mode=config.data.split,
        )
    # Only now, so that a mistake in the data does not bind the directory to it.
    rundir.claim(workdir, config.semantic())
    with telemetry.MetricsWriter(workdir / "metrics.jsonl") as metrics:
        metrics.write("start", config=config.semantic())
        with clock.phase("population"):
            populations = _train(config, specs, dataset, splits, workdir, metrics)
        populations, notes = _drop_diverged(populations)
        for note in notes:
            console.print(f"[yellow]note:[/] {note}")
        with clock.phase("meta"):
            fits, scores = _fit(config, task, populations, workdir, metrics)
            labels_V = _labelled(config, populations, "validation")[1]
            detector = mntd.from_fit(
                fits["jumbo"],
                labels_V,
                task=task.name,
                num_classes=task.num_classes,
                spec=_query_spec(task, config.fit),
                config=fit_config(config, "jumbo"),
            )
            detector.save(workdir / "detector")
    return Outcome(
        config, populations, fits, scores, detector, dataset, splits.test, notes
    )


def fit_config(config: MNTDConfig, variant: str) -> mntd.FitConfig:
    """The configured fit with what the variant changes."""
    return dataclasses.replace(config.fit, **VARIANTS[variant])


def _load(config: MNTDConfig, task: Task) -> Dataset:
    with contextlib.ExitStack() as stack:
        bars: list[telemetry.Progress] = []

        def progress(done: int, total: int) -> None:
            if not bars:  # sources that are quick do not report
                bar = telemetry.progress("reading data", total=total, unit="rows")
                bars.append(stack.enter_context(bar))
            bars[0].advance(done - bars[0].done)

        return data.load(
            config.data.source,
            name=task.name,
            num_classes=task.num_classes,
            shape=task.shape,
            path=config.data.path or None,
            progress=progress,
        )


def _specs(config: MNTDConfig) -> Iterator[tuple[PopulationSpec, int]]:
    """Every population of the experiment and how many models it has."""
    counts, attack = config.population, config.population.shadow_attack
    shadow = config.shadow.recipe(config.data.defender)
    target = config.target.recipe(config.data.attacker)
    kinds = [
        ("shadow", "benign", shadow, counts.shadows),
        ("shadow", attack, shadow, counts.shadows),
        ("validation", "benign", shadow, counts.validation),
        ("validation", attack, shadow, counts.validation),
        ("target", "benign", target, counts.targets),
        *(("target", a, target, counts.targets) for a in counts.target_attacks),
    ]
    for role, name, recipe, count in kinds:
        get_attack(name, task=config.task, locations=counts.locations)  # or UserError
        spec = PopulationSpec(
            task=config.task,
            role=role,
            attack=name,
            recipe=recipe,
            seed=config.seed,
            locations=counts.locations,
        )
        yield spec, count


def _train(
    config: MNTDConfig,
    specs: list[tuple[PopulationSpec, int]],
    dataset: Dataset,
    splits: Splits,
    workdir: Path,
    metrics: telemetry.MetricsWriter,
) -> dict[str, Population]:
    examples = jax.device_put(Examples(dataset.x, dataset.y))
    provenance = {
        "data": dataclasses.asdict(config.data)
        | {"crc32": _crc32(dataset.x, dataset.y)}
    }
    del provenance["data"]["path"]
    populations = {}
    total = sum(count for _, count in specs)
    with telemetry.progress("training", total=total, unit="models") as bar:
        for spec, count in specs:

            def done(
                models: int, quality: Quality | None, name: str = spec.name
            ) -> None:
                if quality is None:
                    bar.advance(models, now=f"{name} (on disk)")
                    return
                means = {k: _mean(v) for k, v in quality._asdict().items()}
                bar.advance(models, now=name, accuracy=means["accuracy"])
                metrics.write("chunk", population=name, models=models, **means)

            defender = spec.role != "target"
            populations[spec.name] = train_population(
                workdir / "populations" / spec.name,
                spec,
                count,
                examples=examples,
                subset_N=splits.defender if defender else splits.attacker,
                test_N=splits.test,
                provenance=provenance,
                execution=config.execution,
                formulation=config.formulation,
                callback=done,
            )
    return populations


def _crc32(*arrays: np.ndarray) -> int:
    """Tells data sets apart, for resuming."""
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array).tobytes(), value)
    return value


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _drop_diverged(
    populations: dict[str, Population],
) -> tuple[dict[str, Population], list[str]]:
    notes = []
    for name, population in populations.items():
        if ids := population.diverged_ids:
            notes.append(
                f"{name}: training diverged (NaN) for models {ids}; they are left out"
            )
            if len(ids) == len(population):
                raise UserError(
                    f"every model of {name} diverged (NaN); lower the learning rate"
                )
    return {k: p.without_diverged() for k, p in populations.items()}, notes


def _labelled(
    config: MNTDConfig, populations: dict[str, Population], role: str
) -> tuple[Any, np.ndarray]:
    """Stacked variables of a role's benign and trojaned models, and their labels."""
    benign = populations[f"{role}-benign"]
    trojaned = populations[f"{role}-{config.population.shadow_attack}"]
    variables = tree.concatenate([benign.variables, trojaned.variables])
    return variables, np.repeat([0, 1], [len(benign), len(trojaned)])


def _query_spec(task: Task, config: mntd.FitConfig) -> mntd.QuerySpec:
    mean, std = task.query_init["clipped" if config.clip else "official"]
    return mntd.QuerySpec(task.shape, task.value_range, mean, std)


def _fit(
    config: MNTDConfig,
    task: Task,
    populations: dict[str, Population],
    workdir: Path,
    metrics: telemetry.MetricsWriter,
) -> tuple[dict[str, mntd.Fit], dict[str, dict[str, np.ndarray]]]:
    model = get_model(
        task.model,
        input_shape=task.shape,
        num_classes=task.num_classes,
        formulation=config.formulation,
    )
    shadows, labels_M = jax.device_put(_labelled(config, populations, "shadow"))
    validation, labels_V = _labelled(config, populations, "validation")
    targets = {
        p.attack: jax.device_put(p.variables)
        for name, p in populations.items()
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
