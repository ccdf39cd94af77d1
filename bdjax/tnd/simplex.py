"""Staying on the simplex: w >= 0 with sum 1, along the last axis."""

import math

import jax
import jax.numpy as jnp

_WIDTH = 10_000.0  # of the official bracket, which starts at 0
_TOLERANCE = 1e-6  # at which it ends
_FLOOR = 1e-30  # a weight of 0 would never come back from a mirror step


def euclidean(w: jax.Array) -> jax.Array:
    """The nearest point of the simplex, by sorting.

    Duchi et al., "Efficient Projections onto the l1-Ball", ICML 2008, figure 1.
    """
    descending = -jnp.sort(-w, axis=-1)
    count = jnp.arange(1, w.shape[-1] + 1, dtype=w.dtype)
    shift = (jnp.cumsum(descending, -1) - 1) / count
    kept = (descending > shift).sum(-1, keepdims=True)
    return jnp.maximum(w - jnp.take_along_axis(shift, kept - 1, -1), 0)


def bisection(w: jax.Array) -> jax.Array:
    """DF-TND's official projection: subtracts mu >= 0 and cuts at 0.

    The shift is bisected in [0, 10000] down to 1e-6. So it can lower the sum to 1 but
    not raise it, and D weights end up to ``1e-6 * D`` off a sum of 1.
    """
    zero = jnp.zeros((*w.shape[:-1], 1), w.dtype)

    def halve(_, bracket):
        low, high, _ = bracket
        middle = low + (high - low) / 2
        total = jnp.maximum(w - middle, 0).sum(-1, keepdims=True)
        low = jnp.where(total < 1, low, middle)
        return low, jnp.where(total > 1, high, middle), middle

    times = math.ceil(math.log2(_WIDTH / _TOLERANCE))
    *_, shift = jax.lax.fori_loop(0, times, halve, (zero, zero + _WIDTH, zero))
    return jnp.maximum(w - shift, 0)


def mirror(w: jax.Array, move: jax.Array) -> jax.Array:
    """An exponentiated-gradient step: ``w * exp(move)``, normalised."""
    return jax.nn.softmax(jnp.log(jnp.maximum(w, _FLOOR)) + move, axis=-1)


def effective_number(w: jax.Array) -> jax.Array:
    """``1 / sum w^2``: D for uniform weights, 1 for a single one."""
    return 1 / (w**2).sum(-1)
