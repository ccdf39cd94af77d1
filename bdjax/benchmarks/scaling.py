"""Wall time and memory against the size of the population, bdjax beside PyTorch."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bdjax import telemetry
from bdjax.benchmarks import population
from bdjax.evaluation import Table
from bdjax.population import (
    Examples,
    Execution,
    PopulationSpec,
    Recipe,
    train_population,
)

WARM_UP = 16  # models trained before, by a population of another name


POPULATIONS = (16, 64, 256, 1024)
QUICK = (8, 16)
STEPS = 15  # of every model: few, so that what a model costs beside them shows


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


def measure(
    populations: Sequence[int],
    rivals: Any,
    points: list[Point],
    left: Callable[[], float],
) -> None:
    """Trains and stores populations of every size, on each side in turn.

    bdjax's time has all that a population needs: triggers, plans, training, judging,
    chunks committed with their checksums. PyTorch's has training and ``torch.save``.

    Args:
      populations: numbers of models, ascending; the largest are left out where the
        time would not do.
      rivals: PyTorch, if there is one.
      points: gets a point a population and side.
      left: seconds that are left.
    """
    with tempfile.TemporaryDirectory(prefix="bdjax-bench-") as scratch:
        # The same number of models is the same chunks, hence the same program.
        _train(Path(scratch) / "warm", "warm", WARM_UP)
        if rivals:
            rivals.population(1, STEPS)
        a_model = 0.0
        for models in populations:
            if models * a_model > left():
                return
            begun = start = time.perf_counter()
            _train(Path(scratch) / str(models), "shadow", models)
            seconds = time.perf_counter() - start
            peak = telemetry.peak_memory_bytes()
            points.append(Point("bdjax", models, seconds, peak))
            if rivals and (seconds := rivals.population(models, STEPS)):
                points.append(Point("PyTorch", models, seconds))
            a_model = (time.perf_counter() - begun) / models


def table(points: list[Point]) -> Table:
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
    return Table(f"Populations of models of {STEPS} steps", headings, tuple(rows))


def _train(directory: Path, role: str, models: int) -> None:
    dataset = population.load_digits()
    rows = population.shuffled_rows(dataset)
    network, attack = population.networks()
    recipe = Recipe(steps=STEPS)
    spec = PopulationSpec(role, population.TASK, attack, network, recipe)
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
