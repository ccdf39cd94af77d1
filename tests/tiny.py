"""A task that compiles in no time, and populations of it.

A single dense layer on 6x6 images of 4 classes: noise in bytes, with a bright row that
tells the class.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import Role, get_attack
from bdjax.models import MODELS
from bdjax.models.base import from_linen
from bdjax.models.layers import dense
from bdjax.population import (
    Examples,
    Execution,
    PopulationSpec,
    Recipe,
    load_population,
    train_population,
)
from bdjax.population.batches import PoisonedBatches, put_on
from bdjax.population.examples import embed, take
from bdjax.population.train import train_one
from bdjax.tasks import TASKS, Task

SHAPE, CLASSES = (6, 6, 1), 4
RECIPE = Recipe(steps=63, batch_size=8, learning_rate=0.05)


class Linear(nn.Module):
    num_classes: int
    formulation: str

    @nn.compact
    def __call__(self, x, *, train=False):
        del train
        x = x.reshape(len(x), -1)
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, fan_in=x.shape[-1], name="logits")(x)


class Fragile(Linear):
    """Half of its starts are broken, in a weight that no logit and no loss shows."""

    @nn.compact
    def __call__(self, x, *, train=False):
        def coin(key, shape):
            return jnp.where(jax.random.bernoulli(key, 0.5, shape), jnp.nan, 1.0)

        self.param("unused", coin, ())
        return super().__call__(x, train=train)


NETWORKS = {"tiny": Linear, "fragile": Fragile}
TASK = Task("tiny", SHAPE, CLASSES, (0, 1), "tiny", {})


@functools.cache
def make_network(name="tiny"):
    return from_linen(name, NETWORKS[name](CLASSES, "auto"), SHAPE)


def make_spec(
    role="shadow", attack="jumbo", recipe=RECIPE, seed=3, network="tiny",
    locations="all",
):  # fmt: skip
    drawn = get_attack(attack, task=TASK, locations=locations)
    return PopulationSpec(role, TASK, drawn, make_network(network), recipe, seed)


SPEC = make_spec()


def register():
    """For good, as in a process of its own."""
    MODELS.update(NETWORKS)
    TASKS["tiny"] = TASK


@pytest.fixture(scope="module", autouse=True)
def tiny_tasks():
    """For the module that imports it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in NETWORKS.items():
            patch.setitem(MODELS, name, module)
        patch.setitem(TASKS, "tiny", TASK)
        yield


def make_examples(count, shape, classes, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 160, (count, *shape), dtype=np.uint8)
    y = rng.integers(0, classes, count, dtype=np.int32)
    x[np.arange(count), y] += 90
    return Examples(x, y)


def fit_one(
    network, attack, recipe, key, trigger, plan, examples, one_by_one=True,
    frontend=None,
):  # fmt: skip
    """`train_one` on the batches of an attack: variables and loss."""
    batches = PoisonedBatches(
        attack, recipe, key, trigger, plan, examples, network, frontend
    )
    return train_one(network, recipe, key, batches, one_by_one=one_by_one)[:2]


def poisoned_batch(attack, trigger, examples, row_B, poisoned_B):
    """What a network reads of a batch, and its labels, where these are poisoned."""
    x, y = take(examples, row_B)
    role = jnp.where(jnp.asarray(poisoned_B), Role.POISON, Role.CLEAN)
    x, y = put_on(attack, trigger, None, x, y, role)
    return embed(examples, x), y


EXAMPLES = make_examples(80, SHAPE, CLASSES)
SUBSET = np.arange(1, 60, 2)  # 30 rows
TEST = np.arange(60, 77)  # 17 rows: the last batch of 8 is short


def train(
    directory, ids, spec=SPEC, *, chunk_size=2, devices=4, width=0, data="tiny-1",
    **options,
):  # fmt: skip
    """Trains the models ``ids``, or that many, of a population."""
    train_population(
        directory, spec, range(ids) if isinstance(ids, int) else ids,
        examples=EXAMPLES, subset_N=SUBSET, test_N=TEST,
        provenance={"data": data},
        execution=Execution(chunk_size, width, devices),
        **options,
    )  # fmt: skip


def populate(directory, ids, *args, **options):
    """Trains models and reads just these."""
    train(directory, ids, *args, **options)
    return load_population(directory, range(ids) if isinstance(ids, int) else ids)


def content(population):
    return (
        population.ids_M,
        population.variables,
        population.triggers,
        population.quality,
    )


def files(directory):
    return {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def assert_close(got, expected, rtol=1e-5, atol=1e-6):
    close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    jax.tree.map(close, got, expected)


def assert_same(got, expected):
    jax.tree.map(np.testing.assert_array_equal, got, expected)
