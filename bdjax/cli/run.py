"""``bdjax run``, ``report``, ``sweep`` and ``references``: experiments and reports."""

import argparse
from pathlib import Path

from rich.console import Console

from bdjax import report as reports
from bdjax import telemetry
from bdjax.cli import common
from bdjax.experiments import configurations, presets, runner
from bdjax.experiments import references as thresholds


def run(options: argparse.Namespace) -> None:
    """Runs the experiment, or lists those there are."""
    if options.list:
        listed = configurations.listed()
        for name, line in listed.items():
            print(f"{name:{max(map(len, listed))}}  {line}")
        return
    console, clock = Console(), telemetry.Clock()
    experiment, workdir = common.experiment_of(options)
    if runner.run(experiment, workdir, clock=clock, console=console):
        _tell(workdir, clock, console)  # else process 0 has the rest to do


def sweep(options: argparse.Namespace) -> None:
    """Asks MNTD at several numbers of shadows, too; trains no network."""
    console, clock = Console(), telemetry.Clock()
    experiment, workdir = common.experiment_of(options)
    experiment = presets.sweep(
        experiment, options.sizes, options.variants, equal_steps=options.equal_steps
    )
    runner.run(experiment, workdir, train=False, clock=clock, console=console)
    _tell(workdir, clock, console)


def report(options: argparse.Namespace) -> None:
    """Writes and prints the report of a run again, from its scores alone."""
    _tell(Path(options.run), telemetry.Clock(), Console())


def references(options: argparse.Namespace) -> None:
    """Trains and judges networks whose truth is known, and sets thresholds on them."""
    console, workdir = Console(), Path(options.workdir)
    out = Path(options.out or workdir / "calibrations")
    tables = thresholds.run(
        workdir,
        options.regimes or tuple(configurations.module("references").REGIMES),
        {name: getattr(options, name) for name in ("mnist", "cifar10")},
        out=out,
        console=console,
    )
    for table in tables.values():
        console.print(table.to_rich())
    common.say(console, f"Calibrations: {out}.")


def _tell(workdir: Path, clock: telemetry.Clock, console: Console) -> None:
    with clock.phase("report"):
        written = reports.write(workdir)
    reports.show(written, console)
    seconds = sum(clock.seconds.values())
    common.say(console, f"{seconds:.0f} s. Report: {workdir / 'report.html'}.")
