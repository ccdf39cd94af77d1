"""Populations: chunk after chunk of models trained, committed and read back."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import prng, storage, tree
from bdjax.attacks import Locations, Trigger, get_attack
from bdjax.models import Formulation, get_model
from bdjax.population.recipe import Execution, Recipe
from bdjax.population.train import Examples, Quality, train_models
from bdjax.tasks import get_task
from bdjax.types import UserError, Variables

Callback = Callable[[int, Quality | None], None]


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
    """

    task: str
    role: str
    attack: str
    recipe: Recipe
    seed: int = 0
    locations: Locations = "all"

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
    """

    name: str
    attack: str
    ids_M: np.ndarray
    variables: Variables = dataclasses.field(repr=False)
    triggers: Trigger = dataclasses.field(repr=False)
    quality: Quality = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.ids_M)

    def __getitem__(self, models: np.ndarray | slice) -> "Population":
        """Some of the models: an index array or a slice."""
        parts = self.ids_M, self.variables, self.triggers, self.quality
        return Population(self.name, self.attack, *tree.index(parts, models))

    def record(self, i: int) -> dict[str, Any]:
        """What is known of the ``i``-th model: id, trigger, accuracy, ASR, loss."""
        trigger, quality = tree.index((self.triggers, self.quality), i)
        known = trigger._asdict() | quality._asdict()
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


def train_population(
    directory: str | os.PathLike[str],
    spec: PopulationSpec,
    count: int,
    *,
    examples: Examples,
    subset_N: np.ndarray,
    test_N: np.ndarray,
    provenance: dict[str, Any],
    execution: Execution,
    formulation: Formulation = "tile",
    callback: Callback | None = None,
) -> Population:
    """Trains the models ``0 .. count - 1`` that are not on disk yet; returns them all.

    Args:
      directory: the population's own directory, made where missing.
      spec: what to train.
      count: how many models; more than before extends the population.
      examples: the data set, NumPy or on the device.
      subset_N: int, rows of ``examples`` to train on.
      test_N: int, rows of ``examples`` to judge on.
      provenance: JSON that identifies data and split; part of the manifest.
      execution: chunks, width, devices. A population keeps the chunk size that it
        was begun with.
      formulation: how convolutions are computed.
      callback: called as ``callback(models, quality)`` after every chunk, with
        ``quality`` None for a chunk that was already there.

    Raises:
      UserError: the directory is another population's (the field that differs is
        named), is not one of ours, or a chunk is damaged.
    """
    if count < 1:
        raise UserError(f"{spec.name}: asked for {count} models; ask for at least 1")
    task = get_task(spec.task)
    model = get_model(
        task.model,
        input_shape=task.shape,
        num_classes=task.num_classes,
        formulation=formulation,
    )
    attack = get_attack(spec.attack, task=spec.task, locations=spec.locations)
    key = prng.stream(prng.root(spec.seed), spec.name)
    recipe = {**dataclasses.asdict(spec), **provenance}
    recipe["chunk_size"] = _chunk_size(directory, execution)
    size = recipe["chunk_size"]

    def train(n: int) -> dict[str, Any]:
        ids = jnp.arange(n * size, (n + 1) * size)
        variables, triggers, quality = train_models(
            model, attack, spec.recipe, prng.model_keys(key, ids),
            jnp.asarray(subset_N), jnp.asarray(test_N), examples, execution=execution,
        )  # fmt: skip
        return jax.device_get(
            {
                "ids": ids,
                "variables": variables,
                "triggers": triggers._asdict(),
                "quality": quality._asdict(),
            }
        )

    chunks = []
    with storage.open_population(directory, recipe) as store:
        done = set(store.committed())
        for n in range(-(-count // size)):
            models = min(size, count - n * size)
            if n in done:
                chunk = store.load(n)
            else:
                chunk = train(n)
                store.save(n, chunk)
            chunks.append(tree.index(chunk, slice(models)))
            if callback:
                quality = Quality(**chunks[-1]["quality"])
                callback(models, None if n in done else quality)
    return _population(spec.name, spec.attack, chunks)


def load_population(directory: str | os.PathLike[str]) -> Population:
    """Reads a population back, every committed model of it.

    Raises:
      UserError: there is none, or a chunk is missing or damaged.
    """
    store = storage.read_population(directory)
    name = f"{store.recipe['role']}-{store.recipe['attack']}"
    committed = store.committed()
    if committed != list(range(len(committed))) or not committed:
        raise UserError(
            f"{directory} is incomplete: it has chunks {committed}; resume it"
        )
    return _population(name, store.recipe["attack"], [store.load(n) for n in committed])


def _population(name: str, attack: str, chunks: list[dict[str, Any]]) -> Population:
    joined = tree.concatenate(chunks)
    return Population(
        name=name,
        attack=attack,
        ids_M=joined["ids"],
        variables=joined["variables"],
        triggers=Trigger(**joined["triggers"]),
        quality=Quality(**joined["quality"]),
    )


def _chunk_size(directory: str | os.PathLike[str], execution: Execution) -> int:
    try:
        return storage.read_population(directory).recipe["chunk_size"]
    except (UserError, KeyError):
        return execution.chunk_size  # new, or damaged: opening it will say
