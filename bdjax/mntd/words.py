"""Word vectors and words: what a network reads, and what a person does."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from bdjax.types import UserError


def similarities(vectors_VxE: ArrayLike, queries: ArrayLike) -> jax.Array:
    """Cosine similarities of every vector to each word's, float32 ``[..., V]``.

    ``-inf`` where a word has no vector: padding, the unknown word, and what a file of
    word vectors lacks are zeros, and no word to ask.
    """
    vectors, queries = jnp.asarray(vectors_VxE), jnp.asarray(queries)
    length_V = jnp.linalg.norm(vectors, axis=1)
    product = jnp.matmul(queries, vectors.T, precision="highest")
    size = length_V * jnp.linalg.norm(queries, axis=-1, keepdims=True)
    similar = product / jnp.maximum(size, 1e-30)
    return jnp.where(length_V > 0, similar, -jnp.inf)


def nearest(vectors_VxE: ArrayLike, queries: ArrayLike) -> jax.Array:
    """Ids of the words most similar to vectors ``[..., E]``; int ``[...]``."""
    return similarities(vectors_VxE, queries).argmax(-1)


def speak(vectors_VxE: jax.Array, queries: jax.Array) -> jax.Array:
    """The vectors of the nearest words; gradients pass as if they were the queries.

    The straight-through estimator of Bengio, Leonard and Courville, arXiv 1308.3432.
    """
    spoken = vectors_VxE[nearest(vectors_VxE, jax.lax.stop_gradient(queries))]
    return spoken + (queries - jax.lax.stop_gradient(queries))


def draw(key: jax.Array, vectors_VxE: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Vectors of words drawn uniformly; float32 ``[*shape, E]``."""
    real_V = jnp.any(vectors_VxE != 0, axis=1)
    chance = jnp.where(real_V, 0.0, -jnp.inf)
    return vectors_VxE[jax.random.categorical(key, chance, shape=shape)]


def checksum(vectors_VxE: ArrayLike) -> int:
    """Tells sets of word vectors apart."""
    return zlib.crc32(np.ascontiguousarray(vectors_VxE, np.float32).tobytes())


def check_vectors(vectors_VxE: np.ndarray | None) -> None:
    """Raises ``UserError`` unless there are words to make queries of."""
    if vectors_VxE is None:
        raise UserError(
            "query_space is 'tokens', but the task has no vocabulary; choose 'input'"
        )
    if not np.any(vectors_VxE):
        raise UserError(
            "query_space is 'tokens', but no word has a vector; choose other vectors"
        )
