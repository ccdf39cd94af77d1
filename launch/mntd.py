"""MNTD from nothing to a detector: ``python -m launch.mntd [--config=FILE[:arg]]``."""

from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from bdjax import telemetry
from bdjax.experiments import findings, mntd, report
from bdjax.experiments.own import read_config
from launch import common


def main(config: ConfigDict, workdir: Path) -> None:
    """Runs the experiment and prints what it found."""
    console, clock = Console(), telemetry.Clock()
    experiment = read_config(config.to_dict())
    outcome = mntd.run(experiment, workdir, clock=clock, console=console)
    if outcome is None:  # process 0 has the rest to do
        return
    found = report.write(outcome, workdir, clock)
    for table in report.tables(outcome):
        console.print(table.to_rich())
    findings.show(found["findings"], console)
    seconds, peak = found["wall_seconds"]["total"], found["peak_memory_bytes"]
    console.print(
        f"{seconds:.0f} s on {found['device']}, peak memory {peak / 2**30:.1f} GiB. "
        f"Report: {workdir / 'report.md'}. Detector: {workdir / 'detector'}."
    )


if __name__ == "__main__":
    common.launch(
        main, config="mntd_mnist5k.py", workdir="runs/mnist5k", distributed=True
    )
