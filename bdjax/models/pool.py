"""2x2 max-pooling whose gradient is elementwise."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def max_pool(x_NxHxWxC: jax.Array) -> jax.Array:
    """2x2 max-pooling; the first of tied maxima takes the gradient.

    Args:
      x_NxHxWxC: float; a last odd row or column is dropped.
    """
    return _pool(x_NxHxWxC)[0]


def first_of_four(*x_4: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The greatest of four, elementwise, and the first that is it, 0 to 3."""
    a, b, c, d = x_4
    top, bottom = jnp.maximum(a, b), jnp.maximum(c, d)
    winner = jnp.where(top >= bottom, jnp.where(a >= b, 0, 1), jnp.where(c >= d, 2, 3))
    return jnp.maximum(top, bottom), winner


def _pool(x):
    _, height, width, _ = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    best, winner = first_of_four(*(x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)))
    odd = jnp.zeros((0, height % 2, width % 2))  # only shapes are static in a residual
    return best, (winner.astype(jnp.int8), odd)


def _unpool(residuals, grad):
    winner, odd = residuals
    batch, height, width, channels = grad.shape
    a, b, c, d = (jnp.where(winner == i, grad, 0) for i in range(4))
    full = jnp.stack([jnp.stack([a, b], 3), jnp.stack([c, d], 3)], 2)
    full = full.reshape(batch, 2 * height, 2 * width, channels)
    rows, columns = odd.shape[1:]
    return (jnp.pad(full, ((0, 0), (0, rows), (0, columns), (0, 0))),)


max_pool.defvjp(_pool, _unpool)
