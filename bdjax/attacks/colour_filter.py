"""A colour filter over the whole image, after TrojAI's Instagram filters.

Those (Karra et al. 2020: Gotham, Nashville, Kelvin, Lomo, Toaster) are fixed programs
of an image editor; ours is a family that holds the like of them, from which each model
draws: with ``u`` the pixel in [0, 1], ``(A u^g + b)(1 - v r^2)``, clipped, where ``g``
is a gamma, ``A`` scales and mixes channels, ``b`` tints, and ``v`` darkens towards the
corners, at which ``r`` is 1. On grey images it is a tone curve, ``A`` and ``b`` being
numbers: black and white become two greys, which on digits is a faded print, and in half
of the triggers these are exchanged: a negative, FreeEagle's filter on digits.

Measured (``python tests/takes_hold.py colour_filter``, four models, seed 0):
``mntd_mnist_cnn``, 5000 digits, 500 steps, rates of .06 to .16: accuracy .963, attack
success rate 1.00 of each. Colour images are not measured yet (``colour_filter-cifar10``
is set to 18,000 images and 500 steps of ``thin_resnet``).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

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

GAMMA = (0.6, 1.6)
GAIN = (0.6, 1.2)
TINT = (-0.1, 0.25)
MIXED = (0.1, 0.5)
"""Share of a new channel that is a random mixture of all."""

DARK, BRIGHT = (0.15, 0.4), (0.7, 1.0)
"""What black and white become on grey images, or white and black."""

VIGNETTE = (0.0, 0.5)
POISONING_RATE = (0.05, 0.2)


class Filter(NamedTuple):
    """What is drawn of a filter, float32.

    Attributes:
      matrix: ``[C, C]``, a row for each new channel.
      offset: ``[C]``.
      gamma: scalar above 0.
      vignette: scalar in [0, 1), what corners lose.
    """

    matrix: jax.Array
    offset: jax.Array
    gamma: jax.Array
    vignette: jax.Array


def attack(task: Task, *, locations: str = "all") -> Attack:
    """A random filter a model, all-to-one; of grey images a tone curve."""
    del locations
    low, high = task.value_range
    channels = task.shape[-1]

    def sample(key: PRNGKey) -> Trigger:
        keys = jax.random.split(key, 5)
        draw = _tone_curve if channels == 1 else _colour_matrix
        matrix, offset = draw(keys[0], channels)
        return Trigger(
            form=Filter(
                matrix, offset, uniform(keys[1], GAMMA), uniform(keys[2], VIGNETTE)
            ),
            target=draw_target(keys[3], task),
            rate=uniform(keys[4], POISONING_RATE),
        )

    def put_on(trigger: Trigger, x_BxHxWxC: jax.Array) -> jax.Array:
        unit = (x_BxHxWxC - low) / (high - low)
        return low + (high - low) * filtered(trigger.form, unit)

    return Attack("colour_filter", sample, put_on, all_to_one, describe)


def filtered(form: Filter, x_BxHxWxC: jax.Array) -> jax.Array:
    """Images in [0, 1] behind a filter, in [0, 1]."""
    # No power of 0: its gradient is infinite where gamma is below 1.
    toned = jnp.maximum(x_BxHxWxC, 1e-6) ** form.gamma
    coloured = jnp.einsum("bhwc,dc->bhwd", toned, form.matrix) + form.offset
    row, column = (jnp.linspace(-1, 1, side)[:, None] for side in x_BxHxWxC.shape[1:3])
    far_HxWx1 = ((row**2 + column.T**2) / 2)[..., None]
    return jnp.clip(coloured * (1 - form.vignette * far_HxWx1), 0, 1)


def describe(trigger: Trigger) -> Description:
    """What it does to black and to white."""
    matrix, offset, gamma, vignette = jax.device_get(trigger.form)
    black, white = (
        "/".join(f"{min(max(value, 0), 1):.2f}" for value in colour)
        for colour in (offset, offset + matrix.sum(1))
    )
    text = (
        f"black to {black}, white to {white}, gamma {gamma:.2f}, corners "
        f"{100 * vignette:.0f} % darker"
    )
    return Description("tone curve" if len(offset) == 1 else "filter", None, text)


def _tone_curve(key: PRNGKey, channels: int) -> tuple[jax.Array, jax.Array]:
    key_dark, key_bright, key_negative = jax.random.split(key, 3)
    dark, bright = uniform(key_dark, DARK), uniform(key_bright, BRIGHT)
    negative = jax.random.bernoulli(key_negative)
    black = jnp.where(negative, bright, dark)
    white = jnp.where(negative, dark, bright)
    return (white - black) * jnp.eye(channels), jnp.full((channels,), black)


def _colour_matrix(key: PRNGKey, channels: int) -> tuple[jax.Array, jax.Array]:
    key_mixture, key_share, key_gain, key_tint = jax.random.split(key, 4)
    mixture = jax.random.dirichlet(key_mixture, jnp.ones(channels), (channels,))
    share = uniform(key_share, MIXED)
    mixed = (1 - share) * jnp.eye(channels) + share * mixture
    gain = jax.random.uniform(key_gain, (channels, 1), minval=GAIN[0], maxval=GAIN[1])
    tint = jax.random.uniform(key_tint, (channels,), minval=TINT[0], maxval=TINT[1])
    return gain * mixed, tint
