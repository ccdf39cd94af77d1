"""Data on the device, and what networks, their front ends and attackers see of them.

What a front end (see :class:`bdjax.models.Model`) makes of a clean example is the same
for all models, and of a triggered one the same at every step of a model. Of speech it
costs as much as a step of the network behind it: it is applied beforehand.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bdjax.attacks import Attack, Role
from bdjax.models import Model
from bdjax.population.recipe import Recipe
from bdjax.types import Variables

BLOCK = 20  # examples at once, for a cache's and many models' sake

Map = Callable[[jax.Array], jax.Array]


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


class Frontend(NamedTuple):
    """What the front end makes of the rows of data that are trained on.

    Attributes:
      place_N: int32 ``[N]``, where a row of the data lies in the other two.
      clean_S: float32 ``[S, ...]``, of each row that is trained on.
      triggered_S: the same with one model's trigger on; None until it is known.
    """

    place_N: jax.Array
    clean_S: jax.Array
    triggered_S: jax.Array | None = None

    def batch(self, row_B: jax.Array, role_B: jax.Array) -> jax.Array:
        """Rows of the data behind the front end, triggered unless they are clean."""
        place_B = self.place_N[row_B]
        clean = self.clean_S[place_B]
        which_B = (role_B != Role.CLEAN).reshape(-1, *[1] * (clean.ndim - 1))
        return jnp.where(which_B, jnp.asarray(self.triggered_S)[place_B], clean)


def uses_frontend(network: Model, recipe: Recipe, attack: Attack) -> bool:
    """Whether examples go through the network's front end before training.

    Not where they change from step to step.
    """
    changes = attack.train or attack.cover or attack.adapt
    return network.front is not None and recipe.augment == "none" and not changes


def clean_frontend(network: Model, examples: Examples, subset_S: ArrayLike) -> Frontend:
    """What the front end makes of the rows ``subset_S``, without a trigger."""
    rows_S = jnp.asarray(subset_S)
    place_N = jnp.zeros(len(examples.y), jnp.int32)
    place_N = place_N.at[rows_S].set(jnp.arange(len(rows_S), dtype=jnp.int32))
    return Frontend(place_N, heard(network, examples, rows_S, lambda x_B: x_B))


def heard(
    network: Model, examples: Examples, subset_S: ArrayLike, put_on: Map
) -> jax.Array:
    """What it makes of the rows ``subset_S``, changed by ``put_on(x_B)``."""

    def hear(row_B: jax.Array) -> jax.Array:
        assert network.front is not None
        return network.front(put_on(take(examples, row_B)[0]))

    return in_blocks(hear, subset_S)


def in_blocks(function: Map, x_B: ArrayLike) -> jax.Array:
    """``function(x_B)`` of some rows at a time, where each row is by itself."""
    x_B = jnp.asarray(x_B)
    size = min(BLOCK, len(x_B))
    pad = [(0, -len(x_B) % size), *[(0, 0)] * (x_B.ndim - 1)]
    blocks = jnp.pad(x_B, pad).reshape(-1, size, *x_B.shape[1:])
    done = jax.lax.map(function, blocks)
    return done.reshape(-1, *done.shape[2:])[: len(x_B)]
