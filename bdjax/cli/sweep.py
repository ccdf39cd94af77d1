"""``bdjax sweep``: MNTD at several numbers of shadow models of a finished run."""

import argparse

from rich.console import Console

from bdjax import telemetry
from bdjax.cli import common
from bdjax.cli.run import tell
from bdjax.experiments import presets, runner


def run(options: argparse.Namespace) -> None:
    """Asks the experiment's detectors and those of the sweep; trains no model."""
    console, clock = Console(), telemetry.Clock()
    experiment, workdir = common.experiment_of(options)
    experiment = presets.sweep(
        experiment, options.sizes, options.variants, equal_steps=options.equal_steps
    )
    if runner.run(experiment, workdir, train=False, clock=clock, console=console):
        tell(workdir, clock, console)
