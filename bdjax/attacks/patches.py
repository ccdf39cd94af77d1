"""Triggers of mask, pattern and opacity, and how they are laid over an example."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.attacks.contract import BENIGN, Attack, Description, Trigger, all_to_one
from bdjax.tasks import Task
from bdjax.types import PRNGKey

# No two have as many pixels, so that a stored mask tells its shape.
SHAPES = {
    "pixel": np.ones((1, 1), bool),
    "ell": np.array([[1, 0], [1, 1]], bool),
    "cross": np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool),
    **{f"square of {side}": np.ones((side, side), bool) for side in (2, 3, 4, 5)},
    "square": np.ones((7, 7), bool),
}


class Patch(NamedTuple):
    """A pattern, where it lies, and how much of the example shows through.

    Attributes:
      mask: float32 in {0, 1}, where the pattern lies; ``[H, W, 1]`` of images, else
        shaped like an example.
      pattern: shaped like an example, float32 in the task's value range; of
        sentences int32, the words.
      opacity: float32 scalar in [0, 1]; 1 replaces the pixel, 0 leaves it. The
        *opacity of the trigger*: MNTD's paper prints its complement, the
        transparency (its official code agrees with us).
    """

    mask: jax.Array
    pattern: jax.Array
    opacity: jax.Array


def blend(trigger: Trigger, x_B: jax.Array) -> jax.Array:
    """``(1 - m) x + m ((1 - a) x + a t)``: MNTD, equation 3, ``a`` the opacity."""
    mask, pattern, opacity = trigger.form
    return x_B + opacity * mask * (pattern - x_B)


def describe(trigger: Trigger) -> Description:
    """Size and opacity of a patch; ``"none"`` of a benign model's."""
    mask, _, opacity = trigger.form
    size = int(patch_size(trigger))
    if not size:
        return Description("none", 0, "no trigger")
    kind = f"{size} cells"
    if np.ndim(mask) == 3:
        shapes = {int(cells.sum()): name for name, cells in SHAPES.items()}
        kind = shapes.get(size, f"{size} pixels")
    if size == np.size(mask):
        kind = "whole image" if np.ndim(mask) == 3 else "whole example"
    return Description(kind, size, f"{kind}, opacity {float(opacity):.2g}")


def patch_size(trigger: Trigger) -> jax.Array:
    """How many pixels, samples, words or columns a patch covers.

    int ``[]``, or ``[M]`` of stacked triggers. All of them for a blend over a whole
    example, 0 for a benign model.
    """
    mask, _, opacity = trigger.form
    return (jnp.asarray(mask) > 0).sum(axis=tuple(range(jnp.ndim(opacity), mask.ndim)))


def untriggered(task: Task, apply: Callable = blend, **options: str) -> Attack:
    """No attack: a trigger that changes nothing and poisons nothing.

    Args:
      task: whose examples it leaves alone.
      apply: of the task's other attacks, so that one program trains all its models.
      **options: where patches may lie, which makes no difference here.
    """
    del options
    dtype = jnp.int32 if task.input_shape != task.shape else jnp.float32
    image = len(task.shape) == 3

    def sample(key: PRNGKey) -> Trigger:
        del key
        return Trigger(
            Patch(
                mask=jnp.zeros((*task.shape[:-1], 1) if image else task.shape),
                pattern=jnp.zeros(task.shape, dtype),
                opacity=jnp.float32(0),
            ),
            target=jnp.int32(0),
            rate=jnp.float32(0),
        )

    return Attack(BENIGN, sample, apply, all_to_one, describe)
