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
class PopulationSpec:
    """Which models a population is made of; with the data, all they follow from.

    Attributes:
      role: ``"shadow"``, ``"validation"`` or ``"target"``, say: models of different
        roles share no randomness.
      task: what the models classify.
      attack: what is done to each; ``benign`` for clean models.
      network: their architecture, in the formulation that trains them.
      recipe: how each is trained, its length in steps (:meth:`Recipe.for_rows`).
      seed: of the experiment.
      control: of benign models, the attack that edits models whose ``null_edit`` these
        get.

    Raises:
      UserError: these do not go together.
    """

    role: str
    task: Task
    attack: Attack
    network: Model
    recipe: Recipe
    seed: int = 0
    control: Attack | None = None

    def __post_init__(self):
        if not self.recipe.steps:
            raise UserError(
                f"{self.name}: the recipe's length is {self.recipe.epochs} epochs; "
                "give it in steps, by recipe.for_rows(number of rows)"
            )
        augments = ("none", *self.task.modality.augments)
        if (augment := self.recipe.augment) not in augments:
            raise UserError(
                f"augment {augment!r} is not for {self.task.modality.name}, such as of "
                f"task {self.task.name!r}; there are {list(augments)}"
            )
        if self.control and (
            self.control.null_edit is None or not self.attack.is_benign
        ):
            raise UserError(
                f"{self.name}: control {self.control.name!r} needs a null_edit and "
                "benign models; leave it out"
            )

    @property
    def name(self) -> str:
        """Such as ``"shadow-jumbo"``, or ``"shadow-jumbo-lenet-short"``.

        The network is named where it is not the task's own, the recipe where it has a
        name.
        """
        return _name(
            self.role, self.attack, self.control, self.task, self.network, self.recipe
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


@dataclasses.dataclass(frozen=True)
class Origin:
    """The objects that a population on disk is made of.

    Attributes:
      name: such as ``"shadow-jumbo"``.
      role: see :class:`PopulationSpec`.
      task: likewise.
      attack: likewise; every model has its own trigger.
      network: likewise.
      recipe: likewise; None of models that were imported.
      control: likewise.
    """

    name: str
    role: str
    task: Task
    attack: Attack
    network: Model
    recipe: Recipe | None
    control: Attack | None


def origin_of(store: storage.ChunkStore, formulation: Formulation = "auto") -> Origin:
    """The objects that the manifest of a population on disk names.

    Raises:
      UserError: something that it says is missing, or not known here.
    """
    said = checked_recipe(store)
    role, task = said["role"], get_task(said["task"])
    attack = get_attack(said["attack"], task=task, locations=said["locations"])
    network = task.network(said["architecture"], formulation)
    recipe = Recipe(**said["recipe"]) if "recipe" in said else None
    control = said.get("control") and get_attack(said["control"], task=task)
    name = _name(role, attack, control, task, network, recipe)
    return Origin(name, role, task, attack, network, recipe, control or None)


def _name(
    role: str,
    attack: Attack,
    control: Attack | None,
    task: Task,
    network: Model,
    recipe: Recipe | None,
) -> str:
    others = [
        control.name if control else "",
        network.name if network.name != task.model else "",
        recipe.name if recipe else "",
    ]
    return "-".join([role, attack.name, *filter(None, others)])


def checked_recipe(store: storage.ChunkStore) -> dict[str, Any]:
    """The manifest's recipe, with all that readers of a population ask of it.

    Raises:
      UserError: something is missing.
    """
    fields = dict.fromkeys(("role", "attack", "task", "architecture", "locations"), str)
    for name, kind in {**fields, "chunk_size": int}.items():
        if not isinstance(value := store.recipe.get(name), kind) or value == 0:
            raise UserError(
                f"the manifest of {store.directory} is damaged: recipe.{name} is "
                f"{value!r}; restore the file"
            )
    return store.recipe


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
