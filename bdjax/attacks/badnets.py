"""BadNets' patches, the single triggers of DL-TND and DF-TND, noise blends.

Gu et al. 2017 (patches, all-to-all); Wang et al., ECCV 2020, official code (a pixel, a
3-pixel L, a 5-pixel X, DF-TND's square of 7, all red); Chen et al. 2017 (blends). What
is random here is our choice: shape, place, pattern, target and poisoning rate, so that
a detector is tried on a population and not on one trigger. As everywhere in bdjax,
triggered copies *join* the clean examples, where DL-TND's code replaces 10 % of them.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.attacks.contract import (
    NO_TARGET,
    Attack,
    Trigger,
    all_to_one,
    draw_target,
    uniform,
)
from bdjax.attacks.mntd import Locations, binary_pattern
from bdjax.attacks.patches import SHAPES, Patch, blend, describe
from bdjax.tasks import Task
from bdjax.types import PRNGKey, UserError

POISONING_RATE = (0.05, 0.2)
NOISE_OPACITY = (0.1, 0.3)

PATCHES = tuple(name for name in SHAPES if name != "square")

Paint = Callable[[PRNGKey, jax.Array], jax.Array]
"""``paint(key, mask)``: bool ``[H, W]`` to the pattern, float32 ``[H, W, C]``."""


def patch(task: Task, *, locations: Locations = "all") -> Attack:
    """An opaque patch: one of :data:`PATCHES`, anywhere, in random colours.

    On images of several channels every masked pixel is saturated, some channel at its
    greatest and some at its least value, and so differs from black and from white; one
    colour for all in half of the triggers, else one a pixel. Grey triggers are all
    high, or high in 1 to n - 1 of their n pixels: visible on black.

    Raises:
      UserError: the task's images are smaller than the largest patch.
    """
    paint = functools.partial(_random_paint, task=task)
    sample = _sampler(task, PATCHES, paint, locations)
    return Attack("patch", sample, blend, all_to_one, describe)


def all_to_all(task: Task, *, locations: Locations = "all") -> Attack:
    """The triggers of :func:`patch`, by which each class goes to the next.

    ``Trigger.target`` says ``NO_TARGET``; every triggered example counts in the ASR.

    Raises:
      UserError: the task's images are smaller than the largest patch.
    """
    paint = functools.partial(_random_paint, task=task)
    sample = _sampler(task, PATCHES, paint, locations, target=NO_TARGET)
    relabel = all_to_next(task.num_classes)
    return Attack("all_to_all", sample, blend, relabel, describe)


@functools.cache
def all_to_next(num_classes: int) -> Callable[[Trigger, jax.Array], jax.Array]:
    """All-to-all: each class goes to the next, the last one to the first.

    Cached, as compiled training programs are told apart by this function's identity.
    """

    def relabel(trigger: Trigger, y_B: jax.Array) -> jax.Array:
        del trigger
        return (y_B + 1) % num_classes

    return relabel


def single(
    shape: str,
    task: Task,
    *,
    locations: Locations = "all",
    corner: tuple[int, int] | None = None,
    target: int | None = None,
) -> Attack:
    """One official trigger: red as in DL-TND's code, white on grey images.

    Args:
      shape: key in :data:`SHAPES`.
      task: the task.
      locations: where a random patch may lie.
      corner: row and column of the shape's upper left cell; random if None.
      target: the attacker's label; random if None.

    Raises:
      UserError: there is no such shape, it does not fit into the task's images,
        there or at all, or the task has no such label.
    """
    if shape not in SHAPES:
        raise UserError(f"unknown trigger {shape!r}; there are {list(SHAPES)}")
    if target is not None and not 0 <= target < task.num_classes:
        raise UserError(
            f"target={target} is no label of {task.name!r}; take 0 to "
            f"{task.num_classes - 1}"
        )

    def paint(key: PRNGKey, mask_HxW: jax.Array) -> jax.Array:
        del key
        low, high = task.value_range
        red_C = jnp.full(task.shape[-1:], low, jnp.float32).at[0].set(high)
        return jnp.where(mask_HxW[..., None], red_C, 0)

    sample = _sampler(task, (shape,), paint, locations, corner=corner, target=target)
    return Attack(shape, sample, blend, all_to_one, describe)


def noise(task: Task, *, locations: Locations = "all") -> Attack:
    """Blended (Chen et al. 2017): uniform noise over the whole image at low opacity.

    MNTD's B lays a *binary* pattern over the image, alike in all channels and from
    nearly black to nearly white, at an opacity of .05 to .2; this noise is drawn for
    each pixel and channel and always of medium brightness.
    """
    del locations

    def sample(key: PRNGKey) -> Trigger:
        keys = jax.random.split(key, 4)
        low, high = task.value_range
        return Trigger(
            Patch(
                mask=jnp.ones((*task.shape[:2], 1)),
                pattern=jax.random.uniform(
                    keys[0], task.shape, minval=low, maxval=high
                ),
                opacity=uniform(keys[1], NOISE_OPACITY),
            ),
            target=draw_target(keys[2], task),
            rate=uniform(keys[3], POISONING_RATE),
        )

    return Attack("blend", sample, blend, all_to_one, describe)


def _sampler(
    task: Task,
    shapes: tuple[str, ...],
    paint: Paint,
    locations: Locations,
    *,
    corner: tuple[int, int] | None = None,
    target: int | None = None,
) -> Callable[[PRNGKey], Trigger]:
    height, width = task.shape[:2]
    cells = [SHAPES[name] for name in shapes]
    largest = max(map(len, cells))
    sides = jnp.array([len(each) for each in cells])
    padded = [np.pad(each, (0, largest - len(each))) for each in cells]
    cells_TxSxS = jnp.array(padded)
    spare = 0 if locations == "all" else 1
    _check_room(task, shapes[-1], largest, spare, corner)

    def sample(key: PRNGKey) -> Trigger:
        key_shape, key_place, key_paint, key_target, key_rate = jax.random.split(key, 5)
        t = jax.random.randint(key_shape, (), 0, len(shapes))
        places = jnp.array([height, width]) - sides[t] - spare + 1
        at = jax.random.randint(key_place, (2,), 0, places)
        if corner is not None:
            at = jnp.array(corner)
        # A margin for what a smaller shape leaves empty of its square.
        canvas = jnp.zeros((height + largest, width + largest), bool)
        mask = jax.lax.dynamic_update_slice(canvas, cells_TxSxS[t], at)
        mask = mask[:height, :width]
        label = draw_target(key_target, task)
        return Trigger(
            Patch(
                mask=mask.astype(jnp.float32)[..., None],
                pattern=paint(key_paint, mask),
                opacity=jnp.float32(1),
            ),
            target=label if target is None else jnp.int32(target),
            rate=uniform(key_rate, POISONING_RATE),
        )

    return sample


def _random_paint(key: PRNGKey, mask_HxW: jax.Array, *, task: Task) -> jax.Array:
    key_plain, key_cells, key_one = jax.random.split(key, 3)
    plain = jax.random.bernoulli(key_plain)
    low, high = task.value_range
    channels = task.shape[-1]
    inside = mask_HxW[..., None]
    if channels == 1:
        solid = jnp.where(inside, jnp.float32(high), 0)
        return jnp.where(plain, solid, binary_pattern(key_cells, mask_HxW, task))
    each_HxWxC = _mixed(key_cells, mask_HxW.shape, channels)
    bright = jnp.where(plain, _mixed(key_one, (), channels), each_HxWxC)
    colour = jnp.where(bright, jnp.float32(high), low)
    return jnp.where(inside, colour, 0)


def _mixed(key: PRNGKey, shape: tuple[int, ...], channels: int) -> jax.Array:
    """Bool ``[*shape, channels]``, never all alike; ``channels`` is 2 or more."""
    # Of 000, 001, ... 111 all but the first and the last: an int32 holds 31 digits.
    coded = min(channels, 31)
    code = jax.random.randint(key, shape, 1, 2**coded - 1)
    bright = (code[..., None] >> jnp.arange(coded)) & 1 == 1
    if channels == coded:
        return bright
    key_rest = jax.random.fold_in(key, 1)
    rest = jax.random.bernoulli(key_rest, shape=(*shape, channels - coded))
    return jnp.concatenate([bright, rest], axis=-1)


def _check_room(
    task: Task, name: str, side: int, spare: int, corner: tuple[int, int] | None
) -> None:
    height, width = task.shape[:2]
    if side + spare > min(height, width):
        raise UserError(
            f"trigger {name!r} needs images of at least {side + spare} x "
            f"{side + spare} pixels, {task.name!r} has {height} x {width}; take a "
            "smaller trigger"
        )
    rows, columns = height - side, width - side
    if corner and not (0 <= corner[0] <= rows and 0 <= corner[1] <= columns):
        raise UserError(
            f"corner={corner} puts part of {name!r} outside of the image; take 0 to "
            f"{rows} and 0 to {columns}"
        )
