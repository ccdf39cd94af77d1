"""Which models a population is made of, and what is known of each."""

import dataclasses
import os
from typing import Any

import jax
import numpy as np

from bdjax import storage, tree
from bdjax.attacks import Attack, Locations, Trigger, get_attack
from bdjax.population.contradictions import contradiction
from bdjax.population.recipe import Recipe, without_defaults
from bdjax.population.train import Quality
from bdjax.population.trees import trigger_dict, trigger_from
from bdjax.tasks import get_task
from bdjax.types import PyTree, UserError, Variables

_PARTS = {"ids", "variables", "triggers", "quality"}
_FIX = "launch.population --repair trains it again"


@dataclasses.dataclass(frozen=True)
class PopulationSpec:
    """Which models a population is made of; with the data, all they follow from.

    Attributes:
      task: key in ``bdjax.tasks.TASKS``.
      role: ``"shadow"``, ``"validation"`` or ``"target"``, say: models of different
        roles share no randomness.
      attack: key in ``bdjax.attacks.ATTACKS``; ``"benign"`` for clean models.
      recipe: how each model is trained.
      seed: of the experiment.
      locations: where patches may lie, see :func:`bdjax.attacks.get_attack`.
      architecture: key in ``bdjax.models.MODELS``; the task's if empty. No part of the
        name: populations that differ in it alone need directories of their own.
    """

    task: str
    role: str
    attack: str
    recipe: Recipe
    seed: int = 0
    locations: Locations = "all"
    architecture: str = ""

    def resolve(self) -> Attack:
        """The attack, once it and the recipe are known to suit the task.

        Raises:
          UserError: they do not.
        """
        task = get_task(self.task)
        augments = ("none", *task.modality.augments)
        if self.recipe.augment not in augments:
            raise UserError(
                f"augment {self.recipe.augment!r} is not for {task.modality.name}, "
                f"such as of task {task.name!r}; there are {list(augments)}"
            )
        return get_attack(self.attack, task=task, locations=self.locations)

    def to_dict(self) -> dict[str, Any]:
        """What a manifest says of it: an architecture only if it is not the task's."""
        plain = self
        if self.architecture == get_task(self.task).model:
            plain = dataclasses.replace(self, architecture="")
        fields = without_defaults(plain, ("architecture",))
        return fields | {"recipe": self.recipe.to_dict()}

    @property
    def name(self) -> str:
        """Such as ``"shadow-jumbo"``."""
        return f"{self.role}-{self.attack}"


@dataclasses.dataclass(frozen=True)
class Population:
    """Trained models and what is known of each; all NumPy.

    Attributes:
      name: such as ``"shadow-jumbo"``.
      attack: its attack; every model has its own trigger.
      ids_M: int, what the models are called.
      variables: stacked variables, leaves ``[M, ...]``.
      triggers: stacked triggers, leaves ``[M, ...]``.
      quality: stacked float32 ``[M]``; see :class:`Quality`.
      digest: of what it was made from, see :class:`bdjax.storage.ChunkStore`; empty
        where that is not known.
    """

    name: str
    attack: str
    ids_M: np.ndarray
    variables: Variables = dataclasses.field(repr=False)
    triggers: Trigger = dataclasses.field(repr=False)
    quality: Quality = dataclasses.field(repr=False)
    digest: str = ""

    def __len__(self) -> int:
        return len(self.ids_M)

    def __getitem__(self, models: np.ndarray | slice) -> "Population":
        """Some of the models: an index array or a slice."""
        parts = self.ids_M, self.variables, self.triggers, self.quality
        ids_M, variables, triggers, quality = tree.index(parts, models)
        return dataclasses.replace(
            self, ids_M=ids_M, variables=variables, triggers=triggers, quality=quality
        )

    def record(self, i: int) -> dict[str, Any]:
        """What is known of the ``i``-th model: id, trigger, accuracy, ASR, loss."""
        trigger, quality = tree.index((self.triggers, self.quality), i)
        known = trigger_dict(trigger) | quality._asdict()
        return {"id": int(self.ids_M[i]), "attack": self.attack} | known

    @property
    def is_trojaned(self) -> bool:
        """Whether these models were attacked: their poisoning rates are not 0."""
        return bool(np.any(np.asarray(self.triggers.rate) > 0))

    @property
    def diverged_ids(self) -> list[int]:
        """Ids of models whose weights are not finite."""
        return self.ids_M[np.isnan(self.quality.loss)].tolist()

    def without_diverged(self) -> "Population":
        """The models that training did not break."""
        keep = np.flatnonzero(~np.isnan(self.quality.loss))
        if len(keep) == len(self):
            return self
        return self[keep]


