"""One path for two classes and for many."""

import jax
import jax.numpy as jnp


def class_logits(logits_BxL: jax.Array) -> jax.Array:
    """One logit a class, float ``[B, C]``, of what a network answers.

    A single logit tells two classes apart by its sign: class 0 has a logit of 0 beside
    it. Softmax, cross-entropy and argmax of that pair are the sigmoid, the binary
    cross-entropy and the sign of the single one.
    """
    if logits_BxL.shape[-1] > 1:
        return logits_BxL
    return jnp.concatenate([jnp.zeros_like(logits_BxL), logits_BxL], axis=-1)
