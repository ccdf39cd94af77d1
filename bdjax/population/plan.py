"""Which examples a model sees at which step, poisoned ones included."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bdjax.attacks import MAX_RATE, Role
from bdjax.types import PRNGKey


class BatchPlan(NamedTuple):
    """One model's training batches.

    Attributes:
      row: int32 ``[steps, B]``, rows of the data set.
      role: int8 ``[steps, B]``, a :class:`bdjax.attacks.Role` each.
      steps: int32 scalar, how many of the rows are trained on.
    """

    row: jax.Array
    role: jax.Array
    steps: jax.Array


def max_steps(
    examples: int,
    *,
    steps: int,
    batch_size: int,
    official: bool,
    copies: float = MAX_RATE,
) -> int:
    """Steps that a plan must have room for; see :func:`plan_one`."""
    if not official:
        return steps
    epochs = max(1, round(steps * batch_size / examples))
    return epochs * math.ceil((examples + int(copies * examples)) / batch_size)


def plan_one(
    key: PRNGKey,
    subset_N: jax.Array,
    rate: jax.Array,
    cover_rate: jax.Array | float = 0.0,
    may_N: tuple[jax.Array, jax.Array] | None = None,
    *,
    steps: int,
    batch_size: int,
    official: bool = False,
    diversity: float = 0.0,
    copies: float = MAX_RATE,
) -> BatchPlan:
    """Draws one model's batches.

    As in MNTD, ``floor(rate * n)`` of the ``n`` examples that may be poisoned are drawn
    without replacement and *appended* with the trigger on; the clean originals stay.
    Then covers are drawn likewise from what may be a cover and is not poisoned. Epochs
    are reshuffled and joined end to end, so that every batch is full (the official
    code ends each epoch on a short batch).

    Args:
      key: the model's key for this stream.
      subset_N: int32 ``[n]``, the rows that the trainer may use.
      rate: float scalar, the poisoning rate.
      cover_rate: likewise of covers.
      may_N: bool ``[n]`` twice, which of the rows may be poisoned, and which may be
        covers; all rows both if None.
      steps: optimiser steps; the same for clean and poisoned models, so that the
        length of training tells a detector nothing.
      batch_size: examples a step.
      official: poisoned models train for as many *epochs* as clean ones, which is up
        to half as many steps more (MNTD's official code).
      diversity: in [0, 1). Above 0, the model trains on a random share of the subset
        and for a random share of the steps, both uniform in [1 - diversity, 1].
      copies: poisoned rows and covers together, at most, as a share of ``n``.

    Returns:
      The plan, with :func:`max_steps` steps.
    """
    size = len(subset_N)
    room = max_steps(
        size, steps=steps, batch_size=batch_size, official=official, copies=copies
    )
    key_rows, key_order, key_share = jax.random.split(key, 3)
    share, extent = jax.random.uniform(key_share, (2,), minval=1 - diversity)
    clean: int | jax.Array = size
    if diversity:
        clean = jnp.maximum(jnp.floor(share * size), 1).astype(jnp.int32)
    # In random order, so that its head is a random subset.
    order_N = jax.random.permutation(key_rows, size)
    own_N = jnp.arange(size) < clean
    may_poison_N, may_cover_N = own_N, own_N
    if may_N is not None:
        may_poison_N, may_cover_N = (may[order_N] & own_N for may in may_N)
    poison_N, poisons = _chosen(may_poison_N, rate)
    is_poisoned_N = may_poison_N & (jnp.cumsum(may_poison_N) <= poisons)
    cover_N, covers = _chosen(may_cover_N & ~is_poisoned_N, cover_rate)
    total = clean + poisons + covers

    epochs = math.ceil(room * batch_size / max(1, math.floor((1 - diversity) * size)))
    order_ExT = jax.vmap(
        lambda epoch: _shuffled(
            jax.random.fold_in(key_order, epoch), size, total, copies
        )
    )(jnp.arange(epochs))
    position = jnp.arange(room * batch_size)
    example = order_ExT[position // total, position % total]
    place, role = example, jnp.full(example.shape, Role.CLEAN, jnp.int8)
    for kind, first, rows_N in (
        (Role.POISON, clean, poison_N),
        (Role.COVER, clean + poisons, cover_N),
    ):
        place = jnp.where(example >= first, rows_N[example - first], place)
        role = jnp.where(example >= first, kind, role).astype(jnp.int8)
    count: int | jax.Array = steps
    if official:
        rounds = max(1, round(steps * batch_size / size))
        count = rounds * -(-total // batch_size)
    if diversity:
        count = jnp.maximum(jnp.floor(extent * count), 1)
    row = jnp.asarray(subset_N, jnp.int32)[order_N[place]]
    return BatchPlan(
        row=row.reshape(room, batch_size),
        role=role.reshape(room, batch_size),
        steps=jnp.asarray(count, jnp.int32),
    )


def _chosen(may_N: jax.Array, rate: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """Places with those that may be chosen in front, and how many of them are."""
    count = jnp.floor(rate * may_N.sum()).astype(jnp.int32)
    return jnp.argsort(~may_N, stable=True), count


def _shuffled(
    key: PRNGKey, size: int, total: int | jax.Array, copies: float
) -> jax.Array:
    """The numbers below ``total`` in random order, then what there is room for."""
    usual, most = (size + int(share * size) for share in (MAX_RATE, copies))
    draw = jax.random.uniform(key, (usual,))
    if most > usual:  # in a draw of their own, so that others need not have them
        rest = jax.random.uniform(jax.random.fold_in(key, 1), (most - usual,))
        draw = jnp.concatenate([draw, rest])
    return jnp.argsort(jnp.where(jnp.arange(len(draw)) < total, draw, 2.0))
