"""A network's front end applied to its training examples beforehand.

What a front end (see :class:`bdjax.models.Model`) makes of a clean example is the same
for all models, and of a triggered one the same at every step of a model. Of speech it
costs as much as a step of the network behind it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bdjax.models import Model
from bdjax.population.examples import Examples, take
from bdjax.population.recipe import Recipe

BLOCK = 20  # examples at once, for a cache's and many models' sake

Map = Callable[[jax.Array], jax.Array]


class Front(NamedTuple):
    """What the front end makes of the rows of data that are trained on.

    Attributes:
      place_N: int32 ``[N]``, where a row of the data lies in the other two.
      clean_S: float32 ``[S, ...]``, of each row that is trained on.
      triggered_S: the same with one model's trigger on; None until it is known.
    """

    place_N: jax.Array
    clean_S: jax.Array
    triggered_S: jax.Array | None = None

    def batch(self, row_B: jax.Array, poisoned_B: jax.Array) -> jax.Array:
        """Rows of the data behind the front end, triggered where it says so."""
        place_B = self.place_N[row_B]
        clean = self.clean_S[place_B]
        which_B = poisoned_B.reshape(-1, *[1] * (clean.ndim - 1))
        return jnp.where(which_B, jnp.asarray(self.triggered_S)[place_B], clean)


def uses_front(model: Model, recipe: Recipe) -> bool:
    """Whether examples go through the network's front end before training."""
    return model.front is not None and recipe.augment == "none"


def clean_front(model: Model, examples: Examples, subset_S: ArrayLike) -> Front:
    """What the front end makes of the rows ``subset_S``, without a trigger."""
    rows_S = jnp.asarray(subset_S)
    place_N = jnp.zeros(len(examples.y), jnp.int32)
    place_N = place_N.at[rows_S].set(jnp.arange(len(rows_S), dtype=jnp.int32))
    return Front(place_N, _hear(model, examples, rows_S, lambda x_B: x_B))


def add_triggered(
    front: Front, model: Model, examples: Examples, subset_S: ArrayLike, put_on: Map
) -> Front:
    """Adds the same rows with the trigger that ``put_on(x_B)`` puts on."""
    return front._replace(triggered_S=_hear(model, examples, subset_S, put_on))


def _hear(
    model: Model, examples: Examples, subset_S: ArrayLike, change: Map
) -> jax.Array:
    def hear(row_B: jax.Array) -> jax.Array:
        assert model.front is not None
        return model.front(change(take(examples, row_B)[0]))

    return in_blocks(hear, subset_S)


def in_blocks(function: Map, x_B: ArrayLike) -> jax.Array:
    """``function(x_B)`` of some rows at a time, where each row is by itself."""
    x_B = jnp.asarray(x_B)
    size = min(BLOCK, len(x_B))
    pad = [(0, -len(x_B) % size), *[(0, 0)] * (x_B.ndim - 1)]
    blocks = jnp.pad(x_B, pad).reshape(-1, size, *x_B.shape[1:])
    done = jax.lax.map(function, blocks)
    return done.reshape(-1, *done.shape[2:])[: len(x_B)]
