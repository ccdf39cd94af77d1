"""``bdjax plan``: what an experiment will cost; nothing is trained.

``--device=here`` measures this machine for about two seconds.
"""

import argparse
import os
from pathlib import Path

from rich.console import Console

from bdjax import storage
from bdjax.cli import common
from bdjax.evaluation import Table
from bdjax.experiments import devices
from bdjax.experiments.plan import Plan, predict


def run(options: argparse.Namespace) -> None:
    """Plans as the options say and prints it."""
    experiment, workdir = common.experiment_of(options)
    found = predict(experiment, options.device, count=options.devices, workdir=workdir)
    console = Console(width=max(112, Console().width))
    console.print(table(found).to_rich())
    for line in lines(found):
        common.say(console, line)
    if options.out:
        storage.write_json(Path(options.out), found.to_dict())


def table(plan: Plan) -> Table:
    """A row a population or fit, and the total."""
    rows = [
        (
            row.name,
            f"{row.models:,}",
            f"{row.steps:,.0f}",
            f"{row.model_steps:,.0f}",
            _scaled(row.flops, "FLOP"),
            _scaled(row.bytes, "B"),
            _scaled(row.disk_bytes, "B") if row.disk_bytes else "",
            _duration(row.seconds),
            row.bound,
        )
        for row in plan.rows
    ]
    total = (
        "total",
        *("", "", f"{plan.total('model_steps'):,.0f}"),
        _scaled(plan.total("flops"), "FLOP"),
        _scaled(plan.total("bytes"), "B"),
        _scaled(plan.total("disk_bytes"), "B"),
        _duration(plan.total("seconds")),
        plan.bound,
    )
    return Table(
        title=f"Predicted for {plan.device.count} x {plan.device.name}, "
        f"{plan.precision}; nothing has run",
        columns=(
            *("", "models", "steps", "model-steps", "useful", "moved", "disk"),
            *("time", "bound by"),
        ),
        rows=(*rows, total),
    )


def lines(plan: Plan) -> list[str]:
    """What stands below the table: the step, the memory, the device and the notes."""
    step, device = plan.step, plan.device
    return [
        f"One step of one shadow model: {_scaled(plan.useful_flops, 'FLOP')} useful, "
        f"{_scaled(step.flops, 'FLOP')} executed, {_scaled(step.bytes, 'B')} moved at "
        f"least; {_scaled(step.memory_bytes, 'B')} of memory a model.",
        f"Peak memory at width {plan.width}: {_scaled(plan.memory_bytes, 'B')} of "
        f"{_scaled(device.memory_bytes, 'B')}"
        f"{'' if device.is_cpu else ' a device'}.",
        f"One device: {_scaled(device.peak_in(plan.precision), 'FLOP/s')} in "
        f"{plan.precision}, {_scaled(device.bandwidth, 'B/s')}; disk "
        f"{_scaled(device.disk, 'B/s')}"
        f"{'' if device.name == devices.HERE else ' (assumed)'}.",
        *_load(device),
        *(f"Note: {note}." for note in plan.notes),
    ]


def _load(device: devices.Device) -> list[str]:
    """A word of warning where others worked on the machine that was measured."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if device.name != devices.HERE or load < 0.3 * cores:
        return []
    return [f"Note: measured at a load of {load:.1f} on {cores} cores; idle is faster."]


def _scaled(value: float, unit: str) -> str:
    for factor, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value / 1e6:.3g} M{unit}"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
