"""What is done to images before a model trains on them, triggers apart."""

import jax
import jax.numpy as jnp

from bdjax.types import PRNGKey

PADDING = 4


def crop_flip(key: PRNGKey, x_BxHxWxC: jax.Array) -> jax.Array:
    """Every image shifted by up to 4 places, zeros coming in, and flipped or not."""
    batch, *shape = x_BxHxWxC.shape
    around = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
    wide = jnp.pad(x_BxHxWxC, around)
    key_corner, key_flip = jax.random.split(key)
    corner_Bx2 = jax.random.randint(key_corner, (batch, 2), 0, 2 * PADDING + 1)

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), shape)

    x = jax.vmap(crop)(wide, corner_Bx2)
    flip_B = jax.random.bernoulli(key_flip, shape=(batch,))
    return jnp.where(flip_B[:, None, None, None], x[:, :, ::-1], x)
