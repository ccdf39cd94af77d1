"""What is known of a trained model: its loss, accuracy and attack success rate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bdjax.attacks import Attack, Trigger
from bdjax.logits import class_logits
from bdjax.models import Model
from bdjax.population.examples import Examples, embed, take
from bdjax.population.frontend import in_blocks
from bdjax.types import Variables


class Quality(NamedTuple):
    """What is known of a trained model; float32 scalars, or ``[M]`` when stacked.

    Attributes:
      loss: mean training loss over the last tenth of the steps.
      accuracy: share of clean test examples classified right.
      asr: attack success rate, the share of triggered test examples that go where the
        attack aims, of those that count: in general the examples *of other classes*
        (all-to-all: all of them). NaN for a benign model.
    """

    loss: jax.Array
    accuracy: jax.Array
    asr: jax.Array


def judge_one(
    network: Model,
    attack: Attack,
    variables: Variables,
    trigger: Trigger,
    test_N: jax.Array,
    examples: Examples,
    *,
    batch_size: int,
) -> tuple[jax.Array, jax.Array]:
    """Clean accuracy and attack success rate of one model on the rows ``test_N``."""
    pad = -len(test_N) % batch_size
    row_SxB = jnp.pad(test_N, (0, pad)).reshape(-1, batch_size)
    real_SxB = (jnp.arange(len(test_N) + pad) < len(test_N)).reshape(-1, batch_size)

    def classify(x):
        x = embed(examples, x)
        if network.front:
            x = in_blocks(network.front, x)
        return class_logits(network.apply(variables, x)).argmax(-1)

    def count(batch):
        row_B, real_B = batch
        x, y = take(examples, row_B)
        aim_B, counts_B = attack.aimed(trigger, y)
        counts_B &= real_B
        right_B = classify(x) == y
        hit_B = classify(attack.apply(trigger, x)) == aim_B
        return (right_B & real_B).sum(), (hit_B & counts_B).sum(), counts_B.sum()

    right, hit, all_ = jax.tree.map(jnp.sum, jax.lax.map(count, (row_SxB, real_SxB)))
    is_attacked = (trigger.rate > 0) | (attack.edit is not None)
    return right / len(test_N), jnp.where(is_attacked, hit / all_, jnp.nan)
