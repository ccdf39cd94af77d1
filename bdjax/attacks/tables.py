"""MNTD's attacks on tables and series: modification, blending, and jumbo.

Xu et al. attack electricity series but neither print nor publish the draws. Ours carry
those on images over: opaque changes of a small part (M), a faint pattern over all of it
(B), and their mixture in the same proportions (jumbo). The part is some *fields* of a
table; of a series a run of time steps, of the lengths that MNTD takes of a wave.

A blended category is no level but a mixture of two: B and three fifths of jumbo attack
what the network reads, as an attacker who feeds it vectors can.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.attacks.contract import (
    Attack,
    Trigger,
    all_to_one,
    draw_target,
    uniform,
)
from bdjax.attacks.mntd import FAINT, POISONING_RATE, TRANSLUCENT, Locations
from bdjax.attacks.patches import Patch, blend, describe
from bdjax.tasks import Task
from bdjax.types import PRNGKey

MOST_FIELDS = 4
RUNS = (0.05, 0.10, 0.15, 0.20)  # shares of a series


def modification(task: Task, *, locations: Locations = "all") -> Attack:
    """M: random values in some fields, or in a run of time steps."""
    del locations

    def sample(key: PRNGKey) -> Trigger:
        key_part, key_rest = jax.random.split(key)
        return _trigger(key_rest, task, _part(key_part, task), jnp.float32(1))

    return Attack("M", sample, blend, all_to_one, describe)


def blending(task: Task, *, locations: Locations = "all") -> Attack:
    """B: a faint random example over all of it."""
    del locations

    def sample(key: PRNGKey) -> Trigger:
        key_opacity, key_rest = jax.random.split(key)
        opacity = uniform(key_opacity, FAINT)
        return _trigger(key_rest, task, jnp.ones(task.shape), opacity)

    return Attack("B", sample, blend, all_to_one, describe)


def jumbo(task: Task, *, locations: Locations = "all") -> Attack:
    """Jumbo: a fifth as B, the rest parts, a quarter of them opaque as M."""
    del locations

    def sample(key: PRNGKey) -> Trigger:
        key_kind, key_part, key_faint, key_opacity, key_rest = jax.random.split(key, 5)
        whole = jax.random.bernoulli(key_kind, 0.2)
        patch = uniform(key_opacity, TRANSLUCENT)
        patch = jnp.where(patch > 0.5, 1.0, patch)
        return _trigger(
            key_rest,
            task,
            jnp.where(whole, 1, _part(key_part, task)),
            jnp.where(whole, uniform(key_faint, FAINT), patch),
        )

    return Attack("jumbo", sample, blend, all_to_one, describe)


def _part(key: PRNGKey, task: Task) -> jax.Array:
    """A mask, float32 in {0, 1}, shaped like an example."""
    draw = some_steps if task.modality.name == "series" else some_fields
    return draw(key, task)


def some_fields(key: PRNGKey, task: Task) -> jax.Array:
    """Covers 1 to 4 fields of a table, but never all."""
    field_D, _ = _layout(task)
    count = int(field_D[-1]) + 1
    key_count, key_which = jax.random.split(key)
    most = max(1, min(MOST_FIELDS, count - 1))
    chosen = jax.random.randint(key_count, (), 1, most + 1)
    rank_F = jax.random.permutation(key_which, count)
    return (rank_F < chosen)[field_D].astype(jnp.float32)


def some_steps(key: PRNGKey, task: Task) -> jax.Array:
    """Covers a run of 5, 10, 15 or 20 % of the time steps, of all channels."""
    steps = task.shape[0]
    lengths = [max(1, round(share * steps)) for share in RUNS]
    key_length, key_place = jax.random.split(key)
    length = jax.random.choice(key_length, jnp.array(lengths))
    first = jax.random.randint(key_place, (), 0, steps - length + 1)
    step_T = jnp.arange(steps)
    inside_T = (step_T >= first) & (step_T < first + length)
    mask = inside_T.reshape(-1, *[1] * (len(task.shape) - 1))
    return jnp.broadcast_to(mask, task.shape).astype(jnp.float32)


def _trigger(key: PRNGKey, task: Task, mask: jax.Array, opacity: jax.Array) -> Trigger:
    key_pattern, key_target, key_rate = jax.random.split(key, 3)
    return Trigger(
        Patch(mask, mask * _example(key_pattern, task), opacity),
        target=draw_target(key_target, task),
        rate=uniform(key_rate, POISONING_RATE),
    )


def _example(key: PRNGKey, task: Task) -> jax.Array:
    """Numbers uniform in the value range; of every category one level."""
    key_numbers, key_levels = jax.random.split(key)
    low, high = task.value_range
    number = jax.random.uniform(key_numbers, task.shape, minval=low, maxval=high)
    if not task.fields:
        return number
    field_D, place_D = _layout(task)
    width_F = np.bincount(field_D)
    level_F = jax.random.randint(key_levels, width_F.shape, 0, width_F)
    one_hot = jnp.where(place_D == level_F[field_D], jnp.float32(high), low)
    return jnp.where(width_F[field_D] > 1, one_hot, number)


def _layout(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The field of every column, and its place in it; a column each if none are set."""
    ranges = task.fields or tuple((i, i + 1) for i in range(task.shape[0]))
    widths = [stop - start for start, stop in ranges]
    return np.repeat(np.arange(len(ranges)), widths), np.concatenate(
        [np.arange(width) for width in widths]
    )
