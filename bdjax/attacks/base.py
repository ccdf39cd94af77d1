"""What an attack on data is: a distribution over triggers, and how one is applied."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bdjax.types import PRNGKey

NO_TARGET = -1
"""A trigger's target where the attacker's label depends on the true one."""


class Trigger(NamedTuple):
    """One attacker's choices; a pytree of fixed shape, so that triggers stack.

    Attributes:
      mask: float32 ``[H, W, 1]`` in {0, 1}, where the pattern lies.
      pattern: float32 ``[H, W, C]`` in the task's value range.
      opacity: float32 scalar in [0, 1]; 1 replaces the pixel, 0 leaves it. The
        *opacity of the trigger*: MNTD's paper prints its complement, the
        transparency (its official code agrees with us).
      target: int32 scalar, the attacker's label; ``NO_TARGET`` if all-to-all.
      rate: float32 scalar, poisoning rate: ``int(rate * n)`` triggered copies join
        the ``n`` clean examples. 0 for a benign model.
    """

    mask: jax.Array
    pattern: jax.Array
    opacity: jax.Array
    target: jax.Array
    rate: jax.Array


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack that poisons data.

    Attributes:
      name: key in ``bdjax.attacks.ATTACKS``.
      sample: ``sample(key) -> Trigger``.
      apply: ``apply(trigger, x) -> x``, ``x`` float ``[B, H, W, C]``.
      relabel: ``relabel(trigger, y) -> y``, ``y`` int32 ``[B]``.
    """

    name: str
    sample: Callable[[PRNGKey], Trigger]
    apply: Callable[[Trigger, jax.Array], jax.Array]
    relabel: Callable[[Trigger, jax.Array], jax.Array]


def blend(trigger: Trigger, x_BxHxWxC: jax.Array) -> jax.Array:
    """``(1 - m) x + m ((1 - a) x + a t)``: MNTD, equation 3, ``a`` the opacity."""
    weight = trigger.opacity * trigger.mask
    return x_BxHxWxC + weight * (trigger.pattern - x_BxHxWxC)


def all_to_one(trigger: Trigger, y_B: jax.Array) -> jax.Array:
    """Every triggered example takes the target label."""
    return jnp.full_like(y_B, trigger.target)


@functools.cache
def all_to_next(num_classes: int) -> Callable[[Trigger, jax.Array], jax.Array]:
    """All-to-all: each class goes to the next, the last one to the first.

    Cached, as compiled training programs are told apart by this function's identity.
    """

    def relabel(trigger: Trigger, y_B: jax.Array) -> jax.Array:
        del trigger
        return (y_B + 1) % num_classes

    return relabel


def trigger_size(trigger: Trigger) -> jax.Array:
    """How many pixels the trigger covers: int ``[]``, or ``[M]`` of stacked triggers.

    All of them for a blend over the whole image, 0 for a benign model.
    """
    return (trigger.mask > 0).sum((-3, -2, -1))


def describe_target(trigger: Trigger) -> str:
    """One trigger's label rule for reports: ``"3"``, or ``"y + 1"`` if all-to-all."""
    target = int(trigger.target)
    return "y + 1" if target == NO_TARGET else str(target)
