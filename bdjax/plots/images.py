"""Images: learned queries, and inputs with and without their triggers."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.plots import panels, style
from bdjax.types import UserError

EDGE_COLOR = style.COLORS[2]
_AXES = ("images", "height", "width", "channels")


def queries(
    queries_QxHxWxC: ArrayLike,
    title: str,
    *,
    value_range: panels.Range = (0.0, 1.0),
    **_: Any,
) -> Figure:
    """A grid of images, with a colour bar that marks the range of inputs.

    Queries may leave that range: the scale reaches their extreme values. One channel
    is drawn in diverging colours around the middle of the range; three are drawn as
    red, green and blue, each on the bar's grey scale; of others, the first ones.
    """
    images = drawable(panels.check(queries_QxHxWxC, "queries", *_AXES))
    low, high = check_range(value_range)
    if images.shape[-1] == 3:
        norm = Normalize(min(low, images.min()), max(high, images.max()))
        # imshow has no scale for colour images: it takes shares of one.
        scale, images = ScalarMappable(norm, cmap="gray"), np.asarray(norm(images))
    else:
        middle = (low + high) / 2
        reach = max(np.abs(images - middle).max(), high - middle)
        scale = ScalarMappable(Normalize(middle - reach, middle + reach), cmap="PuOr_r")
    columns = min(len(images), 10, math.ceil(1.4 * math.sqrt(len(images))))
    rows = math.ceil(len(images) / columns)
    width = 1.3 * columns + 1.2
    # A colour bar lower than this has no room for its label.
    height = max(rows * (1.3 * aspect(images) + 0.25) + 0.4, 2.3)
    figure = style.new_figure(width, height, title=title, layout="compressed")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, (axes, image) in enumerate(zip(grid.flat, images, strict=False)):
        axes.imshow(
            image, cmap=scale.cmap, norm=scale.norm, interpolation="nearest"
        )  # fmt: skip
        axes.set_title(f"query {index + 1}", fontsize=8, color=style.INK, pad=3)
    bar = figure.colorbar(scale, ax=grid, fraction=0.5 / width, pad=0.02)
    for edge in value_range:
        bar.ax.axhline(edge, color=EDGE_COLOR, linewidth=2.5)
    bar.set_label("value (green: range of inputs)", fontsize=8, color=style.INK)
    bar.ax.tick_params(labelsize=8)
    return figure


def triggers(
    clean_KxHxWxC: ArrayLike,
    triggered_KxHxWxC: ArrayLike,
    labels: list[str],
    title: str,
    *,
    value_range: panels.Range = (0.0, 1.0),
    **_: Any,
) -> Figure:
    """Clean images over triggered ones; values beyond the range are clipped."""
    pairs = panels.check_pairs(clean_KxHxWxC, triggered_KxHxWxC, labels, *_AXES)
    low, high = check_range(value_range)
    width, height = 1.45 * len(labels) + 0.5, 2 * 1.45 * aspect(pairs[0]) + 0.7
    figure = style.new_figure(width, height, title=title, layout="compressed")
    grid = figure.subplots(2, len(labels), squeeze=False)
    for name, images, row in zip(("clean", "triggered"), pairs, grid, strict=True):
        for image, axes in zip((images - low) / (high - low), row, strict=True):
            show(axes, image)
        row[0].set_ylabel(name, fontsize=10, color=style.INK)
    for label, axes in zip(labels, grid[0], strict=True):
        axes.set_title(label, fontsize=8.5, color=style.INK, pad=4)
    return figure


def show(axes: Axes, image: NDArray) -> None:
    """Draws ``[H, W, C]`` with 0 black and 1 white; what is beyond is clipped."""
    shown = drawable(np.clip(image, 0, 1))
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(style.FAINT)


def drawable(images: NDArray) -> NDArray:
    """As ``imshow`` takes them: ``[..., 3]``, or ``[...]`` of the first channel."""
    return images[..., :3] if images.shape[-1] >= 3 else images[..., 0]


def aspect(images: NDArray) -> float:
    """Height over width."""
    # Bounded: a very long or flat input would make an unusable page.
    return float(np.clip(images.shape[1] / images.shape[2], 0.4, 2.5))


def check_range(value_range: panels.Range) -> panels.Range:
    """Returns the range.

    Raises:
      UserError: it is not two finite values in order.
    """
    low, high = value_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(
            f"value_range={value_range} must be two finite values, low < high; pass "
            "the range of the task's inputs"
        )
    return low, high
