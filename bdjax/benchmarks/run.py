"""A benchmark from its first table to its last, within a time."""

import contextlib
import dataclasses
import functools
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from bdjax import plots, storage, telemetry
from bdjax.benchmarks import meta, peak, population, report, scaling
from bdjax.benchmarks.timing import Measurement, Section
from bdjax.types import UserError

SETS = ("default", "formulations", "scaling", "gpu")
BUDGET = 280  # seconds: with starting and telling, under five minutes
LEAST_BUDGET = 10


class Benchmark:
    """What is measured, and what has been so far: to be told at any moment."""

    def __init__(self, out: Path, *, chosen: str, quick: bool, budget: float = BUDGET):
        """Writes a first ``out``, so that a mistake in it shows at once.

        Args:
          out: JSON file of all that was measured; its folder is made where missing. The
            figure of ``"scaling"`` goes beside it.
          chosen: in :data:`SETS`.
          quick: little work a row, so that figures mean little.
          budget: seconds until :meth:`run` is to have ended.

        Raises:
          UserError: ``out`` cannot be written, the budget is too small, or there is no
            GPU for ``"gpu"``.
        """
        if budget < LEAST_BUDGET:
            raise UserError(
                f"--budget is {budget:g} seconds; it must be at least {LEAST_BUDGET}"
            )
        if chosen == "gpu" and jax.default_backend() == "cpu":
            raise UserError("--set=gpu needs an accelerator; JAX found none here")
        self._out, self._chosen, self._quick = out, chosen, quick
        self._began, self._budget = time.monotonic(), budget
        self._machine = report.machine()
        self._measured: list[Measurement] = []
        self._points: list[scaling.Point] = []
        self._rivals: Any = None
        self.save(complete=False)

    def run(self) -> None:
        """Measures all there is time for; the time is all used, but for ``quick``."""
        total = round(self._budget)
        with telemetry.progress("benchmark", total=total, unit="s") as progress:

            def left() -> float:
                passed = time.monotonic() - self._began
                progress.advance(min(round(passed), total) - progress.done)
                return self._budget - passed

            with _rivals() as self._rivals:
                self._measure(left)
            progress.advance(total - progress.done)

    def _measure(self, left: Callable[[], float]) -> None:
        if self._chosen == "scaling":
            sizes = scaling.QUICK if self._quick else scaling.POPULATIONS
            scaling.measure(sizes, self._rivals, self._points, left)
            return
        todo = self._todo()
        for i, (weight, make) in enumerate(todo):
            measurement = Measurement(make())
            self._measured.append(measurement)
            share = weight / sum(weight for weight, _ in todo[i:])
            measurement.run(left() * share, tell=left)
            self.save(complete=False)

    def _todo(self) -> list[tuple[float, Callable[[], Section]]]:
        """What the set times: its part of the time, and what makes it."""
        mnist, shadows = population.Size(), meta.Size()
        others = list(population.OTHERS)
        if self._quick:
            mnist, shadows, others = population.QUICK, meta.QUICK, []
        if self._chosen in ("formulations", "gpu"):
            mnist, *others = (
                dataclasses.replace(size, formulations=("tile", "im2col", "direct"))
                if size.convolutions
                else size
                for size in (mnist, *others)
            )
        made = [functools.partial(population.section, s) for s in (mnist, *others)]
        made = [functools.partial(peak.section, quick=self._quick), *made]
        made.append(functools.partial(meta.section, shadows))
        weights = (0.5, 2.0, *(1.0 for _ in others), 0.7)
        with_rivals = [functools.partial(make, rivals=self._rivals) for make in made]
        return list(zip(weights, with_rivals, strict=True))

    def found(self, *, complete: bool) -> dict[str, Any]:
        """All figures so far, as JSON."""
        if self._rivals:
            self._machine["versions"]["torch"] = self._rivals.version
        sections: dict[str, Any] = {
            m.section.name: report.figures(m.section, m.rows) for m in self._measured
        }
        if self._points:
            sections["scaling"] = [dataclasses.asdict(p) for p in self._points]
        return {
            "complete": complete,
            "quick": self._quick,
            "sections": sections,
            "machine": self._machine,
            "seconds": time.monotonic() - self._began,
        }

    def save(self, *, complete: bool) -> dict[str, Any]:
        """Writes :meth:`found` to the file, and returns it."""
        found = self.found(complete=complete)
        storage.write_json(self._out, found)
        return found

    def tell(self, console: Console, *, complete: bool) -> None:
        """Writes the file and prints what there is, if there is anything."""
        found = self.save(complete=complete)
        for measurement in self._measured:
            rows = measurement.rows
            if any(row.ms for row in rows):
                console.print(report.table(measurement.section, rows).to_rich())
                for note in report.notes(rows):
                    console.print(note, markup=False)
        if self._points:
            console.print(scaling.table(self._points).to_rich())
            _draw(self._points, self._out.with_suffix(".png"))
        if not found["sections"]:
            return
        for line in report.headline(found):
            console.print(line, markup=False)
        console.print(
            f"{found['seconds']:.0f} s; load average before: "
            f"{self._machine['load_average']}. Figures: {self._out}",
            markup=False,
            soft_wrap=True,
        )


def abandon() -> None:
    """Ends PyTorch's processes at once, if there are any, from any thread."""
    if worker := sys.modules.get("bdjax.benchmarks.pytorch.worker"):
        worker.abandon()


@contextlib.contextmanager
def _rivals() -> Iterator[Any]:
    """PyTorch's processes, if both it and our code for it are here; else None."""
    names = ("torch", "bdjax.benchmarks.pytorch")
    if not all(importlib.util.find_spec(name) for name in names):
        yield None
        return
    from bdjax.benchmarks.pytorch import jobs

    with jobs.start(len(os.sched_getaffinity(0))) as started:
        yield started


def _draw(points: list[scaling.Point], path: Path) -> None:
    series: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        series.setdefault(point.name, []).append((point.models, point.seconds))
    title = f"Training a population of MNIST shadow models, {scaling.STEPS} steps each"
    plots.save(plots.wall_times(series, title, unit="models"), path)
