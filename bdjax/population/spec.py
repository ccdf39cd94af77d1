"""Which models a population is made of."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from bdjax import storage
from bdjax.attacks import Attack, get_attack
from bdjax.models import Formulation, Model
from bdjax.population.recipe import Recipe
from bdjax.tasks import Task, get_task
from bdjax.types import UserError


@dataclasses.dataclass(frozen=True)
class Origin:
    """The objects that the models of a population are made of.

    Attributes:
      role: ``"shadow"``, ``"validation"`` or ``"target"``, say: models of different
        roles share no randomness.
      task: what the models classify.
      attack: what is done to each; ``benign`` for clean models.
      network: their architecture, in the formulation that trains them.
      recipe: how each is trained; None of models that were imported.
      control: of benign models, the attack that edits models whose ``null_edit`` these
        get.
    """

    role: str
    task: Task
    attack: Attack
    network: Model
    recipe: Recipe | None
    control: Attack | None = dataclasses.field(default=None, kw_only=True)

    @property
    def name(self) -> str:
        """Such as ``"shadow-jumbo"``, or ``"shadow-jumbo-lenet-short"``.

        The network is named where it is not the task's own, the recipe where it has a
        name.
        """
        others = [
            self.control.name if self.control else "",
            self.network.name if self.network.name != self.task.model else "",
            self.recipe.name if self.recipe else "",
        ]
        return "-".join([self.role, self.attack.name, *filter(None, others)])


@dataclasses.dataclass(frozen=True)
class PopulationSpec(Origin):
    """Which models a population is made of; with the data, all they follow from.

    Attributes:
      recipe: its length in steps, see :meth:`Recipe.for_rows`.
      seed: of the experiment.

    Raises:
      UserError: the objects do not go together.
    """

    recipe: Recipe
    seed: int = 0

    def __post_init__(self):
        if not self.recipe.steps:
            raise UserError(
                f"{self.name}: the recipe is of {self.recipe.epochs} epochs; give its "
                "length in steps, by recipe.for_rows(number of rows)"
            )
        augments = ("none", *self.task.modality.augments)
        if (augment := self.recipe.augment) not in augments:
            raise UserError(
                f"augment {augment!r} is not for {self.task.modality.name}, such as of "
                f"task {self.task.name!r}; there are {list(augments)}"
            )
        if self.control and not (self.control.null_edit and self.attack.is_benign):
            raise UserError(
                f"{self.name}: control {self.control.name!r} needs a null_edit and "
                "benign models; leave it out"
            )

    def to_dict(self) -> dict[str, Any]:
        """What a manifest says of it, JSON."""
        return {
            "task": self.task.name,
            "role": self.role,
            "attack": self.attack.name,
            "architecture": self.network.name,
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "locations": self.attack.locations,
            "control": self.control.name if self.control else "",
        }


def origin_of(store: storage.ChunkStore, formulation: Formulation = "auto") -> Origin:
    """The objects that the manifest of a population on disk names.

    Raises:
      UserError: something that it says is missing, or not known here.
    """
    said: dict[str, Any] = store.recipe
    fields = dict.fromkeys(("role", "attack", "task", "architecture", "locations"), str)
    for name, kind in {**fields, "chunk_size": int}.items():
        if not isinstance(value := said.get(name), kind) or value == 0:
            raise UserError(
                f"the manifest of {store.directory} is damaged: recipe.{name} is "
                f"{value!r}; restore the file"
            )
    task = get_task(said["task"])
    control = said.get("control")
    return Origin(
        said["role"],
        task,
        get_attack(said["attack"], task=task, locations=said["locations"]),
        task.network(said["architecture"], formulation),
        Recipe(**said["recipe"]) if "recipe" in said else None,
        control=get_attack(control, task=task) if control else None,
    )


def check_distinct(specs: Iterable[PopulationSpec]) -> None:
    """Raises ``UserError`` if two different populations go by one name."""
    seen: dict[str, dict[str, Any]] = {}
    for spec in specs:
        said = storage.as_json(spec.to_dict())
        if difference := storage.difference(
            "population", seen.setdefault(spec.name, said), said
        ):
            raise UserError(
                f"two populations are called {spec.name!r}: {difference}; give one of "
                "their recipes a name"
            )
