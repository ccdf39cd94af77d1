"""The training of a zoo, with progress; by several processes at once if need be."""

import zlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from bdjax import storage, telemetry
from bdjax.data import Splits
from bdjax.experiments import directory
from bdjax.experiments.config import ROLES, Experiment
from bdjax.experiments.zoo import Wanted, place
from bdjax.population import Examples, Quality, train_population


def open_metrics(
    workdir: Path,
) -> AbstractContextManager[telemetry.MetricsWriter | None]:
    """The run's ``metrics.jsonl``; None of all processes but the first.

    Raises:
      UserError: it cannot be written.
    """
    if storage.is_first():
        return telemetry.MetricsWriter(workdir / directory.METRICS)
    return nullcontext()


class _Others:
    """Counts what the other processes commit, for a progress that is of all.

    They do not tell; what counts as done is what is on disk anyhow.
    """

    def __init__(self, folder: Path, ids: range):
        self._folder, self._ids, self._seen = folder, ids, 0

    def more(self) -> int:
        """Models of other processes on disk, beyond those said before."""
        if jax.process_count() == 1:
            return 0
        store = storage.read_population(self._folder)
        chunks, size = store.chunks_of(self._ids), store.recipe["chunk_size"]
        mine = storage.share(chunks, self._folder.name)
        models = sum(
            min(self._ids.stop, (n + 1) * size) - max(self._ids.start, n * size)
            for n in set(store.committed()) & set(chunks) - set(mine)
        )
        more, self._seen = models - self._seen, models
        return more


def train(
    experiment: Experiment,
    wanted: list[Wanted],
    examples: Examples,
    splits: Splits,
    workdir: Path,
    metrics: telemetry.MetricsWriter | None,
    *,
    console: Console,
) -> None:
    """Trains what is not on disk yet of ``wanted``, with progress.

    Under ``jax.distributed`` every process trains chunks of its own and says, in a line
    at the end, how many; the first shows what all of them have committed.

    Args:
      experiment: how it is run.
      wanted: populations and ids.
      examples: from :func:`examples_of`.
      splits: from :func:`load_data`.
      workdir: the run's directory.
      metrics: gets a line a chunk of this process, if there is one.
      console: gets what the user should know.

    Raises:
      UserError: see :func:`bdjax.population.train_population`.
    """
    provenance = {"data": experiment.zoo.data.to_dict() | {"crc32": _crc32(examples)}}
    total, trained = sum(len(ids) for _, ids in wanted), 0
    first = storage.is_first()
    bars = telemetry.progress("training", total=total, unit="models", enabled=first)
    with bars as bar:
        for spec, ids in wanted:
            others = _Others(place(workdir, spec), ids)

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
                if metrics:
                    metrics.write("chunk", population=name, models=models, **means)

            train_population(
                place(workdir, spec),
                spec,
                ids,
                examples=examples,
                subset_N=getattr(splits, ROLES[spec.role]),
                test_N=splits.test,
                provenance=provenance,
                execution=experiment.execution,
                callback=done,
                note=lambda text: note(console, text),
            )
            if more := others.more():
                bar.advance(more)
    if jax.process_count() > 1:
        console.print(
            f"process {jax.process_index()} of {jax.process_count()} trained {trained} "
            "models",
            highlight=False,
        )


def note(console: Console, text: str) -> None:
    """Says what the user should know, once for all processes."""
    if storage.is_first():
        console.print(f"[yellow]note:[/] {text}")


def _crc32(examples: Examples) -> int:
    """Tells data sets apart, for resuming."""
    value = 0
    for array in jax.tree.leaves(examples):
        value = zlib.crc32(np.ascontiguousarray(array).tobytes(), value)
    return value


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None
