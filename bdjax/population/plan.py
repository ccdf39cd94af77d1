"""Which examples a model sees at which step, poisoned ones included."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bdjax.types import PRNGKey

MAX_RATE = 0.5


class BatchPlan(NamedTuple):
    """One model's training batches.

    Attributes:
      row: int32 ``[steps, B]``, rows of the data set.
      poisoned: bool ``[steps, B]``, whether the example carries the trigger.
      steps: int32 scalar, steps that count; later ones leave the model as it is.
    """

    row: jax.Array
    poisoned: jax.Array
    steps: jax.Array


def max_steps(examples: int, *, steps: int, batch_size: int, official: bool) -> int:
    """Steps that a plan must have room for; see :func:`plan_one`."""
    if not official:
        return steps
    epochs = max(1, round(steps * batch_size / examples))
    return epochs * math.ceil((examples + int(MAX_RATE * examples)) / batch_size)


def plan_one(
    key: PRNGKey,
    subset_N: jax.Array,
    rate: jax.Array,
    *,
    steps: int,
    batch_size: int,
    official: bool = False,
) -> BatchPlan:
    """Draws one model's batches.

    As in MNTD, ``int(rate * n)`` examples of the ``n``, any class, are drawn without
    replacement and *appended* with the trigger on; the clean originals stay. Epochs
    are reshuffled and joined end to end, so that every batch is full (the official
    code ends each epoch on a short batch).

    Args:
      key: the model's key for this stream.
      subset_N: int32 ``[n]``, the rows that the trainer may use.
      rate: float scalar in [0, 0.5], the poisoning rate.
      steps: optimiser steps; the same for clean and poisoned models, so that the
        length of training tells a detector nothing.
      batch_size: examples a step.
      official: poisoned models train for as many *epochs* as clean ones, which is up
        to half as many steps more (MNTD's official code).

    Returns:
      The plan, with :func:`max_steps` steps.
    """
    clean = len(subset_N)
    room = max_steps(clean, steps=steps, batch_size=batch_size, official=official)
    key_poison, key_order = jax.random.split(key)
    poison_N = jax.random.permutation(key_poison, subset_N)
    copies = jnp.floor(rate * clean).astype(jnp.int32)
    total = clean + copies
    largest = clean + int(MAX_RATE * clean)

    def shuffle(epoch: jax.Array) -> jax.Array:
        draw = jax.random.uniform(jax.random.fold_in(key_order, epoch), (largest,))
        return jnp.argsort(jnp.where(jnp.arange(largest) < total, draw, 2.0))

    epochs = math.ceil(room * batch_size / clean)
    order_ExN = jax.vmap(shuffle)(jnp.arange(epochs))
    position = jnp.arange(room * batch_size)
    example = order_ExN[position // total, position % total]
    poisoned = example >= clean
    row = jnp.where(
        poisoned,
        poison_N[jnp.maximum(example - clean, 0)],
        subset_N[jnp.minimum(example, clean - 1)],
    )
    count = jnp.int32(steps)
    if official:
        rounds = max(1, round(steps * batch_size / clean))
        count = rounds * -(-total // batch_size)
    return BatchPlan(
        row=row.reshape(room, batch_size).astype(jnp.int32),
        poisoned=poisoned.reshape(room, batch_size),
        steps=count,
    )
