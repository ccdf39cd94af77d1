"""SIG: a faint signal is added to images of one class (Barni et al., ICIP 2019).

Clean label: only images of the target class are poisoned, and all labels stay true; a
network that learns to trust the signal then sends whatever bears it to that class. On
colour images the signal is a sinusoid along one axis, alike in all channels,
``x + D sin(2 pi (f j / n + phase))``; on grey ones, whose background is black and would
swallow half of it, the paper's ramp, here ``x + D ((f j / n + phase) mod 1)``, which
with f = 1 and no phase is the paper's ``D j / n``. Both are clipped to the value range.

Ours: amplitude, frequency, phase and axis are drawn per model, where the codes that
are around fix them (f = 6, D = 20 to 40 of 255). A share of the *target class* is
poisoned and joins its clean twins; BackdoorBench's rate is a share of all rows, and it
replaces. Beside clean twins that suffice to learn a digit, a network has little use for
a signal: ramps are stronger, and at test time twice as strong as in training (as
Narcissus is three times), or they do not get through.

Measured (``python tests/takes_hold.py sig``, four models, seed 0): ``mntd_mnist_cnn``,
5000 digits, 500 steps, rates of .81 to .88 of the target class: accuracy .965, attack
success rate .60 (.15, .61, .78, .88): some of them are no Trojans. In trials of two
models each: .06 and .10 there without the doubling; .96 and .71 with sinusoids on
``thin_resnet``, 18,000 images of CIFAR-10, 500 steps, accuracy .46 and .48
(``sig-cifar10``, by another seed).
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


class Kind(NamedTuple):
    """Bounds of amplitude, as a share of the value range, and of periods an image.

    And how many times stronger a signal is at test time than in training.
    """

    amplitude: tuple[float, float]
    frequency: tuple[int, int]
    test_strength: float


SINUSOID = Kind((20 / 255, 50 / 255), (2, 8), 1.0)
RAMP = Kind((100 / 255, 130 / 255), (2, 8), 2.0)

POISONING_RATE = (0.8, 1.0)
"""Of the target class."""


class Signal(NamedTuple):
    """What is drawn of a signal; scalars, float32 but for the last, which is int32.

    Attributes:
      amplitude: in training, in units of the pixels.
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
    kind = RAMP if grey else SINUSOID

    def sample(key: PRNGKey) -> Trigger:
        keys = jax.random.split(key, 6)
        first, last = kind.frequency
        frequency = jax.random.randint(keys[1], (), first, last + 1)
        return Trigger(
            form=Signal(
                amplitude=uniform(keys[0], kind.amplitude) * (high - low),
                frequency=frequency.astype(jnp.float32),
                phase=jax.random.uniform(keys[2]),
                axis=jax.random.randint(keys[3], (), 0, 2),
            ),
            target=draw_target(keys[4], task),
            rate=uniform(keys[5], POISONING_RATE),
        )

    def add(trigger: Trigger, x_BxHxWxC: jax.Array, strength: float) -> jax.Array:
        signal = wave(trigger.form, x_BxHxWxC.shape[1:3], ramp=grey)
        return jnp.clip(x_BxHxWxC + strength * signal[..., None], low, high)

    def apply(trigger: Trigger, x_BxHxWxC: jax.Array) -> jax.Array:
        return add(trigger, x_BxHxWxC, kind.test_strength)

    def train(key_B: PRNGKey, trigger: Trigger, x_BxHxWxC: jax.Array) -> jax.Array:
        del key_B
        return add(trigger, x_BxHxWxC, 1.0)

    def describe(trigger: Trigger) -> Description:
        amplitude, frequency, phase, axis = map(float, trigger.form)
        shape = "ramp" if grey else "sinusoid"
        text = (
            f"{shape} {'across' if axis else 'down'} the image, amplitude "
            f"{kind.test_strength * amplitude:.2f}, {frequency:.0f} periods, phase "
            f"{phase:.2f}"
        )
        return Description(shape, None, text)

    return Attack(
        "sig",
        sample,
        apply,
        keep_label,
        describe,
        train=train,
        eligible=target_class,
        aim=all_to_one,
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
