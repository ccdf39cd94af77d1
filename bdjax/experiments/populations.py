"""The populations of an experiment: data, specifications, training."""

import contextlib
import zlib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from bdjax import data, storage, telemetry
from bdjax.attacks import Locations, get_attack
from bdjax.data import Dataset, Splits
from bdjax.experiments.config import HasPopulations, MNTDConfig
from bdjax.population import (
    Examples,
    Population,
    PopulationSpec,
    Quality,
    Recipe,
    load_population,
    train_population,
)
from bdjax.tasks import Task, get_task
from bdjax.types import UserError

Wanted = tuple[PopulationSpec, range]


def load_data(config: HasPopulations) -> tuple[Dataset, Splits]:
    """The data set and who holds which of its rows.

    Raises:
      UserError: the source or the sizes are at fault.
    """
    dataset = _load(config, get_task(config.task))
    splits = data.make_splits(
        dataset,
        defender=config.data.defender,
        attacker=config.data.attacker,
        test=config.data.test,
        seed=config.seed,
        mode=config.data.split,
    )
    return dataset, splits


def _load(config: HasPopulations, task: Task) -> Dataset:
    # Sources that are quick do not report.
    with telemetry.reporter("reading data", unit="rows", enabled=True) as progress:
        return task.load(
            config.data.source,
            path=config.data.path or None,
            progress=progress,
            **config.data.options,
        )


def specs(config: MNTDConfig) -> list[Wanted]:
    """Every population of the experiment, and the ids of its models.

    Raises:
      UserError: an attack or a recipe is at fault.
    """
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
    wanted = []
    for role, name, recipe, count in kinds:
        spec = make_spec(config, role, name, recipe, counts.locations)
        wanted.append((spec, range(count)))
    return wanted


def make_spec(
    config: Any, role: str, attack: str, recipe: Recipe, locations: Locations
) -> PopulationSpec:
    """The population of these models.

    Raises:
      UserError: the attack or the recipe is at fault.
    """
    task = get_task(config.task)
    network = task.network(config.architecture, config.formulation)
    drawn = get_attack(attack, task=task, locations=locations)
    return PopulationSpec(role, task, drawn, network, recipe, config.seed)


def directory(workdir: Path, spec: PopulationSpec) -> Path:
    """Where a run keeps a population."""
    return workdir / "populations" / spec.name


def load(workdir: Path, wanted: list[Wanted]) -> dict[str, Population]:
    """Reads trained populations back, by name.

    Raises:
      UserError: one is incomplete or damaged.
    """
    return {
        f"{spec.role}-{spec.attack.name}": load_population(
            directory(workdir, spec), ids
        )
        for spec, ids in wanted
    }


def drop_diverged(
    trained: dict[str, Population],
) -> tuple[dict[str, Population], list[str]]:
    """The models that training did not break, and a note for each population.

    Raises:
      UserError: it broke all of one.
    """
    notes = []
    for name, population in trained.items():
        if ids := population.diverged_ids:
            notes.append(
                f"{name}: training diverged (NaN) for models {ids}; they are left out"
            )
            if len(ids) == len(population):
                raise UserError(
                    f"every model of {name} diverged (NaN); lower the learning rate"
                )
    return {k: p.without_diverged() for k, p in trained.items()}, notes


class _Silent(telemetry.MetricsWriter):
    """Of the processes that write nothing."""

    def __init__(self) -> None:
        pass

    def write(self, event: str, /, **fields: Any) -> None:
        del event, fields

    def close(self) -> None:
        pass


@contextlib.contextmanager
def open_metrics(workdir: Path) -> Iterator[telemetry.MetricsWriter]:
    """The run's ``metrics.jsonl``, which only the first process writes.

    Raises:
      UserError: it cannot be written.
    """
    first = storage.is_first()
    with (
        telemetry.MetricsWriter(workdir / "metrics.jsonl") if first else _Silent() as m
    ):
        yield m


class _Others:
    """Counts what the other processes commit, for a progress that is of all.

    They do not tell; what counts as done is what is on disk anyhow.
    """

    def __init__(self, directory: Path, ids: range):
        self._directory, self._ids, self._seen = directory, ids, 0

    def more(self) -> int:
        """Models of other processes on disk, beyond those said before."""
        if jax.process_count() == 1:
            return 0
        store = storage.read_population(self._directory)
        chunks, size = store.chunks_of(self._ids), store.recipe["chunk_size"]
        mine = storage.share(chunks, self._directory.name)
        models = sum(
            min(self._ids.stop, (n + 1) * size) - max(self._ids.start, n * size)
            for n in set(store.committed()) & set(chunks) - set(mine)
        )
        more, self._seen = models - self._seen, models
        return more


def train(
    config: HasPopulations,
    wanted: list[Wanted],
    dataset: Dataset,
    splits: Splits,
    workdir: Path,
    metrics: telemetry.MetricsWriter,
    *,
    console: Console,
    attackers: Container[str] = ("target",),
) -> None:
    """Trains what is not on disk yet of ``wanted``, with progress.

    Under ``jax.distributed`` every process trains chunks of its own and says, in a line
    at the end, how many; the first shows what all of them have committed.

    Args:
      config: the experiment.
      wanted: populations and ids.
      dataset: from :func:`load_data`.
      splits: likewise.
      workdir: the run's directory.
      metrics: gets a line a chunk of this process.
      console: gets what the user should know.
      attackers: roles that train on the attacker's rows, others on the defender's.

    Raises:
      UserError: see :func:`bdjax.population.train_population`.
    """
    vectors = dataset.vocabulary.vectors if dataset.vocabulary else None
    examples = jax.device_put(Examples(dataset.x, dataset.y, vectors))
    arrays = [dataset.x, dataset.y, *([] if vectors is None else [vectors])]
    provenance = {"data": config.data.to_dict() | {"crc32": _crc32(*arrays)}}
    total, trained = sum(len(ids) for _, ids in wanted), 0
    first = storage.is_first()
    bars = telemetry.progress("training", total=total, unit="models", enabled=first)
    with bars as bar:
        for spec, ids in wanted:
            others = _Others(directory(workdir, spec), ids)

            def done(
                models: int,
                quality: Quality | None,
                name: str = spec.name,
                others: _Others = others,
            ) -> None:
                nonlocal trained
                if quality is None:
                    bar.advance(models + others.more(), now=f"{name} (on disk)")
                    return
                trained += models
                means = {k: _mean(v) for k, v in quality._asdict().items()}
                bar.advance(
                    models + others.more(), now=name, accuracy=means["accuracy"]
                )
                metrics.write("chunk", population=name, models=models, **means)

            train_population(
                directory(workdir, spec),
                spec,
                ids,
                examples=examples,
                subset_N=(
                    splits.attacker if spec.role in attackers else splits.defender
                ),
                test_N=splits.test,
                provenance=provenance,
                execution=config.execution,
                callback=done,
                note=lambda text: _note(console, text),
            )
            if more := others.more():
                bar.advance(more)
    if jax.process_count() > 1:
        console.print(
            f"process {jax.process_index()} of {jax.process_count()} trained {trained} "
            "models",
            highlight=False,
        )


def _note(console: Console, text: str) -> None:
    if storage.is_first():
        console.print(f"[yellow]note:[/] {text}")


def _crc32(*arrays: np.ndarray) -> int:
    """Tells data sets apart, for resuming."""
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array).tobytes(), value)
    return value


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None
