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
from numpy.typing import ArrayLike

from bdjax import prng, tree
from bdjax.mntd.config import FitConfig
from bdjax.types import PRNGKey, PyTree, UserError, Variables

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
      group_S: int32, whose they are; None of a single group.
    """

    row_RxSxB: jax.Array
    group_S: jax.Array | None = None

    def padded(self, spare: int) -> "Batches":
        """With steps that are never made, for the length's sake."""
        row_RxSxB = jnp.pad(self.row_RxSxB, ((0, 0), (0, spare), (0, 0)))
        if self.group_S is None:
            return Batches(row_RxSxB)
        return Batches(row_RxSxB, jnp.pad(self.group_S, (0, spare)))


def split(groups: Sequence[Networks]) -> tuple[tuple[ApplyFn, ...], tuple[PyTree, ...]]:
    """What programs are compiled for, and what they are given."""
    if not groups:
        raise UserError("there are no models; give one group of networks or more")
    return tuple(g.apply for g in groups), tuple(g.variables for g in groups)


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
    return found[0] if len(found) == 1 else jnp.concatenate(found)


def of_batch(
    one: Callable,
    applies: Sequence[ApplyFn],
    models: Sequence[PyTree],
    row_B: jax.Array,
    group: jax.Array | None,
    queries: jax.Array,
) -> jax.Array:
    """``one(apply, some_B, queries)`` of some models of one group."""
    if group is None:
        return one(applies[0], tree.index(models[0], row_B), queries)

    def branch(apply, each, start, row_B, queries):
        return one(apply, tree.index(each, row_B - start), queries)

    branches = [
        functools.partial(branch, apply, each, start)
        for apply, each, start in zip(applies, models, starts_of(models), strict=False)
    ]
    return jax.lax.switch(group, branches, row_B, queries)


def batches(
    config: FitConfig,
    number: int,
    key: PRNGKey,
    keys_R: PRNGKey,
    row_K: ArrayLike,
    starts: Sequence[int],
    passes: int,
) -> Batches:
    """Which shadows epoch ``number`` takes, batch by batch.

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
    """
    row_K = np.asarray(row_K)
    groups = np.searchsorted(starts, row_K, side="right") - 1
    mine = [row_K[groups == g] for g in np.unique(groups)]
    if len(starts) == 2:
        size = min(config.batch_size, len(row_K))
        return Batches(_orders(number, keys_R, row_K, passes, size, "order"))
    size = min(config.batch_size, *map(len, mine), len(row_K))
    some = [
        _orders(number, keys_R, rows, passes, size, f"order-{g}")
        for g, rows in zip(np.unique(groups), mine, strict=True)
    ]
    group_S = np.repeat(np.unique(groups), [each.shape[1] for each in some])
    mixing = jax.random.fold_in(prng.stream(key, "groups"), number)
    order_S = np.asarray(jax.random.permutation(mixing, len(group_S)))
    rows = jnp.concatenate(some, axis=1)[:, order_S]
    return Batches(rows, jnp.asarray(group_S[order_S], jnp.int32))


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
