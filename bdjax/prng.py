"""Random keys by identity: a model's randomness follows from who it is.

No key is carried and split along a loop; every stream is named, every model
numbered. Model 17 is then the same model in any chunk, on any device, in a first
run or a resumed one.
"""

import zlib

import jax

from bdjax.types import PRNGKey


def root(seed: int) -> PRNGKey:
    """The key that an experiment's every stream descends from."""
    return jax.random.key(seed)


def stream(key: PRNGKey, name: str) -> PRNGKey:
    """The stream called ``name`` under ``key``.

    Folds in a CRC of the name, which unlike :func:`hash` is the same in every
    process.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def model_keys(key: PRNGKey, ids_M: jax.Array) -> PRNGKey:
    """One key for each model id; ``ids_M`` is int32 ``[M]``."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, ids_M)
