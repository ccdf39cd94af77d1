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
      steps: int32 scalar, how many of the rows are trained on.
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
    diversity: float = 0.0,
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
      diversity: in [0, 1). Above 0, the model trains on a random share of the subset
        and for a random share of the steps, both uniform in [1 - diversity, 1].

    Returns:
      The plan, with :func:`max_steps` steps.
    """
    size = len(subset_N)
    room = max_steps(size, steps=steps, batch_size=batch_size, official=official)
    key_rows, key_order, key_share = jax.random.split(key, 3)
    share, length = jax.random.uniform(key_share, (2,), minval=1 - diversity)
    clean: int | jax.Array = size
    if diversity:
        clean = jnp.maximum(jnp.floor(share * size), 1).astype(jnp.int32)
    # In random order, so that its head is a random subset, of which the head again is
    # what gets poisoned.
    subset_N = jax.random.permutation(key_rows, subset_N)
    total = clean + jnp.floor(rate * clean).astype(jnp.int32)

    def shuffle(epoch: jax.Array) -> jax.Array:
        largest = size + int(MAX_RATE * size)
        draw = jax.random.uniform(jax.random.fold_in(key_order, epoch), (largest,))
        return jnp.argsort(jnp.where(jnp.arange(largest) < total, draw, 2.0))

    epochs = math.ceil(room * batch_size / max(1, math.floor((1 - diversity) * size)))
    order_ExN = jax.vmap(shuffle)(jnp.arange(epochs))
    position = jnp.arange(room * batch_size)
    example = order_ExN[position // total, position % total]
    poisoned = example >= clean
    count: int | jax.Array = steps
    if official:
        rounds = max(1, round(steps * batch_size / size))
        count = rounds * -(-total // batch_size)
    if diversity:
        count = jnp.maximum(jnp.floor(length * count), 1)
    return BatchPlan(
        row=subset_N[jnp.where(poisoned, example - clean, example)]
        .reshape(room, batch_size)
        .astype(jnp.int32),
        poisoned=poisoned.reshape(room, batch_size),
        steps=jnp.asarray(count, jnp.int32),
    )
