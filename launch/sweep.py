"""Number of shadows, and query tuning: ``python -m launch.sweep [--config=FILE]``.

Uses the populations of the ``launch.mntd`` run in ``--workdir``, and trains none.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from rich.console import Console

from bdjax import telemetry
from bdjax.experiments import sweep, sweep_report
from bdjax.experiments.own import read_config
from bdjax.types import UserError
from launch import common


def options_of(
    sizes: list[str], variants: list[str], equal_steps: bool
) -> sweep.SweepConfig:
    """The flags as a configuration.

    Raises:
      UserError: a size is no number, or see :class:`sweep.SweepConfig`.
    """
    for size in sizes:
        if not size.isdecimal():
            raise UserError(f"size {size!r} is no number; write --sizes=8,16,32")
    return sweep.SweepConfig(tuple(map(int, sizes)), tuple(variants), equal_steps)


def main(config: ConfigDict, workdir: Path) -> None:
    """Sweeps as the flags say and prints what it found."""
    flag, console, clock = flags.FLAGS, Console(), telemetry.Clock()
    experiment = read_config(config.to_dict())
    options = options_of(flag.sizes, flag.variants, flag.equal_steps)
    swept = sweep.run(experiment, options, workdir, clock=clock, console=console)
    if swept is None:
        return
    found = sweep_report.write(swept, workdir, clock)
    for table in sweep_report.tables(swept):
        console.print(table.to_rich())
    for line in found["findings"]:
        console.print(f"{line}.", markup=False, highlight=False)
    seconds = found["wall_seconds"]["total"]
    name = "sweep-equal_steps" if options.equal_steps else "sweep"
    console.print(
        f"{seconds:.0f} s on {found['device']}. Report: {workdir / name}.md",
        soft_wrap=True,
    )


if __name__ == "__main__":
    flags.DEFINE_list("sizes", [], "Shadows of each fit; empty for 8, 16, ..., all.")
    flags.DEFINE_list(
        "variants", ["jumbo", "no_tuning"], "What to fit; also: one_class."
    )
    flags.DEFINE_bool("equal_steps", False, "As many steps for few shadows as for all.")
    common.launch(main, config="mntd_mnist5k.py", workdir="runs/mnist5k")