def models_of(store: storage.ChunkStore, n: int) -> range:
    """Which of the models that the population is to have are in chunk ``n``."""
    size, ids = store.recipe["chunk_size"], store.ids
    return range(max(ids.start, n * size), min(ids.stop, (n + 1) * size))


def read_chunk(store: storage.ChunkStore, n: int) -> PyTree:
    """Reads a chunk and checks, beyond its checksums, that it is the one asked for.

    Returns:
      ``{"ids": [m], "variables": ..., "triggers": ..., "quality": ...}``, all leaves
      NumPy with the chunk's models as leading axis.

    Raises:
      UserError: it is missing or damaged, or holds something else than its models, or
        what it says of them contradicts itself.
    """
    chunk = store.load(n)
    size, wanted = store.recipe["chunk_size"], models_of(store, n)
    if not isinstance(chunk, dict) or set(chunk) != _PARTS:
        raise UserError(f"{store.path(n)} holds no models; {_FIX}")
    ids = chunk["ids"].tolist()
    if ids != list(range(n * size, n * size + len(ids))) or len(ids) > size:
        raise UserError(
            f"{store.path(n)} holds models {ids[0]} to {ids[-1]}, not {n * size} to "
            f"{(n + 1) * size - 1}; {_FIX}"
        )
    if wanted and wanted[-1] not in ids:
        raise UserError(
            f"{store.path(n)} lacks model {wanted[-1]}; --repair trains it again"
        )
    if any(len(leaf) != len(ids) for leaf in jax.tree.leaves(chunk)):
        raise UserError(
            f"{store.path(n)} has not one entry a model; --repair trains it again"
        )
    rate_M, quality = chunk["triggers"]["rate"], chunk["quality"]
    if fault := contradiction(
        store.recipe["attack"], chunk["variables"], rate_M, **quality
    ):
        raise UserError(f"{store.path(n)}: model {ids[fault.row]} {fault.what}; {_FIX}")
    return chunk


def load_population(
    directory: str | os.PathLike[str], ids: range | None = None
) -> Population:
    """Reads a population back.

    Args:
      directory: the population's own directory.
      ids: the models to read; all that the population is to have if None.

    Raises:
      UserError: there is none, models are still missing, or a chunk is damaged.
    """
    store = storage.read_population(directory)
    ids = store.ids if ids is None else ids
    if not ids or ids.step != 1 or ids.start < 0:
        raise UserError(
            f"{directory}: asked for models {ids}; ask for 1 or more, from 0 on, in "
            "steps of 1"
        )
    missing = sorted(set(store.chunks_of(ids)) - set(store.committed()))
    if missing:
        raise UserError(
            f"{directory} is incomplete: it lacks chunks {missing} of models "
            f"{ids.start} to {ids.stop - 1}; resume its training"
        )
    chunks = [read_chunk(store, n) for n in store.chunks_of(ids)]
    joined = tree.concatenate(chunks)
    wanted = np.isin(joined["ids"], np.arange(ids.start, ids.stop))
    if not wanted.all():  # the last chunk is always trained whole
        joined = tree.index(joined, np.flatnonzero(wanted))
    attack = get_attack(
        store.recipe["attack"],
        task=get_task(store.recipe["task"]),
        locations=store.recipe.get("locations", "all"),
    )
    return Population(
        name=f"{store.recipe['role']}-{store.recipe['attack']}",
        attack=store.recipe["attack"],
        ids_M=joined["ids"],
        variables=joined["variables"],
        triggers=trigger_from(attack, joined["triggers"]),
        quality=Quality(**joined["quality"]),
        digest=store.digest,
    )
