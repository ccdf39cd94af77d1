"""The leading model axis of a pytree: index, slice, concatenate, count."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from bdjax.types import PyTree


def index(tree: PyTree, i: int | jax.Array | np.ndarray | slice) -> PyTree:
    """``leaf[i]`` of every leaf: one model (int), or several (slice, indices)."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


def concatenate(trees: Sequence[PyTree]) -> PyTree:
    """Joins stacked pytrees of NumPy arrays along the model axis."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)


def count(tree: PyTree) -> int:
    """Length of the model axis, which must be that of every leaf."""
    leaves = jax.tree.leaves(tree)
    chex.assert_equal_shape_prefix(leaves, 1)
    return len(leaves[0])


def all_finite(tree: PyTree) -> jax.Array:
    """Whether every leaf of one model is finite; bool scalar."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def where(condition: jax.Array, tree: PyTree, other: float) -> PyTree:
    """The tree where a bool scalar holds, else a constant in its place."""
    return jax.tree.map(lambda leaf: jnp.where(condition, leaf, other), tree)
