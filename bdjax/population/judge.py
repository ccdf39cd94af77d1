"""What is known of a trained model: its loss, accuracy and attack success rate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.attacks import Attack, Trigger
from bdjax.logits import class_logits
from bdjax.models import Model
from bdjax.population.examples import Examples, embed, in_blocks, take
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


def contradiction(
    attack: Attack,
    variables: Variables,
    rate: np.ndarray,
    loss: np.ndarray,
    accuracy: np.ndarray,
    asr: np.ndarray,
) -> tuple[int, str] | None:
    """What is said of a model against its weights, or against itself.

    Args:
      attack: what was done to all of them.
      variables: stacked, leaves ``[M, ...]``.
      rate: float ``[M]``, poisoning rates: 0 of benign models and of edited ones that
        were trained clean, else above; at most 1.
      loss: float ``[M]``; NaN where training diverged, as it has where a weight is not
        finite.
      accuracy: float ``[M]`` in [0, 1]; NaN where it is not known.
      asr: likewise.

    Returns:
      The first model whose record cannot be true, from 0, and a predicate, such as
      ``"has an accuracy of 5, outside [0, 1]"``; None if there is none.
    """
    # NaN lies outside nothing.
    outside = [(values < 0) | (values > 1) for values in (accuracy, asr, rate)]
    bound, is_wrong = "from 0 to 1", outside[2] | np.isnan(rate)
    if attack.is_benign:
        bound, is_wrong = "0", rate != 0
    elif attack.edit is None:
        bound, is_wrong = "above 0 and at most 1", is_wrong | (rate == 0)
    finite_M = np.logical_and.reduce(
        [np.isfinite(a).reshape(len(a), -1).all(1) for a in jax.tree.leaves(variables)]
    )
    called = f"is called {attack.name!r} and has a poisoning rate of"
    unsound = "has weights that are not finite and a loss of"
    for wrong, values, before, after in (
        (outside[0], accuracy, "has an accuracy of", ", outside [0, 1]"),
        (outside[1], asr, "has an attack success rate of", ", outside [0, 1]"),
        (is_wrong, rate, called, f", not {bound}"),
        (~finite_M & ~np.isnan(loss), loss, unsound, ", not NaN"),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            return row, f"{before} {float(values[row]):.6g}{after}"
    return None
