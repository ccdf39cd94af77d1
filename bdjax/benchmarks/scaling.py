"""Wall time and memory against the size of the population, bdjax beside PyTorch."""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bdjax import telemetry
from bdjax.benchmarks import population
from bdjax.benchmarks.timing import DidNotRunError
from bdjax.benchmarks.torch_worker import Pools
from bdjax.evaluation import Table
from bdjax.population import (
    Examples,
    Execution,
    PopulationSpec,
    Recipe,
    train_population,
)

WARM_UP = 16  # models trained before, by a population of another name


@dataclasses.dataclass(frozen=True)
class Size:
    """What is timed.

    Attributes:
      populations: numbers of models, ascending.
      steps: of every model: few, so that what a model costs beside them shows.
    """

    populations: tuple[int, ...] = (16, 64, 256, 1024)
    steps: int = 15


QUICK = Size(populations=(8, 16), steps=2)


@dataclasses.dataclass(frozen=True)
class Point:
    """One population, trained and stored.

    Attributes:
      name: who trained it.
      models: how many.
      seconds: wall time.
      peak_bytes: the process's peak memory so far; 0 where it is not known.
    """

    name: str
    models: int
    seconds: float
    peak_bytes: int = 0


def measure(size: Size, pools: Pools, advance: Callable[[], None]) -> list[Point]:
    """Trains and stores populations of every size, on each side in turn.

    bdjax's time has all that a population needs: triggers, plans, training, judging,
    chunks committed with their checksums. PyTorch's has training and ``torch.save``.

    Args:
      size: what to time.
      pools: PyTorch, if there is one.
      advance: called once a population.
    """
    points = []
    with tempfile.TemporaryDirectory(prefix="bdjax-bench-") as scratch:
        # The same number of models is the same chunks, hence the same program.
        _train(Path(scratch) / "warm", "warm", WARM_UP, size.steps)
        _pytorch(pools, 1, size.steps)
        for models in size.populations:
            where = Path(scratch) / str(models)
            start = time.perf_counter()
            _train(where, "shadow", models, size.steps)
            seconds = time.perf_counter() - start
            peak = telemetry.peak_memory_bytes()
            points.append(Point("bdjax", models, seconds, peak))
            advance()
            if seconds := _pytorch(pools, models, size.steps):
                points.append(Point("PyTorch", models, seconds))
            advance()
    return points


def table(points: list[Point], steps: int) -> Table:
    """A row a population."""
    rows = [
        (
            p.name,
            str(p.models),
            f"{p.seconds:.1f}",
            f"{1000 * p.seconds / p.models:.1f}",
            f"{p.peak_bytes / 2**20:.0f}" if p.peak_bytes else "-",
        )
        for p in sorted(points, key=lambda p: (p.name, p.models))
    ]
    headings = ("", "models", "wall s", "ms/model", "peak MiB")
    return Table(f"Populations of models of {steps} steps", headings, tuple(rows))


def _train(directory: Path, role: str, models: int, steps: int) -> None:
    dataset = population.load_digits()
    rows = np.random.default_rng(0).permutation(len(dataset.x)).astype(np.int32)
    task, (network, attack) = population.TASK, population.networks()
    spec = PopulationSpec(role, task, attack, network, Recipe(steps=steps))
    train_population(
        directory,
        spec,
        range(models),
        examples=Examples(dataset.x, dataset.y),
        subset_N=rows[: population.EXAMPLES],
        test_N=rows[-100:],
        provenance={},
        execution=Execution(),
    )


def _pytorch(pools: Pools, models: int, steps: int) -> float:
    """Seconds, or 0 where PyTorch does not run."""
    if pools.whole is None:
        return 0.0
    arguments: dict[str, Any] = population.torch_job(Recipe(steps=steps))
    try:
        pools.whole.ask("make", "population", "population", arguments)
        [(seconds, _)] = pools.whole.ask("run", "population", models)
    except DidNotRunError:
        return 0.0
    return seconds
