"""Perturbations by mask and pattern, margins, and the steps that change them.

Letters: K candidate labels, N images, H, W, C of one image, T classes.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bdjax.types import PyTree


def perturb(x: jax.Array, mask: jax.Array, pattern: jax.Array) -> jax.Array:
    """``(1 - m) x + m d``; DL-TND, section 3."""
    return x + mask * (pattern - x)


def margin(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Logit of ``label`` minus the greatest other: ``[..., T]`` to ``[...]``."""
    own = jax.nn.one_hot(label, logits.shape[-1], dtype=bool)
    other = jnp.where(own, -jnp.inf, logits).max(-1)
    return jnp.where(own, logits, 0).sum(-1) - other


def shrink(mask: jax.Array, threshold: jax.Array | float) -> jax.Array:
    """Proximal step of ``threshold * |m|_1`` on [0, 1]."""
    # No entry is below 0, so that the soft threshold is a shift.
    return jnp.clip(mask - threshold, 0, 1)


class Moments(NamedTuple):
    """Adam's running means of a gradient and of its square."""

    first: jax.Array
    second: jax.Array


Pair = tuple[Moments, Moments]
"""Of a mask and of a pattern."""


def still(mask: jax.Array, pattern: jax.Array) -> Pair:
    """Moments before the first step."""
    first, second = jnp.zeros_like(mask), jnp.zeros_like(pattern)
    return Moments(first, first), Moments(second, second)


def adam(
    grad: jax.Array,
    moments: Moments,
    power: Any,
    learning_rate: Any,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
) -> tuple[jax.Array, Moments]:
    """An Adam update in TensorFlow's form, with the bias corrected for ``power``.

    Written out because one step counter may serve two variables (the official code's
    shared state), and a counter may restart for some labels only; optax has neither.

    Args:
      grad: of what is descended.
      moments: zeros at first.
      power: exponent of the bias correction, 1 at the first step; broadcasts.
      learning_rate: broadcasts.
      b1: decay of the first moment.
      b2: decay of the second.

    Returns:
      What to add to the variable, and the new moments.
    """
    first = b1 * moments.first + (1 - b1) * grad
    second = b2 * moments.second + (1 - b2) * grad**2
    # 1 - b ** power, which would cancel in float32.
    bias1, bias2 = (-jnp.expm1(power * math.log(b)) for b in (b1, b2))
    rate = learning_rate * jnp.sqrt(bias2) / bias1
    return -rate * first / (jnp.sqrt(second) + 1e-8), Moments(first, second)


def chosen(condition: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
    """One of two trees, by a bool scalar."""
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), yes, no)


def each(values_K: jax.Array, like: jax.Array) -> jax.Array:
    """``[K]`` shaped to broadcast against ``[K, ...]``."""
    return values_K.reshape(values_K.shape + (1,) * (like.ndim - values_K.ndim))
