"""The populations of an experiment: data, specifications, training."""

import dataclasses
import itertools
from pathlib import Path
from typing import NamedTuple

import jax

from bdjax import data, telemetry
from bdjax.attacks import get_attack
from bdjax.data import Dataset, Splits
from bdjax.data.npz import describe
from bdjax.experiments.config import ROLES, Experiment
from bdjax.models import MODELS, Model, reads
from bdjax.population import (
    Examples,
    Population,
    PopulationSpec,
    load_population,
)
from bdjax.tasks import Task, get_task
from bdjax.tasks.npz import name_of
from bdjax.types import UserError

OWN_ARRAYS = "npz"
DEFENDER, ATTACKER = 0.25, 0.5
"""Shares of the training rows of a user's arrays; without a test split, what is left is
for testing. The defender's may be more, one a class.
"""
MOST_TEST = 2000
"""Test rows, for no more than judging models would take as long as training them."""


class Wanted(NamedTuple):
    """A population, and the ids of its models."""

    spec: PopulationSpec
    ids: range


def resolve(experiment: Experiment) -> Experiment:
    """The experiment with all that a user's own file of arrays answers.

    Where the task is ``npz``, the file's headers and labels say which one it is, and
    sizes of 0 become shares of its rows. Any other is returned as it is.

    Raises:
      UserError: the file is at fault.
    """
    zoo, wanted = experiment.zoo, experiment.zoo.data
    if zoo.task.partition(":")[0] != OWN_ARRAYS:
        return experiment
    found = describe(wanted.path or None)
    classes = int(found.labels.max()) + 1
    task = zoo.task
    if task == OWN_ARRAYS:
        task = name_of(found.shape, found.dtype, classes)
    # Shadow models need a row of every class, of which there may be many.
    defender = wanted.defender or max(int(DEFENDER * found.train), classes)
    attacker = wanted.attacker or int(ATTACKER * found.train)
    rest = found.test or found.train - defender - attacker
    test = wanted.test or max(1, min(rest, MOST_TEST))
    own = dataclasses.replace(wanted, defender=defender, attacker=attacker, test=test)
    zoo = dataclasses.replace(zoo, task=task, data=own)
    return dataclasses.replace(experiment, zoo=zoo)


def load_data(experiment: Experiment) -> tuple[Dataset, Splits]:
    """The data set and who holds which of its rows.

    Raises:
      UserError: the source or the sizes are at fault.
    """
    wanted = experiment.zoo.data
    # Sources that are quick do not report.
    with telemetry.reporter("reading data", unit="rows", enabled=True) as progress:
        dataset = get_task(experiment.zoo.task).load(
            wanted.source,
            path=wanted.path or None,
            progress=progress,
            **wanted.options,
        )
    splits = data.make_splits(
        dataset,
        defender=wanted.defender,
        attacker=wanted.attacker,
        test=wanted.test,
        seed=experiment.seed,
        mode=wanted.split,
    )
    return dataset, splits


def examples_of(dataset: Dataset) -> Examples:
    """The data as training takes them, on the device."""
    vectors = dataset.vocabulary.vectors if dataset.vocabulary else None
    return jax.device_put(Examples(dataset.x, dataset.y, vectors))


def specs(experiment: Experiment) -> list[Wanted]:
    """Every population of the experiment, in order, and the ids of its models.

    Raises:
      UserError: an attack, a network or a recipe is at fault, or two populations would
        have one name.
    """
    zoo, task = experiment.zoo, get_task(experiment.zoo.task)
    wanted = []
    for group in zoo.groups:
        rows = getattr(zoo.data, ROLES[group.role])
        attacks = {
            name: get_attack(name, task=task, locations=zoo.locations)
            for name in group.attacks
        }
        edited = [attack for attack in attacks.values() if attack.edit]
        for network, recipe in itertools.product(group.networks, group.recipes):
            for name, count in group.counts.items():
                spec = PopulationSpec(
                    role=group.role,
                    task=task,
                    attack=attacks[name],
                    network=_network(task, network, experiment),
                    recipe=recipe.for_rows(rows),
                    seed=experiment.seed,
                    control=edited[0] if attacks[name].is_benign and edited else None,
                )
                wanted.append(Wanted(spec, range(count)))
    names = [spec.name for spec, _ in wanted]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"two populations are called {name!r}; give recipes that differ names "
                "that differ, or leave one out"
            )
    return wanted


def _network(task: Task, name: str, experiment: Experiment) -> Model:
    network = task.network(name, experiment.formulation)
    if name and not reads(network, task.input_shape):
        fit = [n for n in MODELS if reads(task.network(n), task.input_shape)]
        raise UserError(
            f"network {name!r} cannot read {task.modality.name} of shape "
            f"{task.input_shape}, which task {task.name!r} is of; there are {fit}"
        )
    return network


def place(workdir: Path, spec: PopulationSpec) -> Path:
    """Where a run keeps a population."""
    return workdir / "populations" / spec.name


def load(
    experiment: Experiment, workdir: Path, wanted: list[Wanted]
) -> list[Population]:
    """Reads trained populations back, in order.

    Raises:
      UserError: one is incomplete or damaged.
    """
    way = {"formulation": experiment.formulation}
    return [load_population(place(workdir, spec), ids, **way) for spec, ids in wanted]


def drop_diverged(trained: list[Population]) -> tuple[list[Population], list[str]]:
    """The models that training did not break, and a note for each population.

    Raises:
      UserError: it broke all of one.
    """
    notes = []
    for population in trained:
        if ids := population.diverged_ids:
            notes.append(
                f"{population.name}: training diverged (NaN) for models {ids}; they "
                "are left out"
            )
            if len(ids) == len(population):
                raise UserError(
                    f"every model of {population.name} diverged (NaN); lower the "
                    "learning rate"
                )
    return [population.without_diverged() for population in trained], notes
