"""Networks learn the attacks on images, and the clean task beside them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import takes_hold
from sklearn.datasets import load_digits

from bdjax import prng
from bdjax.attacks import get_attack
from bdjax.population import Examples, Execution, Recipe, train_models
from bdjax.tasks import get_task

TRAIN, MODELS = 1400, 2


@pytest.fixture(scope="module")
def digits():
    """1797 digits of 8x8 pixels, 16 levels of grey."""
    x, y = load_digits(return_X_y=True)
    return Examples(np.float32(x.reshape(-1, 8, 8, 1) / 16), np.int32(y))


# The mean ASR of two models that it does not fall below.
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("colour_filter", 0.9),
        ("polygon", 0.5),
        ("sig", 0.5),
        ("tact", 0.5),
        ("wanet", 0.2),
    ],
)
def test_a_small_network_learns_it_in_a_moment(digits, name, least):
    task = get_task("npz:8x8x1:10")
    _, triggers, quality = train_models(
        task.network("mlp"),
        get_attack(name, task=task),
        Recipe(steps=400),
        prng.model_keys(prng.root(0), jnp.arange(MODELS)),
        np.arange(TRAIN),
        np.arange(TRAIN, len(digits.x)),
        digits,
        execution=Execution(devices=1),
    )
    assert quality.accuracy.min() > 0.8
    assert quality.asr.mean() > least
    assert np.isfinite(jax.tree.leaves(triggers)[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "accuracy", "asr"),
    [
        ("colour_filter", 0.9, 0.95),
        ("polygon", 0.9, 0.8),
        ("tact", 0.9, 0.8),
    ],
)
def test_real_digits_are_sent_to_the_target(name, accuracy, asr):
    _, quality = takes_hold.measure(name, models=2)
    assert quality.accuracy.min() > accuracy
    assert quality.asr.mean() > asr
