"""DL-TND and DF-TND on a population: ``python -m launch.tnd [--config=FILE[:arg]]``."""

from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from bdjax import telemetry
from bdjax.experiments import findings, tnd, tnd_report, tnd_tables
from bdjax.experiments.config import from_mapping
from bdjax.experiments.tnd_config import TNDConfig
from launch import common


def main(config: ConfigDict, workdir: Path) -> None:
    """Runs the experiment and prints what it found."""
    console, clock = Console(), telemetry.Clock()
    experiment = from_mapping(TNDConfig, config.to_dict())
    outcome = tnd.run(experiment, workdir, clock=clock, console=console)
    if outcome is None:  # process 0 has the rest to do
        return
    found = tnd_report.write(outcome, workdir, clock)
    for table in tnd_tables.tables(outcome):
        console.print(table.to_rich())
    findings.show(found["findings"], console)
    seconds, peak = found["wall_seconds"]["total"], found["peak_memory_bytes"]
    console.print(
        f"{seconds:.0f} s on {found['device']}, peak memory {peak / 2**30:.1f} GiB. "
        f"Report: {workdir / 'report.md'}."
    )


if __name__ == "__main__":
    common.launch(
        main, config="dltnd_mnist5k.py", workdir="runs/dltnd5k", distributed=True
    )
