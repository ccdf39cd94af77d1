"""Operators that take elements by index, and the greatest of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bdjax.networks.onnx.operators.common import Node, ints, of, static, unsupported


def gather(node: Node, x: Any, index: Any) -> Any:
    """Along one axis."""
    return of(x, index).take(x, index, axis=node.get("axis", 0))


def gather_elements(node: Node, x: Any, index: Any) -> Any:
    """One of x a place, along one axis."""
    where = _along(x, index, node.get("axis", 0))
    return of(x, index).asarray(x)[where]


def _along(x, index, axis):
    """Indices into every axis, of which one is given."""
    axis %= x.ndim
    index = of(index).where(index < 0, index + x.shape[axis], index)
    grid = np.ogrid[tuple(slice(n) for n in index.shape)]
    return tuple(index if i == axis else grid[i] for i in range(x.ndim))


def gather_nd(node: Node, x: Any, index: Any) -> Any:
    """Whole slices, by the last axis of the index."""
    batch = node.get("batch_dims", 0)
    parts = [index[..., i] for i in range(index.shape[-1])]
    grid = np.ogrid[tuple(slice(n) for n in x.shape[:batch])] if batch else []
    rest = index.ndim - 1 - batch
    grid = [g.reshape(g.shape + (1,) * rest) for g in grid]
    return of(x, index).asarray(x)[(*grid, *parts)]


def _scattered(node, x, where, updates):
    how = node.get("reduction", "none")
    if how == "none" and of(x, updates, *where) is np:
        x = np.array(x)
        x[where] = updates
        return x
    place = jnp.asarray(x).at[where]
    name = {"none": "set", "mul": "multiply"}.get(how, how)
    return getattr(place, name)(updates)


def scatter_nd(node: Node, x: Any, index: Any, updates: Any) -> Any:
    """``x`` with slices replaced, or added to."""
    where = tuple(index[..., i] for i in range(index.shape[-1]))
    return _scattered(node, x, where, updates)


def scatter_elements(node: Node, x: Any, index: Any, updates: Any) -> Any:
    """``x`` with elements replaced, or added to, along one axis."""
    return _scattered(node, x, _along(x, index, node.get("axis", 0)), updates)


def arg_best(name: str) -> Any:
    """The operator of NumPy's ``argmax`` or ``argmin``."""

    def operator(node, x):
        axis, xp = node.get("axis", 0) % x.ndim, of(x)
        last = node.get("select_last_index", 0)
        found = getattr(xp, name)(xp.flip(x, axis) if last else x, axis)
        found = x.shape[axis] - 1 - found if last else found
        return xp.expand_dims(found, axis) if node.get("keepdims", 1) else found

    return operator


def top_k(node: Node, x: Any, k: Any) -> Any:
    """Values and indices, sorted."""
    (count,) = ints(node, k, "counts")
    axis, sign = node.get("axis", -1), 1 if node.get("largest", 1) else -1
    values, index = lax.top_k(jnp.moveaxis(sign * x, axis, -1), count)
    return sign * jnp.moveaxis(values, -1, axis), jnp.moveaxis(index, -1, axis)


def one_hot(node: Node, index: Any, depth: Any, values: Any) -> Any:
    """``values`` are of what is off and on."""
    (count,) = ints(node, depth, "depths")
    index = jnp.where(index < 0, index + count, index)
    axis = node.get("axis", -1)
    hot = jax.nn.one_hot(index, count, axis=axis, dtype=bool)
    return jnp.where(hot, values[1], values[0])


def non_zero(node: Node, x: Any) -> np.ndarray:
    """Static only: how many there are is a shape."""
    return np.array(np.nonzero(static(node, x, "elements")), np.int64)


def compress(node: Node, x: Any, condition: Any) -> Any:
    """What a static condition keeps."""
    if node.get("axis") is None:
        raise unsupported(node, "without an axis")
    axis = node.get("axis") % x.ndim
    keep = np.flatnonzero(static(node, condition, "conditions"))
    return of(x).take(x, keep, axis=axis)


OPERATORS = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterND": scatter_nd,
    "ScatterElements": scatter_elements,
    "ArgMax": arg_best("argmax"),
    "ArgMin": arg_best("argmin"),
    "TopK": top_k,
    "OneHot": one_hot,
    "NonZero": non_zero,
    "Compress": compress,
}
