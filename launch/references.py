"""Trains and judges reference networks, and sets the white box's thresholds on them.

``python -m launch.references --mnist=mnist.npz --cifar10=cifar10.npz``; resumes.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from rich.console import Console

from bdjax import telemetry
from bdjax.experiments import references, tnd, tnd_report
from bdjax.experiments.config import from_mapping
from bdjax.experiments.tnd_config import TNDConfig
from bdjax.types import UserError
from configs import references as regimes
from launch import common

flags.DEFINE_string("mnist", "", "An npz of MNIST; regimes that need it are left out.")
flags.DEFINE_string("cifar10", "", "Likewise of CIFAR-10.")
flags.DEFINE_list("regimes", list(regimes.REGIMES), "Which of them, of all.")
flags.DEFINE_string("out", "", "Where the calibrations go; WORKDIR/calibrations.")


def main(config: ConfigDict, workdir: Path) -> None:
    """Every regime is a run of ``launch.tnd`` in a directory of its own."""
    if config.to_dict() != regimes.get_config().to_dict():
        raise UserError("launch.references takes no --config; choose with --regimes")
    console, clock = Console(), telemetry.Clock()
    found: dict[str, list[references.Reference]] = {}
    outcome = None
    for name in flags.FLAGS.regimes:
        if name not in regimes.REGIMES:
            raise UserError(f"no regime {name!r}; there are {list(regimes.REGIMES)}")
        chosen = regimes.get_config(name)
        if chosen.data.source == "npz":
            chosen.data.path = flags.FLAGS[chosen.task].value
            if not chosen.data.path:
                console.print(f"{name}: left out, for want of --{chosen.task}")
                continue
        experiment = from_mapping(TNDConfig, chosen.to_dict())
        outcome = tnd.run(experiment, workdir / name, clock=clock, console=console)
        assert outcome  # one process
        tnd_report.write(outcome, workdir / name, clock)
        architecture = regimes.REGIMES[name].architecture
        for variant, some in references.collect(name, architecture, outcome).items():
            found.setdefault(variant, []).extend(some)
    if outcome is None:
        raise UserError("no regime is left; give --mnist or --cifar10")
    out = Path(flags.FLAGS.out or workdir / "calibrations")
    tables = references.write(out, found, outcome)
    for table in tables.values():
        console.print(table.to_rich())
    text = "\n\n".join(table.to_markdown() for table in tables.values())
    (out / "thresholds.md").write_text(text + "\n", encoding="utf-8")
    seconds = sum(clock.seconds.values())
    console.print(f"{seconds:.0f} s. Calibrations: {out}.")


if __name__ == "__main__":
    common.launch(main, config="references.py", workdir="runs/references")
