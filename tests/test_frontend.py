import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax import prng
from bdjax.attacks import get_attack
from bdjax.models import from_linen
from bdjax.models.layers import dense
from bdjax.population import Execution, Recipe, cost, train, train_models
from bdjax.population.examples import (
    Frontend,
    clean_frontend,
    heard,
    in_blocks,
    uses_frontend,
)
from bdjax.population.plan import plan_one
from tests.tiny import EXAMPLES, SHAPE, TASK, fit_one, tiny_tasks  # noqa: F401


class Hearing(nn.Module):
    """A dense layer behind a front end that squares pixels."""

    @nn.compact
    def __call__(self, x, *, train=False):
        del train
        x = self.front(x) if x.ndim == 4 else x
        self.sow("intermediates", "features", x)
        return dense(4, fan_in=36, name="logits")(x)

    @staticmethod
    def front(x):
        return (2 * x.reshape(len(x), -1)) ** 2


MODEL = from_linen("hearing", Hearing(), SHAPE)
RECIPE = Recipe(steps=8, batch_size=6, learning_rate=0.05)
ROWS = np.array([7, 2, 9, 70, 0, 33, 41])


def close(got, expected):
    check = functools.partial(np.testing.assert_allclose, atol=1e-5)
    jax.tree.map(check, got, expected)


def test_training_behind_the_front_end_changes_nothing():
    attack, key = get_attack("M", task=TASK), prng.root(1)
    trigger = attack.sample(key)._replace(rate=jnp.float32(0.5))
    plan = plan_one(key, ROWS, trigger.rate, steps=8, batch_size=6)
    assert plan.role.any()
    assert not plan.role.all()
    run = functools.partial(
        fit_one, MODEL, attack, RECIPE, key, trigger, plan, EXAMPLES
    )

    @jax.jit
    def beforehand():
        front = clean_frontend(MODEL, EXAMPLES, ROWS)
        put_on = functools.partial(attack.apply, trigger)
        triggered = heard(MODEL, EXAMPLES, ROWS, put_on)
        return run(frontend=front._replace(triggered_S=triggered))

    close(beforehand(), jax.jit(run)())


@pytest.mark.parametrize("width", [1, 2])
def test_a_population_is_the_same_with_and_without(width, monkeypatch):
    attack = get_attack("jumbo", task=TASK)
    keys = prng.model_keys(prng.root(1), jnp.arange(4))
    test_N = jnp.arange(40, 65)
    args = MODEL, attack, RECIPE, keys, jnp.asarray(ROWS), test_N, EXAMPLES
    calls = []
    watched = train._hear
    monkeypatch.setattr(train, "_hear", lambda *a: calls.append(a) or watched(*a))
    fast = train_models(*args, execution=Execution(width=width, devices=2))
    assert len(calls) == 1
    monkeypatch.setattr(train, "uses_frontend", lambda *_: False)
    slow = train_models(*args, execution=Execution(width=width, devices=2))
    assert len(calls) == 1
    close(fast, slow)


def test_augmented_examples_go_through_the_front_end_at_every_step():
    augmented = Recipe(steps=8, augment="crop_flip")
    attack = get_attack("M", task=TASK)
    assert uses_frontend(MODEL, RECIPE, attack)
    assert not uses_frontend(MODEL, augmented, attack)
    noisy = dataclasses.replace(attack, cover=lambda key_B, trigger, x_B: x_B)
    assert not uses_frontend(MODEL, RECIPE, noisy)


def test_rows_are_found_behind_the_front_end():
    front = Frontend(jnp.array([0, 2, 0, 1]), jnp.eye(3), 10 * jnp.eye(3))
    batch = front.batch(jnp.array([1, 3, 1]), jnp.array([0, 0, 2]))
    np.testing.assert_array_equal(batch, [[0, 0, 1], [0, 1, 0], [0, 0, 10]])


@pytest.mark.parametrize("count", [1, 20, 47])
def test_blocks_make_no_difference(count):
    x = np.arange(count, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(in_blocks(lambda part: part * 2, x), x * 2)


def test_memory_holds_what_is_behind_the_front_end():
    attack = get_attack("jumbo", task=TASK)
    few, many = (
        cost.model_footprint(MODEL, attack, RECIPE, EXAMPLES, trained=trained)
        for trained in (10, 60)
    )
    assert many - few == 50 * 36 * 4
