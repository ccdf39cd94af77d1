"""How models are trained (which changes them), and how that is run (which does not)."""

import dataclasses
from typing import Any, Literal

import jax

from bdjax import checks
from bdjax.devices import local_devices
from bdjax.models import PRECISIONS, Precision

Optimizer = Literal["adam", "sgd"]
Schedule = Literal["constant", "cosine"]
Augment = Literal["none", "crop_flip"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one model is trained on cross-entropy.

    The defaults are MNTD's: Adam, no schedule, no decay, no augmentation.

    Attributes:
      steps: optimiser steps.
      batch_size: examples a step.
      learning_rate: the optimiser's, at the start.
      poisoned_length: ``"equal"`` gives poisoned models as many steps as clean ones;
        ``"official"`` as many epochs, hence up to half as many steps more.
      precision: of the operands of matrix products, one of ``PRECISIONS``; all else
        is float32. ``"tf32"`` is float32 where the hardware has no such products.
      diversity: in [0, 1). Above 0, every model trains on its own random share of the
        examples and for a random share of the steps, both uniform in
        [1 - diversity, 1]; so shadow models differ in more than their start.
      optimizer: ``"adam"``, or ``"sgd"`` with a momentum of 0.9 (not Nesterov's).
      weight_decay: 0 or more; so many times a kernel is added to its gradient, before
        the optimiser sees it. Biases and normalisations do not decay.
      schedule: of the learning rate: ``"constant"``, or ``"cosine"``, which takes it to
        0 over each model's own steps.
      augment: ``"none"``, or ``"crop_flip"``: images are padded with 4 zeros, cropped
        back at random and flipped at random, *before* triggers are put on.
    """

    steps: int
    batch_size: int = 100
    learning_rate: float = 1e-3
    poisoned_length: str = "equal"
    diversity: float = 0.0
    precision: Precision = "float32"
    optimizer: Optimizer = "adam"
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    augment: Augment = "none"

    def __post_init__(self):
        checks.at_least(1, steps=self.steps, batch_size=self.batch_size)
        checks.above_zero(learning_rate=self.learning_rate)
        checks.within("[0, 1)", diversity=self.diversity)
        checks.not_negative(weight_decay=self.weight_decay)
        checks.one_of(("equal", "official"), poisoned_length=self.poisoned_length)
        checks.one_of(PRECISIONS, precision=self.precision)
        checks.one_of(Optimizer, optimizer=self.optimizer)
        checks.one_of(Schedule, schedule=self.schedule)
        checks.one_of(Augment, augment=self.augment)

    def to_dict(self) -> dict[str, Any]:
        """All fields, but those that older manifests lack only where they are set."""
        return without_defaults(self, LATER_FIELDS)

    @property
    def varies(self) -> bool:
        """Whether models of this recipe train for different numbers of steps."""
        return self.diversity > 0 or self.poisoned_length == "official"


# Of a recipe (and of what makes one), since there were populations without.
LATER_FIELDS = ("optimizer", "weight_decay", "schedule", "augment")


def without_defaults(instance: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """A dataclass as a dict, without those of the fields ``names`` that were not set.

    So that what was written before these fields came compares equal.
    """
    fields = dataclasses.asdict(instance)
    default = {f.name: f.default for f in dataclasses.fields(instance)}
    return {
        name: value
        for name, value in fields.items()
        if name not in names or value != default[name]
    }


@dataclasses.dataclass(frozen=True)
class Execution:
    """How training is run. Nothing here changes a result beyond rounding.

    Attributes:
      chunk_size: models trained and committed together, which is what a kill can
        cost; 0 chooses by backend.
      width: models advanced at once on a device by ``vmap``; 0 chooses by backend
        and memory, see :func:`bdjax.population.width.choose_width`.
      devices: local devices to use; 0 means all.
    """

    chunk_size: int = 0
    width: int = 0
    devices: int = 0

    def __post_init__(self):
        checks.at_least(0, **dataclasses.asdict(self))

    def local_devices(self) -> list[jax.Device]:
        """The devices to use.

        Raises:
          UserError: this machine has fewer.
        """
        return local_devices(self.devices)


def chunk_size_for(count: int, devices: int, *, cpu: bool) -> int:
    """Models a chunk where ``Execution.chunk_size`` is 0.

    On a CPU, few enough for a commit every some seconds; on an accelerator, enough
    models side by side to keep it busy.

    Args:
      count: models of the population.
      devices: local devices that train it.
      cpu: whether these are a CPU's.
    """
    return min(devices * (4 if cpu else 256), count)
