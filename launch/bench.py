"""How fast bdjax is here, beside PyTorch: ``python -m launch.bench [--out=FILE.json]``.

Everything is measured in this run; ``--quick`` only shows that all parts run. PyTorch
is optional. ``--set=scaling`` trains populations of growing size and draws their wall
time; ``--set=formulations`` compares every formulation in every precision, and
``--set=gpu`` does so on an accelerator or not at all.
"""

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import app, flags
from rich.console import Console

from bdjax import plots, storage, telemetry
from bdjax.benchmarks import (
    meta,
    peak,
    population,
    report,
    scaling,
    torch_worker,
)
from bdjax.benchmarks.timing import Section, measure
from bdjax.types import UserError
from launch import common, interrupts

WIDTH = 112  # of the tables in a file or pipe
SETS = ("default", "formulations", "scaling", "gpu")


def sections(name: str, pools: torch_worker.Pools, *, quick: bool) -> list[Section]:
    """What the set ``name`` times."""
    matmul = peak.section(peak.QUICK if quick else peak.Size(), pools)
    mnist = population.QUICK if quick else population.Size()
    others = list(population.OTHERS)
    if name == "scaling":
        return []
    if name in ("formulations", "gpu"):
        mnist, *others = (
            dataclasses.replace(size, formulations=("tile", "im2col", "direct"))
            if size.convolutions
            else size
            for size in (mnist, *others)
        )
    sections = [matmul, population.section(mnist, pools)]
    if not quick:
        sections += [population.section(size, pools) for size in others]
    return [*sections, meta.section(meta.QUICK if quick else meta.Size(), pools)]


def bench(out: Path, *, chosen: str, quick: bool, console: Console) -> dict[str, Any]:
    """Measures, prints a table a section and writes ``out``.

    Args:
      out: JSON file of all that was measured; its folder is made where missing. The
        figure of ``"scaling"`` goes beside it.
      chosen: key in :data:`SETS`.
      quick: little work a row, so that figures mean little.
      console: where the tables go.

    Raises:
      UserError: ``out`` cannot be written, or there is no GPU for ``"gpu"``.
    """
    if chosen == "gpu" and jax.default_backend() == "cpu":
        raise UserError("--set=gpu needs an accelerator; JAX found none here")
    began = time.monotonic()
    storage.write_json(out, {"complete": False})  # a mistake in it shows before
    machine = report.machine()
    found: dict[str, Any] = {"complete": True, "quick": quick, "sections": {}}
    with torch_worker.pools(len(os.sched_getaffinity(0))) as pools:
        todo = sections(chosen, pools, quick=quick)
        rows = {}
        size = scaling.QUICK if quick else scaling.Size()
        total = sum(section.turns for section in todo)
        if chosen == "scaling":
            total = 2 * len(size.populations)
        with telemetry.progress("benchmark", total=total, unit="runs") as progress:
            for section in todo:
                rows[section.name] = measure(section, progress.advance)
            if chosen == "scaling":
                points = scaling.measure(size, pools, progress.advance)
        machine["versions"]["torch"] = pools.version
    for section in todo:
        console.print(report.table(section, rows[section.name]).to_rich())
        for note in report.notes(rows[section.name]):
            console.print(note, markup=False)
        found["sections"][section.name] = report.figures(section, rows[section.name])
    if chosen == "scaling":
        console.print(scaling.table(points, size.steps).to_rich())
        found["sections"]["scaling"] = [dataclasses.asdict(p) for p in points]
        _draw(points, size.steps, out.with_suffix(".png"))
    found |= {"machine": machine, "seconds": time.monotonic() - began}
    storage.write_json(out, found)
    for line in report.headline(found):
        console.print(line, markup=False)
    console.print(
        f"{found['seconds']:.0f} s; load average before: {machine['load_average']}. "
        f"Figures: {out}",
        markup=False,
    )
    return found


def _leave(why: str, status: int) -> NoReturn:
    torch_worker.abandon()
    interrupts.leave(why, status, before=telemetry.stop)


def _draw(points: list[scaling.Point], steps: int, path: Path) -> None:
    series: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        series.setdefault(point.name, []).append((point.models, point.seconds))
    title = f"Training a population of MNIST shadow models, {steps} steps each"
    plots.save(plots.wall_times(series, title, unit="models"), path)


def main(argv: list[str]) -> None:
    """Runs the benchmark as the flags say."""
    if len(argv) > 1:
        raise UserError(f"unknown arguments {argv[1:]}; options start with --")
    interrupts.on_end(_leave)
    common.set_up_jax()
    # Programs compiled by an earlier run would hide what compiling takes.
    jax.config.update("jax_enable_compilation_cache", False)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    options = flags.FLAGS
    out = Path(options.out)
    bench(out, chosen=options.set, quick=options.quick, console=console)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error


if __name__ == "__main__":
    flags.DEFINE_string("out", "runs/bench.json", "Where the figures go.")
    flags.DEFINE_enum("set", SETS[0], SETS, "What to measure.")
    flags.DEFINE_bool("quick", False, "Little work: shows that all parts run.")
    try:
        app.run(main, flags_parser=_parse)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
