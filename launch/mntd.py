"""MNTD from nothing to a detector: ``python -m launch.mntd [--config=FILE[:arg]]``."""

from pathlib import Path

from absl import flags
from rich.console import Console

from bdjax import telemetry
from bdjax.experiments import mntd, report
from bdjax.experiments.config import MNTDConfig, from_mapping
from launch import common

common.define_flags("mntd_mnist5k.py", "runs/mnist5k")


def main() -> None:
    """Builds the configuration, runs it, prints what was found."""
    config = from_mapping(MNTDConfig, flags.FLAGS.config.to_dict())
    workdir = Path(flags.FLAGS.workdir)
    console, clock = Console(), telemetry.Clock()
    outcome = mntd.run(config, workdir, clock=clock, console=console)
    found = report.write(outcome, workdir, clock)
    for table in report.tables(outcome):
        console.print(table.to_rich())
    seconds, peak = found["wall_seconds"]["total"], found["peak_memory_bytes"]
    console.print(
        f"{seconds:.0f} s on {found['device']}, peak memory {peak / 2**30:.1f} GiB. "
        f"Report: {workdir / 'report.md'}. Detector: {workdir / 'detector'}."
    )


if __name__ == "__main__":
    common.launch(main)
