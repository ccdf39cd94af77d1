"""How fast bdjax is here, beside PyTorch: ``python -m launch.bench [--out=FILE.json]``.

Everything is measured in this run; ``--quick`` takes seconds and only shows that all
parts run. PyTorch is optional.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import jax
from absl import app, flags
from rich.console import Console

from bdjax import storage, telemetry
from bdjax.benchmarks import meta, peak, population, report, torch_worker
from bdjax.benchmarks.timing import measure
from bdjax.types import UserError
from launch import common

WIDTH = 112  # of the tables in a file or pipe


def bench(out: Path, *, quick: bool, console: Console) -> dict[str, Any]:
    """Measures, prints a table a section and writes ``out``.

    Args:
      out: JSON file of all that was measured; its folder is made where missing.
      quick: little work a row, so that figures mean little.
      console: where the tables go.

    Raises:
      UserError: ``out`` cannot be written.
    """
    began = time.monotonic()
    storage.write_json(out, {"complete": False})  # a mistake in it shows before
    machine = report.machine()
    found: dict[str, Any] = {"complete": True, "quick": quick, "sections": {}}
    with torch_worker.pools(len(os.sched_getaffinity(0))) as pools:
        sections = [
            peak.section(peak.QUICK if quick else peak.Size(), pools),
            population.section(population.QUICK if quick else population.Size(), pools),
            meta.section(meta.QUICK if quick else meta.Size(), pools),
        ]
        total = sum(section.turns for section in sections)
        rows = {}
        with telemetry.progress("benchmark", total=total, unit="runs") as progress:
            for section in sections:
                rows[section.name] = measure(section, progress.advance)
        machine["versions"]["torch"] = pools.version
    for section in sections:
        console.print(report.table(section, rows[section.name]).to_rich())
        for note in report.notes(rows[section.name]):
            console.print(note, markup=False)
        found["sections"][section.name] = report.figures(section, rows[section.name])
    found |= {"machine": machine, "seconds": time.monotonic() - began}
    storage.write_json(out, found)
    console.print(report.headline(found), markup=False)
    console.print(
        f"{found['seconds']:.0f} s; load average before: {machine['load_average']}. "
        f"Figures: {out}",
        markup=False,
    )
    return found


def main(argv: list[str]) -> None:
    """Runs the benchmark as the flags say."""
    if len(argv) > 1:
        raise UserError(f"unknown arguments {argv[1:]}; options start with --")
    common.set_up_jax()
    # Programs compiled by an earlier run would hide what compiling takes.
    jax.config.update("jax_enable_compilation_cache", False)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    bench(Path(flags.FLAGS.out), quick=flags.FLAGS.quick, console=console)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error


if __name__ == "__main__":
    flags.DEFINE_string("out", "runs/bench.json", "Where the figures go.")
    flags.DEFINE_bool("quick", False, "Little work: shows that all parts run.")
    try:
        app.run(main, flags_parser=_parse)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
