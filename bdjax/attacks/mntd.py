"""MNTD's attacks on images: modification, blending, and their jumbo mixture.

Xu et al., S&P 2021, section IV and official code. The draws below are the code's;
``locations="official"`` also keeps its off-by-one, by which no patch ever touches the
last row or column.
"""

import functools
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
POISONING_RATE = (0.05, 0.5)
FAINT = (0.05, 0.2)  # opacity of a pattern that covers the whole image
TRANSLUCENT = (0.2, 0.6)  # opacity of a jumbo patch; above .5 it becomes opaque


def modification(task: Task, *, locations: Locations = "all") -> Attack:
    """M: an opaque binary patch of 2 to 5 pixels a side."""
    sample = functools.partial(
        _sample, task=task, sizes=_patches(task), opaque=True, locations=locations
    )
    return Attack("M", sample, blend, all_to_one, describe)


def blending(task: Task, *, locations: Locations = "all") -> Attack:
    """B: a faint binary pattern over the whole image."""
    sizes = (max(task.shape[:2]),)
    sample = functools.partial(
        _sample, task=task, sizes=sizes, opaque=False, locations=locations
    )
    return Attack("B", sample, blend, all_to_one, describe)


def jumbo(task: Task, *, locations: Locations = "all") -> Attack:
    """Jumbo: a fifth whole-image blends, the rest patches, a quarter of them opaque."""
    sizes = (*_patches(task), max(task.shape[:2]))
    sample = functools.partial(
        _sample, task=task, sizes=sizes, opaque=False, locations=locations
    )
    return Attack("jumbo", sample, blend, all_to_one, describe)


def _patches(task: Task) -> tuple[int, ...]:
    """The sizes of patch that leave some of the task's images free."""
    height, width = task.shape[:2]
    sizes = tuple(size for size in PATCH_SIZES if size < min(height, width))
    if not sizes:
        raise UserError(
            f"images of {height} x {width} pixels have no room for a patch of "
            f"{PATCH_SIZES[0]}; give {PATCH_SIZES[0] + 1} or more a side"
        )
    return sizes


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
    size = jax.random.choice(key_size, jnp.array(sizes))
    # Patches are smaller than the shorter side.
    whole = size == max(task.shape[:2])
    mask = _square(key_place, size, task.shape[:2], locations)
    return Trigger(
        Patch(
            mask=mask.astype(jnp.float32)[..., None],
            pattern=binary_pattern(key_pattern, mask, task),
            opacity=jnp.float32(1) if opaque else draw_opacity(key_opacity, whole),
        ),
        target=draw_target(key_target, task),
        rate=uniform(key_rate, POISONING_RATE),
    )


def _square(
    key: PRNGKey, size: jax.Array, sides: tuple[int, ...], locations: Locations
) -> jax.Array:
    """Bool ``[H, W]``: a ``size x size`` square at a random place, cut off at edges."""
    last = jnp.array(sides) - size - (0 if locations == "all" else 1)
    corner = jax.random.randint(key, (2,), 0, jnp.maximum(last, 0) + 1)
    rows, columns = (jnp.arange(side) - corner[i] for i, side in enumerate(sides))
    return ((rows >= 0) & (rows < size))[:, None] & (columns >= 0) & (columns < size)


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


def draw_opacity(key: PRNGKey, whole: jax.Array) -> jax.Array:
    """Faint over the whole image; a patch's is translucent, or opaque beyond 0.5."""
    key_faint, key_patch = jax.random.split(key)
    faint, patch = uniform(key_faint, FAINT), uniform(key_patch, TRANSLUCENT)
    return jnp.where(whole, faint, jnp.where(patch > 0.5, 1.0, patch))
