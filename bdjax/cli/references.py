"""``bdjax references``: the white box's thresholds, from networks whose truth is known.

``bdjax references --mnist=mnist.npz --cifar10=cifar10.npz``; resumes.
"""

import argparse
from pathlib import Path

from rich.console import Console

from bdjax.experiments import configurations, references


def run(options: argparse.Namespace) -> None:
    """Trains and judges the regimes, and prints a table a detector."""
    console = Console()
    out = Path(options.out or Path(options.workdir, "calibrations"))
    tables = references.run(
        Path(options.workdir),
        options.regimes or tuple(configurations.module("references").REGIMES),
        {name: getattr(options, name) for name in ("mnist", "cifar10")},
        out=out,
        console=console,
    )
    for table in tables.values():
        console.print(table.to_rich())
    console.print(f"Calibrations: {out}.", markup=False, highlight=False)
