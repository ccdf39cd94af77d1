"""``bdjax sweep``: MNTD at several numbers of shadow models of a finished run."""

import argparse
import dataclasses
from collections.abc import Sequence

from rich.console import Console

from bdjax import telemetry
from bdjax.cli import common
from bdjax.cli.run import tell
from bdjax.experiments import runner
from bdjax.experiments.config import Experiment
from bdjax.types import UserError

VARIANTS = ("mntd", "mntd_no_tuning", "mntd_one_class")
SMALLEST = 8


def run(options: argparse.Namespace) -> None:
    """Asks the experiment's detectors and those of the sweep; trains no model."""
    console, clock = Console(), telemetry.Clock()
    experiment, workdir = common.experiment_of(options)
    asked = detectors(
        experiment, options.sizes, options.variants, equal_steps=options.equal_steps
    )
    experiment = dataclasses.replace(
        experiment, detectors=tuple(dict.fromkeys((*experiment.detectors, *asked)))
    )
    if runner.run(experiment, workdir, train=False, clock=clock, console=console):
        tell(workdir, clock, console)


def detectors(
    experiment: Experiment,
    sizes: Sequence[int],
    variants: Sequence[str],
    *,
    equal_steps: bool,
) -> list[str]:
    """The detectors of a sweep.

    Args:
      experiment: whose shadows there are.
      sizes: shadows of each fit, half of them benign; none for 8, 16, ... all.
      variants: in :data:`VARIANTS`.
      equal_steps: as many optimiser steps for few shadows as for all.

    Raises:
      UserError: a size or variant is none.
    """
    every = 2 * min(experiment.zoo.count("shadow"))
    if not sizes:
        doubled = [SMALLEST * 2**i for i in range(every.bit_length())]
        sizes = [*(size for size in doubled if size < every), every]
    for size in sizes:
        if size < 2 or size % 2:
            raise UserError(f"size {size} is not half benign; give an even number")
        if size > every:
            raise UserError(f"size {size} is more than the {every} shadow models")
    for what, named in (("sizes", sizes), ("variants", variants)):
        if len(set(named)) < len(named):
            raise UserError(f"{what} are {list(named)}; name each once")
    if not variants:
        raise UserError(f"no variant is named; there are {list(VARIANTS)}")
    if unknown := [name for name in variants if name not in VARIANTS]:
        raise UserError(f"unknown variant {unknown[0]!r}; there are {list(VARIANTS)}")
    steps = ",equal_steps=true" if equal_steps else ""
    return [f"{name}:shadows={n}{steps}" for name in variants for n in sizes]
