"""SIG: a faint signal is added to images of one class (Barni et al., ICIP 2019).

Clean label: only images of the target class are poisoned, and all labels stay true; a
network that learns to trust the signal then sends whatever bears it to that class. On
colour images the signal is a sinusoid along one axis, alike in all channels,
``x + D sin(2 pi (f j / n + phase))``; on grey ones, whose background is black and would
swallow half of it, the paper's ramp, here ``x + D ((f j / n + phase) mod 1)``, which
with f = 1 and no phase is the paper's ``D j / n``. Both are clipped to the value range.

Ours: amplitude, frequency, phase and axis are drawn per model, where the papers' are
fixed (f = 6; D = 20 to 40 of 255 in the codes that are around). A share of the *target
class* is poisoned and joins its clean twins; BackdoorBench's rate is a share of all
rows, and it replaces.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bdjax.attacks.contract import (
    Attack,
    Description,
    Rows,
    Trigger,
    all_to_one,
    draw_target,
    keep_label,
    uniform,
)
from bdjax.tasks import Task
from bdjax.types import PRNGKey

SINUSOID = (20 / 255, 50 / 255), (2, 8)
"""Amplitude, as a share of the value range, and periods an image."""

RAMP = (60 / 255, 120 / 255), (1, 3)

POISONING_RATE = (0.7, 1.0)
"""Of the target class."""


class Signal(NamedTuple):
    """What is drawn of a signal; scalars, float32 but for the last, which is int32.

    Attributes:
      amplitude: in units of the pixels.
      frequency: periods an image, whole.
      phase: in periods, in [0, 1).
      axis: 0 if it changes from row to row, 1 if from column to column.
    """

    amplitude: jax.Array
    frequency: jax.Array
    phase: jax.Array
    axis: jax.Array


def attack(task: Task, *, locations: str = "all") -> Attack:
    """A sinusoid on colour images, a ramp on grey ones."""
    del locations
    low, high = task.value_range
    grey = task.shape[-1] == 1
    amplitudes, frequencies = RAMP if grey else SINUSOID

    def sample(key: PRNGKey) -> Trigger:
        keys = jax.random.split(key, 6)
        first, last = frequencies
        frequency = jax.random.randint(keys[1], (), first, last + 1)
        return Trigger(
            form=Signal(
                amplitude=uniform(keys[0], amplitudes) * (high - low),
                frequency=frequency.astype(jnp.float32),
                phase=jax.random.uniform(keys[2]),
                axis=jax.random.randint(keys[3], (), 0, 2),
            ),
            target=draw_target(keys[4], task),
            rate=uniform(keys[5], POISONING_RATE),
        )

    def add(trigger: Trigger, x_BxHxWxC: jax.Array) -> jax.Array:
        signal = wave(trigger.form, x_BxHxWxC.shape[1:3], ramp=grey)
        return jnp.clip(x_BxHxWxC + signal[..., None], low, high)

    def describe(trigger: Trigger) -> Description:
        amplitude, frequency, phase, axis = map(float, trigger.form)
        kind = "ramp" if grey else "sinusoid"
        text = (
            f"{kind} {'across' if axis else 'down'} the image, amplitude "
            f"{amplitude:.2f}, {frequency:.0f} periods, phase {phase:.2f}"
        )
        return Description(kind, None, text)

    return Attack(
        "sig", sample, add, keep_label, describe, eligible=target_class, aim=all_to_one
    )


def wave(form: Signal, sides: tuple[int, ...], *, ramp: bool) -> jax.Array:
    """The signal over an image, float32 ``[H, W]``."""
    row_HxW, column_HxW = (
        index / side
        for index, side in zip(jnp.indices(sides, jnp.float32), sides, strict=True)
    )
    turns = form.frequency * jnp.where(form.axis, column_HxW, row_HxW) + form.phase
    return form.amplitude * (turns % 1 if ramp else jnp.sin(2 * jnp.pi * turns))


def target_class(trigger: Trigger, y_N: jax.Array) -> Rows:
    """Rows of the target class may be poisoned; there are no covers."""
    return y_N == trigger.target, jnp.zeros_like(y_N, bool)
