"""Shadow models of several architectures or recipes, a group of stacked weights each.

All groups' models in order have one numbering, their *rows*. A step takes its batch of
one group, which is the same for all repeats, so that no network is asked in vain.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import prng, tree
from bdjax.mntd.config import FitConfig
from bdjax.types import PRNGKey, PyTree, Variables

ApplyFn = Callable[..., jax.Array]


class Networks(NamedTuple):
    """Networks of one architecture.

    Attributes:
      apply: ``apply(variables, x) -> logits`` of one; hashable, as it is compiled once
        for equal arguments. With ``FitConfig.query_dropout`` it is called with
        ``train=True`` and a ``key``, too.
      variables: stacked, leaves ``[M, ...]``.
    """

    apply: ApplyFn
    variables: Variables


class Batches(NamedTuple):
    """What an epoch takes.

    Attributes:
      row_RxSxB: int32, the shadows of each step, by repeat.
      group_S: int32, whose they are.
    """

    row_RxSxB: jax.Array
    group_S: jax.Array


def starts_of(models: Sequence[PyTree]) -> list[int]:
    """The row of every group's first model, and of none after the last."""
    return [0, *np.cumsum([tree.count(each) for each in models]).tolist()]


def over(one: Callable, applies: Sequence[ApplyFn], models: Sequence[PyTree]) -> PyTree:
    """``one(apply, row, variables)`` of every model, one after the other."""
    starts = starts_of(models)
    found = [
        jax.lax.map(
            lambda numbered, apply=apply: one(apply, *numbered),
            (jnp.arange(start, start + tree.count(each)), each),
        )
        for apply, start, each in zip(applies, starts, models, strict=False)
    ]
    return jnp.concatenate(found)


def of_batch(
    one: Callable,
    applies: Sequence[ApplyFn],
    models: Sequence[PyTree],
    row_B: jax.Array,
    group: jax.Array,
    queries: jax.Array,
) -> jax.Array:
    """``one(apply, some_B, queries)`` of some models of one group."""

    def branch(apply, each, start):
        return lambda row_B, queries: one(
            apply, tree.index(each, row_B - start), queries
        )

    starts = starts_of(models)
    branches = [*map(branch, applies, models, starts)]
    return jax.lax.switch(group, branches, row_B, queries)


def batches(
    config: FitConfig,
    number: int,
    key: PRNGKey,
    keys_R: PRNGKey,
    row_K: np.ndarray,
    starts: Sequence[int],
    passes: int,
    length: int,
) -> tuple[Batches, int]:
    """Which shadows epoch ``number`` takes, and how many steps that is.

    An epoch is ``passes`` passes over each group, each in an order of its own; batches
    of several groups come in an order that repeats have in common.

    Args:
      config: of the fit.
      number: the epoch's.
      key: of the fit.
      keys_R: of its repeats.
      row_K: int, the shadows to fit on.
      starts: see :func:`starts_of`.
      passes: see above.
      length: of a pass over all shadows: the least to pad to, with steps that are
        never made, so that programs are the same.
    """
    group_K = np.searchsorted(starts, row_K, side="right") - 1
    groups, counts = np.unique(group_K, return_counts=True)
    size = int(min(config.batch_size, *counts))
    some = [
        _orders(
            number,
            keys_R,
            row_K[group_K == g],
            passes,
            size,
            f"order-{g}" if g else "order",
        )
        for g in groups
    ]
    rows = jnp.concatenate(some, axis=1)
    group_S = np.repeat(groups, [each.shape[1] for each in some])
    if len(groups) > 1:
        mixing = jax.random.fold_in(prng.stream(key, "groups"), number)
        order_S = np.asarray(jax.random.permutation(mixing, len(group_S)))
        rows, group_S = rows[:, order_S], group_S[order_S]
    spare = max(0, length // size - len(group_S))
    rows = jnp.pad(rows, ((0, 0), (0, spare), (0, 0)))
    padded = jnp.asarray(np.pad(group_S, (0, spare)), jnp.int32)
    return Batches(rows, padded), len(group_S)


@functools.partial(jax.jit, static_argnames=("passes", "size", "stream"))
def _orders(number, keys_R, rows_K, passes, size, stream):
    """Passes over some shadows in random order, cut to whole batches: [R, S, B]."""
    whole = len(rows_K) // size * size

    def one(key):
        numbers_P = number * passes + jnp.arange(passes)
        keys_P = prng.model_keys(prng.stream(key, stream), numbers_P)
        order_PxK = jax.vmap(jax.random.permutation, (0, None))(keys_P, rows_K)
        return order_PxK[:, :whole].reshape(-1, size)

    return jax.vmap(one)(keys_R)
