"""``bdjax run``: an experiment from nothing to its report."""

import argparse
from pathlib import Path

from rich.console import Console

from bdjax import report, telemetry
from bdjax.cli import common
from bdjax.experiments import configurations, runner


def run(options: argparse.Namespace) -> None:
    """Runs the experiment, or lists those there are."""
    console, clock = Console(), telemetry.Clock()
    if options.list:
        listed = configurations.listed()
        for name, line in listed.items():
            print(f"{name:{max(map(len, listed))}}  {line}")
        return
    experiment, workdir = common.experiment_of(options)
    if runner.run(experiment, workdir, clock=clock, console=console):
        tell(workdir, clock, console)  # else process 0 has the rest to do


def tell(workdir: Path, clock: telemetry.Clock, console: Console) -> None:
    """Writes the report and prints what was found."""
    with clock.phase("report"):
        written = report.write(workdir)
    report.show(written, console)
    console.print(
        f"{sum(clock.seconds.values()):.0f} s. Report: {workdir / 'report.html'}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
