"""``bdjax report``: the report of a run, again, from its scores alone."""

import argparse
from pathlib import Path

from rich.console import Console

from bdjax import telemetry
from bdjax.cli.run import tell


def run(options: argparse.Namespace) -> None:
    """Writes and prints it."""
    tell(Path(options.run), telemetry.Clock(), Console())
