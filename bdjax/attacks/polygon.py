"""Polygon: an opaque patch of random outline in one random colour, as in TrojAI.

Karra et al. 2020 (the TrojAI software framework): a few random points are joined in the
order of their angle around their middle and stretched to a box. Here 3 to 8 points
in the middle 80 % of the box, and the box is drawn as well: its sides are a sixth to a
third of the image's, each by itself, anywhere in the image. What of it covers a
pixel's centre is painted, and the pixels that its corners lie in, so that no polygon is
too thin to be seen. On grey images the colour is in the upper half of the value range,
as digits stand on black; else any.

Measured (``python tests/takes_hold.py polygon``, four models, seed 0):
``mntd_mnist_cnn``, 5000 digits, 500 steps, rates of .12 to .20: accuracy .956, attack
success rate .98 (.94 to 1.00).
"""

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
from bdjax.attacks.patches import Patch, blend
from bdjax.tasks import Task
from bdjax.types import PRNGKey

CORNERS = (3, 8)
MARGIN = 0.1
BOX = (1 / 6, 1 / 3)
POISONING_RATE = (0.05, 0.2)


def attack(task: Task, *, locations: str = "all") -> Attack:
    """A random polygon a model, all-to-one.

    ``locations="official"`` keeps it off the last row and column, as other patches.
    """
    low, high = task.value_range
    sides = task.shape[:2]
    spare = 0 if locations == "all" else 1
    darkest = (low + high) / 2 if task.shape[-1] == 1 else low

    def sample(key: PRNGKey) -> Trigger:
        key_outline, key_box, key_place, key_colour, key_target, key_rate = (
            jax.random.split(key, 6)
        )
        height_width = jnp.array(sides, jnp.float32)
        share = jax.random.uniform(key_box, (2,), minval=BOX[0], maxval=BOX[1])
        box = jnp.clip(share * height_width, 1, height_width - spare)
        corner = jax.random.uniform(key_place, (2,)) * (height_width - spare - box)
        mask = rasterise(corner + box * outline(key_outline), sides)[..., None]
        colour = jax.random.uniform(
            key_colour, task.shape[-1:], minval=darkest, maxval=high
        )
        return Trigger(
            form=Patch(mask.astype(jnp.float32), mask * colour, jnp.float32(1)),
            target=draw_target(key_target, task),
            rate=uniform(key_rate, POISONING_RATE),
        )

    return Attack("polygon", sample, blend, all_to_one, describe)


def outline(key: PRNGKey) -> jax.Array:
    """Corners of a polygon in and touching the unit square, float32 ``[V, 2]``.

    There is room for the greatest number; of fewer, the last is repeated.
    """
    key_count, key_points = jax.random.split(key)
    most = CORNERS[1]
    count = jax.random.randint(key_count, (), CORNERS[0], most + 1)
    point_Vx2 = jax.random.uniform(
        key_points, (most, 2), minval=MARGIN, maxval=1 - MARGIN
    )
    used_V = jnp.arange(most) < count
    middle = (used_V[:, None] * point_Vx2).sum(0) / count
    from_middle = point_Vx2 - middle
    angle_V = jnp.arctan2(from_middle[:, 0], from_middle[:, 1])
    order_V = jnp.argsort(jnp.where(used_V, angle_V, jnp.inf))
    point_Vx2 = point_Vx2[order_V[jnp.minimum(jnp.arange(most), count - 1)]]
    least, greatest = point_Vx2.min(0), point_Vx2.max(0)
    return (point_Vx2 - least) / (greatest - least)


def rasterise(corner_Vx2: jax.Array, sides: tuple[int, ...]) -> jax.Array:
    """Which pixels of ``sides`` a polygon covers, bool ``[H, W]``.

    Args:
      corner_Vx2: rows and columns, in pixels from the upper left edge of the image.
      sides: the image's height and width.
    """
    row, column = jnp.indices(sides, jnp.float32)[..., None] + 0.5
    (row_V, column_V), (next_row_V, next_column_V) = (
        corners.T for corners in (corner_Vx2, jnp.roll(corner_Vx2, -1, 0))
    )
    # Even or odd: how many edges a ray to the right meets. Edges that do not pass the
    # row divide by what may be 0, and do not count.
    passes = (row_V <= row) != (next_row_V <= row)
    rise_V = jnp.where(next_row_V == row_V, 1, next_row_V - row_V)
    meets = column_V + (row - row_V) / rise_V * (next_column_V - column_V)
    inside = (passes & (column < meets)).sum(-1) % 2 == 1
    cell_Vx2 = jnp.clip(corner_Vx2.astype(jnp.int32), 0, jnp.array(sides) - 1)
    return inside.at[cell_Vx2[:, 0], cell_Vx2[:, 1]].set(True)


def describe(trigger: Trigger) -> Description:
    """Its size and colour."""
    inside = trigger.form.mask[..., 0] > 0
    size = int(inside.sum())
    colour = ", ".join(f"{value:.2f}" for value in trigger.form.pattern[inside][0])
    return Description("polygon", size, f"a polygon of {size} pixels, colour {colour}")
