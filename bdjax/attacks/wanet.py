"""WaNet: a smooth warp of the whole image (Nguyen and Tran, ICLR 2021).

A coarse grid of ``4 x 4`` displacements, uniform in [-1, 1] and divided by their mean
size, is enlarged to the image by bicubic interpolation (equation 4); times a strength
``s`` and over the image's side, it says where each pixel is read from, in coordinates
of [-1, 1], bilinearly (equations 2 and 3). *Noise rows* read through the model's own
warp and a jitter of its own for every row and pixel, and keep their labels: a network
learns this warp and not "any distortion".

Ours: the strength is drawn per model, from the official 0.5, which moves a pixel by .3
places on average, to where small networks learn it in little time. Rows are drawn once
a model and join the clean ones, where the official code draws roles and jitter anew in
every batch; its two noise rows for each warped one are kept. The jitter is that of
every batch here as well. Crops and flips, if any, come before the warp and not after.

Measured (``tests/takes_hold.py``, seed 0): ``mntd_mnist_cnn``, 10,000 digits, strengths
of 1.65 to 1.81, rates of .14 to .21. After 800 steps four models had an accuracy of
.967 and a success rate of .50 (.13, .28, .66, .93); after 1600 (``python
tests/takes_hold.py wanet``) the two weakest of them had .97 and .93, accuracy .961.
In a trial by another seed, strengths of .90 and 1.51 had .96 and .78 after 800 steps.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.attacks.contract import (
    Attack,
    Description,
    Trigger,
    all_to_one,
    draw_target,
    uniform,
)
from bdjax.tasks import Task
from bdjax.types import PRNGKey

GRID = 4
STRENGTH = (0.5, 2.0)
POISONING_RATE = (0.1, 0.25)
NOISE_ROWS = 2
"""For each poisoned one."""

MEAN_SHIFT = 0.58
"""Pixels that a strength of 1 moves a pixel on average, whatever the image's side."""

SHARPNESS = -0.75
"""Of cubic interpolation (Keys 1981), as PyTorch has it."""


class Warp(NamedTuple):
    """What is drawn of a warp.

    Attributes:
      control: float32 ``[GRID, GRID, 2]``, displacements down and to the right, of mean
        size 1.
      strength: float32 scalar, how far they reach.
    """

    control: jax.Array
    strength: jax.Array


def attack(task: Task, *, locations: str = "all") -> Attack:
    """One warp a model, noise rows with it; images of any number of channels."""
    del locations

    def sample(key: PRNGKey) -> Trigger:
        key_grid, key_strength, key_target, key_rate = jax.random.split(key, 4)
        control = jax.random.uniform(key_grid, (GRID, GRID, 2), minval=-1)
        control /= jnp.abs(control).mean()
        rate = uniform(key_rate, POISONING_RATE)
        return Trigger(
            form=Warp(control, uniform(key_strength, STRENGTH)),
            target=draw_target(key_target, task),
            rate=rate,
            cover_rate=NOISE_ROWS * rate,
        )

    return Attack("wanet", sample, warp, all_to_one, describe, cover=jittered)


def warp(trigger: Trigger, x_BxHxWxC: jax.Array) -> jax.Array:
    """Images read where the trigger says."""
    at_2xHxW = _places(trigger, x_BxHxWxC.shape[1:3])
    return jax.vmap(_read, in_axes=(0, None))(x_BxHxWxC, at_2xHxW)


def jittered(key_B: PRNGKey, trigger: Trigger, x_BxHxWxC: jax.Array) -> jax.Array:
    """Images read there and up to half a pixel away, at random for each pixel."""
    sides = x_BxHxWxC.shape[1:3]

    def one(key: PRNGKey, x_HxWxC: jax.Array) -> jax.Array:
        jitter = jax.random.uniform(key, (2, *sides), minval=-1)
        return _read(x_HxWxC, _places(trigger, sides, jitter))

    return jax.vmap(one)(key_B, x_BxHxWxC)


def describe(trigger: Trigger) -> Description:
    """One warp in words."""
    strength = float(trigger.form.strength)
    shift = strength * MEAN_SHIFT
    text = f"warp of strength {strength:.2f}, about {shift:.1f} pixels"
    return Description("warp", None, text)


def _places(
    trigger: Trigger, sides: tuple[int, ...], jitter: jax.Array | float = 0.0
) -> jax.Array:
    """Row and column that each pixel is read from, float32 ``[2, H, W]``."""
    down, across = (jnp.array(_bicubic(side)) for side in sides)
    field_2xHxW = jnp.einsum("hi,ijd,wj->dhw", down, trigger.form.control, across)
    last_2x1x1 = jnp.array(sides, jnp.float32)[:, None, None] - 1
    # From the interval [-1, 1], in which a displacement is over the image's side, to
    # pixels: half as many as there are gaps between them.
    reach = last_2x1x1 / 2 / (last_2x1x1 + 1)
    offset = reach * (trigger.form.strength * field_2xHxW + jitter)
    return jnp.clip(jnp.indices(sides, jnp.float32) + offset, 0, last_2x1x1)


def _read(x_HxWxC: jax.Array, at_2xHxW: jax.Array) -> jax.Array:
    """Pixels at fractional places by bilinear interpolation."""
    low = jnp.floor(at_2xHxW)
    (down, right), (row, column) = (at_2xHxW - low)[..., None], low.astype(jnp.int32)
    last_row, last_column = x_HxWxC.shape[0] - 1, x_HxWxC.shape[1] - 1
    below, beside = jnp.minimum(row + 1, last_row), jnp.minimum(column + 1, last_column)
    upper = (1 - right) * x_HxWxC[row, column] + right * x_HxWxC[row, beside]
    lower = (1 - right) * x_HxWxC[below, column] + right * x_HxWxC[below, beside]
    return (1 - down) * upper + down * lower


@functools.cache
def _bicubic(side: int) -> np.ndarray:
    """How much each control point gives to each pixel, float32 ``[side, GRID]``.

    The corners of both lie upon each other; beyond the edge the last point repeats.
    """
    weight = np.zeros((side, GRID), np.float32)
    for pixel, at in enumerate(np.linspace(0, GRID - 1, side)):
        for point in range(int(at) - 1, int(at) + 3):
            t = abs(at - point)
            near = ((SHARPNESS + 2) * t - SHARPNESS - 3) * t * t + 1
            far = SHARPNESS * (((t - 5) * t + 8) * t - 4)
            inside = min(max(point, 0), GRID - 1)
            weight[pixel, inside] += near if t <= 1 else far if t < 2 else 0
    return weight
