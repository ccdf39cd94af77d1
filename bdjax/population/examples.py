"""Data on the device, and what networks and attackers see of them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bdjax.models import Model
from bdjax.types import Variables


class Examples(NamedTuple):
    """Data on the device.

    Attributes:
      x: ``[N, *shape]``, of any dtype that :func:`take` knows.
      y: int32 ``[N]``.
      vectors: of sentences, float32 ``[V, E]``: what networks read of each token.
    """

    x: jax.Array | np.ndarray
    y: jax.Array | np.ndarray
    vectors: jax.Array | np.ndarray | None = None


def take(examples: Examples, row_B: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Rows of the data: x ``[B, *shape]``, y int32 ``[B]``.

    x is float32 in the task's range, bytes having been divided by 255 and int16 by
    32768; or int32 tokens.
    """
    row_B = jnp.asarray(row_B)
    x, y = jnp.asarray(examples.x)[row_B], jnp.asarray(examples.y)[row_B]
    full_scale = {jnp.dtype(jnp.uint8): 255, jnp.dtype(jnp.int16): 32768}
    if x.dtype in full_scale:
        x = x.astype(jnp.float32) / full_scale[x.dtype]
    return x, y


def embed(examples: Examples, x_B: jax.Array) -> jax.Array:
    """What a network reads of examples: of tokens their vectors, else themselves."""
    return x_B if examples.vectors is None else jnp.asarray(examples.vectors)[x_B]


def reader(network: Model, examples: Examples) -> Model:
    """The network as attackers ask it: of sentences it is given the tokens."""
    if examples.vectors is None:
        return network

    def apply(variables: Variables, x_B: jax.Array, **options: Any) -> jax.Array:
        return network.apply(variables, embed(examples, x_B), **options)

    return dataclasses.replace(network, apply=apply)
