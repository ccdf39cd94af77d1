"""How models are trained (which changes them), and how that is run (which does not)."""

import dataclasses
import re
from typing import Any, Literal

import jax

from bdjax import checks
from bdjax.devices import local_devices
from bdjax.models import PRECISIONS, Precision
from bdjax.types import UserError

Optimizer = Literal["adam", "sgd"]
Schedule = Literal["constant", "cosine"]
Augment = Literal["none", "crop_flip"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one model is trained on cross-entropy.

    The defaults are MNTD's: Adam, no schedule, no decay, no augmentation.

    Attributes:
      steps: optimiser steps; 0 to give ``epochs`` instead.
      epochs: passes over the clean training examples; 0 to give ``steps`` instead.
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
      name: part of the names of populations; needed where two recipes meet.
    """

    steps: int = 0
    epochs: int = 0
    batch_size: int = 100
    learning_rate: float = 1e-3
    poisoned_length: str = "equal"
    diversity: float = 0.0
    precision: Precision = "float32"
    optimizer: Optimizer = "adam"
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    augment: Augment = "none"
    name: str = ""

    def __post_init__(self):
        if bool(self.steps) == bool(self.epochs):
            raise UserError(
                f"steps is {self.steps} and epochs {self.epochs}; give one of the two"
            )
        length = {"steps": self.steps} if self.steps else {"epochs": self.epochs}
        checks.at_least(1, **length, batch_size=self.batch_size)
        checks.above_zero(learning_rate=self.learning_rate)
        checks.within("[0, 1)", diversity=self.diversity)
        checks.not_negative(weight_decay=self.weight_decay)
        checks.one_of(("equal", "official"), poisoned_length=self.poisoned_length)
        checks.one_of(PRECISIONS, precision=self.precision)
        checks.one_of(Optimizer, optimizer=self.optimizer)
        checks.one_of(Schedule, schedule=self.schedule)
        checks.one_of(Augment, augment=self.augment)
        if not re.fullmatch(r"[\w.]*", self.name):
            raise UserError(
                f"a recipe's name is {self.name!r}; use letters, digits, _ and ."
            )

    def for_rows(self, rows: int) -> "Recipe":
        """The same with its length in steps, for so many clean examples."""
        if self.steps:
            return self
        steps = max(1, round(self.epochs * rows / self.batch_size))
        return dataclasses.replace(self, steps=steps, epochs=0)

    def to_dict(self) -> dict[str, Any]:
        """All fields."""
        return dataclasses.asdict(self)

    @property
    def varies(self) -> bool:
        """Whether models of this recipe train for different numbers of steps."""
        return self.diversity > 0 or self.poisoned_length == "official"


@dataclasses.dataclass(frozen=True)
class Execution:
    """How training is run. Nothing here changes a result beyond rounding.

    Attributes:
      chunk_size: models trained and committed together, which is what a kill can
        cost; 0 chooses by backend.
      width: models advanced at once on a device by ``vmap``; 0 chooses by backend
        and memory, see :func:`bdjax.population.batching.choose_width`.
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
