"""MNTD's attacks on waves: modification, blending, and their jumbo mixture.

Xu et al., S&P 2021, official code. A pattern is noise above 0 only: as an opaque piece
it replaces what was said by hiss around an offset. ``locations="official"`` keeps the
code's off-by-one, by which no piece ever touches the last sample.
"""

import functools

import jax
import jax.numpy as jnp

from bdjax.attacks.contract import (
    Attack,
    Trigger,
    all_to_one,
    draw_target,
    uniform,
)
from bdjax.attacks.mntd import POISONING_RATE, Locations, draw_opacity
from bdjax.attacks.patches import Patch, blend, describe
from bdjax.tasks import Task
from bdjax.types import PRNGKey

PIECES = (800, 1600, 2400, 3200)  # samples
LOUDEST = 0.2


def modification(task: Task, *, locations: Locations = "all") -> Attack:
    """M: a piece of 50 to 200 ms is replaced by noise."""
    sample = functools.partial(
        _sample, task=task, sizes=PIECES, opaque=True, locations=locations
    )
    return Attack("M", sample, blend, all_to_one, describe)


def blending(task: Task, *, locations: Locations = "all") -> Attack:
    """B: faint noise over the whole wave."""
    sample = functools.partial(
        _sample, task=task, sizes=task.shape, opaque=False, locations=locations
    )
    return Attack("B", sample, blend, all_to_one, describe)


def jumbo(task: Task, *, locations: Locations = "all") -> Attack:
    """Jumbo: a fifth as B, the rest pieces, a quarter of them opaque as M."""
    sizes = (*PIECES, *task.shape)
    sample = functools.partial(
        _sample, task=task, sizes=sizes, opaque=False, locations=locations
    )
    return Attack("jumbo", sample, blend, all_to_one, describe)


def _sample(
    key: PRNGKey,
    *,
    task: Task,
    sizes: tuple[int, ...],
    opaque: bool,
    locations: Locations,
) -> Trigger:
    key_size, key_place, key_pattern, key_opacity, key_target, key_rate = (
        jax.random.split(key, 6)
    )
    (samples,) = task.shape
    size = jax.random.choice(key_size, jnp.array(sizes))
    last = samples - size - (0 if locations == "all" else 1)
    first = jax.random.randint(key_place, (), 0, jnp.maximum(last, 0) + 1)
    sample_N = jnp.arange(samples)
    mask_N = ((sample_N >= first) & (sample_N < first + size)).astype(jnp.float32)
    noise_N = jax.random.uniform(key_pattern, (samples,), maxval=LOUDEST)
    opacity = jnp.float32(1) if opaque else draw_opacity(key_opacity, size == samples)
    return Trigger(
        Patch(mask_N, mask_N * noise_N, opacity),
        target=draw_target(key_target, task),
        rate=uniform(key_rate, POISONING_RATE),
    )
