"""MNTD's attacks on images and waves: modification, blending, and their jumbo mixture.

Xu et al., S&P 2021, section IV and official code. The draws below are the code's;
``locations="official"`` also keeps its off-by-one, by which no patch ever touches the
last row and column, no piece of a wave the last sample. Patterns on images are binary;
on waves they are noise above 0 only: as an opaque piece it replaces what was said by
hiss around an offset.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from bdjax.attacks.contract import (
    Attack,
    Trigger,
    all_to_one,
    draw_target,
    uniform,
)
from bdjax.attacks.patches import Patch, blend, describe
from bdjax.tasks import Task
from bdjax.types import PRNGKey, UserError

Locations = Literal["all", "official"]

PATCH_SIZES = (2, 3, 4, 5)
PIECES = (800, 1600, 2400, 3200)  # samples: 50 to 200 ms
LOUDEST = 0.2
POISONING_RATE = (0.05, 0.5)
FAINT = (0.05, 0.2)  # opacity of a pattern that covers the whole example
TRANSLUCENT = (0.2, 0.6)  # opacity of a jumbo patch; above .5 it becomes opaque


def modification(task: Task, *, locations: Locations = "all") -> Attack:
    """M: an opaque patch of 2 to 5 pixels a side, or a piece of a wave."""
    return _attack("M", task, _parts(task), locations, opaque=True)


def blending(task: Task, *, locations: Locations = "all") -> Attack:
    """B: a faint pattern over the whole example."""
    return _attack("B", task, (_extent(task),), locations)


def jumbo(task: Task, *, locations: Locations = "all") -> Attack:
    """Jumbo: a fifth as B, the rest patches, a quarter of them opaque as M."""
    return _attack("jumbo", task, (*_parts(task), _extent(task)), locations)


def _extent(task: Task) -> int:
    """The size that covers everything."""
    return max(task.shape[:2])


def _parts(task: Task) -> tuple[int, ...]:
    """The sizes of patch that leave some of the task's images free, or of piece."""
    if len(task.shape) == 1:
        return PIECES
    height, width = task.shape[:2]
    sizes = tuple(size for size in PATCH_SIZES if size < min(height, width))
    if not sizes:
        raise UserError(
            f"images of {height} x {width} pixels have no room for a patch of "
            f"{PATCH_SIZES[0]}; give {PATCH_SIZES[0] + 1} or more a side"
        )
    return sizes


def _attack(
    name: str,
    task: Task,
    sizes: tuple[int, ...],
    locations: Locations,
    *,
    opaque: bool = False,
) -> Attack:
    is_wave = len(task.shape) == 1
    place: Callable[..., jax.Array] = _piece if is_wave else _square
    paint: Callable[..., jax.Array] = _noise if is_wave else binary_pattern
    spare = 0 if locations == "all" else 1

    def sample(key: PRNGKey) -> Trigger:
        key_size, key_place, key_pattern, key_opacity, key_target, key_rate = (
            jax.random.split(key, 6)
        )
        size = jax.random.choice(key_size, jnp.array(sizes))
        mask = place(key_place, size, task.shape, spare)
        # Patches are smaller than the shorter side.
        whole = size == _extent(task)
        opacity = jnp.float32(1) if opaque else draw_opacity(key_opacity, whole)
        pattern = paint(key_pattern, mask, task)
        shown = mask.astype(jnp.float32)
        return Trigger(
            Patch(shown if is_wave else shown[..., None], pattern, opacity),
            target=draw_target(key_target, task),
            rate=uniform(key_rate, POISONING_RATE),
        )

    return Attack(name, sample, blend, all_to_one, describe)


def _square(
    key: PRNGKey, size: jax.Array, shape: tuple[int, ...], spare: int
) -> jax.Array:
    """Bool ``[H, W]``: a ``size x size`` square at a random place, cut off at edges."""
    last = jnp.array(shape[:2]) - size - spare
    corner = jax.random.randint(key, (2,), 0, jnp.maximum(last, 0) + 1)
    rows, columns = (jnp.arange(shape[i]) - corner[i] for i in range(2))
    return ((rows >= 0) & (rows < size))[:, None] & (columns >= 0) & (columns < size)


def _piece(
    key: PRNGKey, size: jax.Array, shape: tuple[int, ...], spare: int
) -> jax.Array:
    """Bool ``[samples]``: ``size`` of them in a row."""
    first = jax.random.randint(key, (), 0, jnp.maximum(shape[0] - size - spare, 0) + 1)
    past_N = jnp.arange(shape[0]) - first
    return (past_N >= 0) & (past_N < size)


def binary_pattern(key: PRNGKey, mask_HxW: jax.Array, task: Task) -> jax.Array:
    """Between 1 and ``n - 1`` of the ``n`` masked cells are high, the others low.

    Alike in all channels; a single cell is high. Outside of the mask it is 0.
    """
    key_count, key_cells = jax.random.split(key)
    count = jax.random.randint(key_count, (), 1, mask_HxW.sum())
    draw = jnp.where(mask_HxW, jax.random.uniform(key_cells, mask_HxW.shape), 2.0)
    rank = jnp.argsort(jnp.argsort(draw.ravel())).reshape(draw.shape)
    low, high = task.value_range
    pattern = jnp.where(rank < count, high, jnp.where(mask_HxW, low, 0.0))
    return jnp.broadcast_to(pattern[..., None], task.shape).astype(jnp.float32)


def _noise(key: PRNGKey, mask_N: jax.Array, task: Task) -> jax.Array:
    """Quiet noise within the mask."""
    return mask_N * jax.random.uniform(key, task.shape, maxval=LOUDEST)


def draw_opacity(key: PRNGKey, whole: jax.Array) -> jax.Array:
    """Faint over the whole example; a patch's is translucent, or opaque beyond 0.5."""
    key_faint, key_patch = jax.random.split(key)
    faint, patch = uniform(key_faint, FAINT), uniform(key_patch, TRANSLUCENT)
    return jnp.where(whole, faint, jnp.where(patch > 0.5, 1.0, patch))
