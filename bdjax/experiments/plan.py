"""What an experiment will cost on a device, before it runs.

Arithmetic and traffic are counted from shapes (:mod:`bdjax.population.cost`). Every
population and fit then takes as long as its slowest part on the device: arithmetic,
memory bandwidth or disk.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from bdjax.detectors.mntd import MNTD
from bdjax.experiments import costs, devices, runner, zoo
from bdjax.experiments.config import Experiment
from bdjax.experiments.costs import Row
from bdjax.experiments.devices import Device
from bdjax.population import PopulationSpec, cost
from bdjax.population.batching import SHARE, widest


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an experiment will cost.

    Attributes:
      device: where.
      precision: of the shadow models' products.
      rows: populations, then fits of meta-classifiers.
      step: of one model; its ``flops`` are what the formulation executes.
      useful_flops: of that step.
      width: models side by side on a device.
      memory_bytes: peak on a device; on a CPU, of the process.
      notes: what a reader must know, one sentence each.
    """

    device: Device
    precision: str
    rows: tuple[Row, ...]
    step: cost.StepCost
    useful_flops: int
    width: int
    memory_bytes: int
    notes: tuple[str, ...] = ()

    def total(self, field: str) -> float:
        """Sum of a field of all rows, such as ``"seconds"``."""
        return sum(getattr(row, field) for row in self.rows)

    @property
    def bound(self) -> str:
        """The part that bounds the rows that take longest together."""
        parts: dict[str, float] = {}
        for row in self.rows:
            parts[row.bound] = parts.get(row.bound, 0) + row.seconds
        return max(parts, key=lambda name: parts[name])

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        fields = ("seconds", "model_steps", "flops", "bytes", "disk_bytes")
        total = {field: self.total(field) for field in fields} | {"bound": self.bound}
        return dataclasses.asdict(self) | {"step": self.step._asdict(), "total": total}


def predict(
    experiment: Experiment, name: str, *, count: int = 0, workdir: Path = Path()
) -> Plan:
    """The plan of an experiment on a device that is named.

    Args:
      experiment: it.
      name: a data sheet's, or ``"here"``, which is measured.
      count: devices; 0 for one, or all that are here.
      workdir: on the disk to time; it need not exist yet.

    Raises:
      UserError: no such device, or the configuration is at fault.
    """
    devices.check(name)  # before anything is compiled for it
    experiment = zoo.resolve(experiment)
    device = devices.get_device(
        name,
        count=count or experiment.execution.devices,
        precision=_first_trojaned(experiment).recipe.precision,
        working_set=model_step(experiment).memory_bytes,
        directory=workdir,
    )
    return make_plan(experiment, device)


def model_step(experiment: Experiment) -> cost.StepCost:
    """One step of one trojaned model, as it will run; compiles it for its memory."""
    spec = _first_trojaned(experiment)
    parts = spec.network, spec.attack, spec.recipe, costs.examples_of(experiment)
    return _step_cost(*parts)


_step_cost = functools.cache(cost.step_cost)  # once for all ways of running it


def _first_trojaned(experiment: Experiment) -> PopulationSpec:
    """What the plan shows one step of: of the shadows, where there are some."""
    every = [spec for spec, _ in zoo.specs(experiment)]
    return next((spec for spec in every if not spec.attack.is_benign), every[0])


def make_plan(experiment: Experiment, device: Device) -> Plan:
    """Predicts what an experiment costs on a device. Compiles one step, runs nothing.

    Raises:
      UserError: the configuration names something that is not there.
    """
    wanted = zoo.specs(experiment)
    spec, examples = _first_trojaned(experiment), costs.examples_of(experiment)
    recipe, step = spec.recipe, model_step(experiment)
    useful, _ = costs.networks_of(experiment, spec.network.name)
    # Held on a device beside the models that train: the data, and a chunk's results
    # and batches.
    chunk = costs.chunk_size(experiment, max(len(ids) for _, ids in wanted), device)
    lanes = -(-chunk // device.count)
    beside = cost.held_bytes(examples) + lanes * (
        step.variables_bytes + 5 * recipe.steps * recipe.batch_size
    )
    room = max(0, int(SHARE * device.memory_bytes - beside))
    fitting = 1 if device.is_cpu else widest(lanes, room, step.memory_bytes)
    width = min(experiment.execution.width or fitting, lanes)
    trained = sum(len(ids) for _, ids in wanted) * step.variables_bytes
    training = beside + width * step.memory_bytes
    memory = max(training, trained)
    if device.is_cpu:
        # One memory for all, the populations on the host, too; a fit has shadows twice
        # more, joined and as its own.
        memory = trained + max(device.count * training, 2 * trained)
    asked = runner.detectors_of(experiment)
    shadows = 2 * min(experiment.zoo.count("shadow"))
    fits = [
        costs.fit_row(
            experiment, each.slug, each.fit, each.shadows or shadows, device=device
        )
        for each in asked
        if isinstance(each, MNTD)
    ]
    plan = Plan(
        device=device,
        precision=recipe.precision,
        rows=(
            *(
                costs.population_row(experiment, each, batching=width, device=device)
                for each in wanted
            ),
            *fits,
        ),
        step=step,
        useful_flops=cost.step_work(useful, spec.attack, recipe, examples).flops,
        width=width,
        memory_bytes=memory,
    )
    others = [each.title for each in asked if not isinstance(each, MNTD)]
    notes = [*_notes(plan, lanes, room // step.memory_bytes)]
    if others:
        notes.append(f"not modelled: {', '.join(others)}")
    return dataclasses.replace(plan, notes=tuple(notes))


def _notes(plan: Plan, lanes: int, room: int) -> list[str]:
    device, launches = plan.device, plan.total("launches")
    shares = device.efficiency
    how = "assumed, not measured"
    if device.is_measured:
        how = "measured once, on the MNIST network and two x86-64 cores"
    notes = [
        f"efficiency {shares['training']:.0%} of peak in training and "
        f"{shares['meta']:.0%} in meta-training: {how}",
        "not modelled: compilation, launching kernels, reading data, figures",
    ]
    if not device.is_cpu:
        notes.append(
            f"{launches:,.0f} steps follow one another: every 0.1 ms that launching "
            f"one takes adds {launches / 1e4:,.0f} s"
        )
    asked = sum(row.models * row.steps for row in plan.rows)
    if plan.total("model_steps") > 1.05 * asked:
        notes.append(
            f"{1 - asked / plan.total('model_steps'):.0%} of the model-steps only fill "
            "a last chunk up, or all devices; execution.chunk_size should divide the "
            "numbers of models, and the number of devices it"
        )
    if not device.is_cpu and room > lanes == plan.width:
        notes.append(
            f"memory has room for {room} models side by side; execution.chunk_size "
            f"keeps it to {lanes} a device"
        )
    if plan.memory_bytes > device.memory_bytes:
        notes.append(
            f"does not fit: {plan.memory_bytes / 1e9:.1f} GB are needed and "
            f"{device.memory_bytes / 1e9:.1f} there; lower execution.width, "
            "execution.chunk_size or the number of models"
        )
    return notes
