"""What an MNTD experiment will cost on a device, before it runs.

Arithmetic and traffic are counted from shapes (:mod:`bdjax.population.cost`). Every
population and fit then takes as long as its slowest part on the device: arithmetic,
memory bandwidth or disk.
"""

import dataclasses
import functools
from typing import Any

from bdjax.attacks import Attack, get_attack
from bdjax.experiments import populations, rows
from bdjax.experiments.config import MNTDConfig
from bdjax.experiments.devices import Device
from bdjax.experiments.rows import Row
from bdjax.models import Model
from bdjax.population import Examples, Execution, Recipe, cost
from bdjax.population.batching import SHARE, widest
from bdjax.tasks import get_task


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an experiment will cost.

    Attributes:
      device: where.
      precision: of the shadow models' products.
      rows: populations, then meta-training.
      step: of one shadow model; its ``flops`` are what the formulation executes.
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


def shadow_step(config: MNTDConfig) -> cost.StepCost:
    """One step of one shadow model, as it will run; compiles it for its memory."""
    # Once for all ways of running it.
    return _shadow_step(dataclasses.replace(config, execution=Execution()))


@functools.cache
def _shadow_step(config: MNTDConfig) -> cost.StepCost:
    return cost.step_cost(*_shadow(config, useful=False))


def make_plan(config: MNTDConfig, device: Device) -> Plan:
    """Predicts what an experiment costs on a device. Compiles one step, runs nothing.

    Raises:
      UserError: the configuration names something that is not there.
    """
    wanted = populations.specs(config)
    useful, attack, recipe, examples = _shadow(config, useful=True)
    step = shadow_step(config)
    # Held on a device beside the models that train: the data, and a chunk's results
    # and batches.
    chunk = rows.chunk_size(config, max(len(ids) for _, ids in wanted), device)
    lanes = -(-chunk // device.count)
    beside = cost.held_bytes(examples) + lanes * (
        step.variables_bytes + 5 * recipe.steps * recipe.batch_size
    )
    room = max(0, int(SHARE * device.memory_bytes - beside))
    fitting = 1 if device.is_cpu else widest(lanes, room, step.memory_bytes)
    width = min(config.execution.width or fitting, lanes)
    trained = sum(len(ids) for _, ids in wanted) * step.variables_bytes
    training = beside + width * step.memory_bytes
    memory = max(training, trained)
    if device.is_cpu:
        # One memory for all, the populations on the host, too; a fit has shadows twice
        # more, joined and as its own.
        memory = trained + max(device.count * training, 2 * trained)
    plan = Plan(
        device=device,
        precision=recipe.precision,
        rows=(
            *(
                rows.population_row(config, spec, len(ids), width=width, device=device)
                for spec, ids in wanted
            ),
            *(rows.meta_row(config, v, device=device) for v in config.variants),
        ),
        step=step,
        useful_flops=cost.step_work(useful, attack, recipe, examples).flops,
        width=width,
        memory_bytes=memory,
    )
    return dataclasses.replace(
        plan, notes=tuple(_notes(plan, lanes, room // step.memory_bytes))
    )


def _shadow(
    config: MNTDConfig, *, useful: bool
) -> tuple[Model, Attack, Recipe, Examples]:
    model = rows.networks_of(config)[0 if useful else 1]
    attack = get_attack(config.population.shadow_attack, task=get_task(config.task))
    recipe = config.shadow.recipe(config.data.defender)
    return model, attack, recipe, rows.examples_of(config)


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
