"""What an attack on data is: a distribution over triggers, and how one is applied."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bdjax.tasks import Task
from bdjax.types import PRNGKey

NO_TARGET = -1
"""A trigger's target where the attacker's label depends on the true one."""


class Trigger(NamedTuple):
    """One attacker's choices; a pytree of fixed shape, so that triggers stack.

    Attributes:
      mask: float32 in {0, 1}, where the pattern lies; ``[H, W, 1]`` of images, else
        shaped like an example.
      pattern: shaped like an example, float32 in the task's value range; of
        sentences int32, the words.
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
      name: key in ``bdjax.attacks.FAMILIES``.
      sample: ``sample(key) -> Trigger``.
      apply: ``apply(trigger, x) -> x``, ``x`` ``[B, *shape]`` of the task.
      relabel: ``relabel(trigger, y) -> y``, ``y`` int32 ``[B]``.
    """

    name: str
    sample: Callable[[PRNGKey], Trigger]
    apply: Callable[[Trigger, jax.Array], jax.Array]
    relabel: Callable[[Trigger, jax.Array], jax.Array]


def blend(trigger: Trigger, x_B: jax.Array) -> jax.Array:
    """``(1 - m) x + m ((1 - a) x + a t)``: MNTD, equation 3, ``a`` the opacity."""
    weight = trigger.opacity * trigger.mask
    return x_B + weight * (trigger.pattern - x_B)


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


def untriggered(task: Task, apply: Callable = blend) -> Attack:
    """No attack: a trigger that changes nothing and poisons nothing.

    Args:
      task: whose examples it leaves alone.
      apply: of the task's other attacks, so that one program trains all its models.
    """
    dtype = jnp.int32 if task.input_shape != task.shape else jnp.float32
    image = len(task.shape) == 3

    def sample(key: PRNGKey) -> Trigger:
        del key
        return Trigger(
            mask=jnp.zeros((*task.shape[:-1], 1) if image else task.shape),
            pattern=jnp.zeros(task.shape, dtype),
            opacity=jnp.float32(0),
            target=jnp.int32(0),
            rate=jnp.float32(0),
        )

    return Attack("benign", sample, apply, all_to_one)


def trigger_size(trigger: Trigger) -> jax.Array:
    """How many pixels, samples, words or columns the trigger covers.

    int ``[]``, or ``[M]`` of stacked triggers. All of them for a blend over a whole
    example, 0 for a benign model.
    """
    single = jnp.ndim(trigger.opacity) == 0
    mask = jnp.asarray(trigger.mask)
    return (mask > 0).sum(axis=tuple(range(0 if single else 1, mask.ndim)))


def describe_target(trigger: Trigger) -> str:
    """One trigger's label rule for reports: ``"3"``, or ``"y + 1"`` if all-to-all."""
    target = int(trigger.target)
    return "y + 1" if target == NO_TARGET else str(target)
