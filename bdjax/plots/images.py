"""Images: learned queries, triggers on inputs, recovered triggers by the true ones."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.evaluation import binarize, iou
from bdjax.plots import panels, style
from bdjax.types import UserError

EDGE_COLOR = style.COLORS[2]
_AXES = ("images", "height", "width", "channels")
_ROWS = ("image with\ntrue trigger", "recovered\nmask", "recovered\npattern x mask")


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


def recovered_triggers(
    triggered_MxHxWxC: ArrayLike,
    true_masks_MxHxWx1: ArrayLike,
    masks: ArrayLike,
    patterns_MxHxWxC: ArrayLike,
    labels: Sequence[str],
    title: str,
    *,
    value_range: panels.Range = (0.0, 1.0),
) -> Figure:
    """One column a model: its true trigger on an image, and what was recovered.

    In the first two rows a green line runs around the true trigger, one pixel off so
    that none of it is hidden. Below the mask stands the IoU of
    :func:`bdjax.evaluation.iou`. A trigger on the whole image has neither: any mask
    that is everywhere alike would overlap it.

    Args:
      triggered_MxHxWxC: an image with its model's true trigger on.
      true_masks_MxHxWx1: the true triggers' masks; all 0 for a clean model.
      masks: recovered, in [0, 1], ``[M, H, W, 1]`` or ``[M, H, W, C]``; of several
        channels the greatest is drawn, 1 is white.
      patterns_MxHxWxC: recovered, in ``value_range``; drawn as mask times pattern,
        which is the value range's least value where the mask is 0.
      labels: M texts, one above each column.
      title: heading.
      value_range: values drawn darkest and brightest; those beyond are clipped.

    Raises:
      UserError: shapes, labels or the range do not fit, or a value is not finite or a
        mask's is negative.
    """
    axes_ = ("models", "height", "width", "channels")
    triggered = panels.check(triggered_MxHxWxC, "triggered images", *axes_)
    patterns = panels.check(patterns_MxHxWxC, "patterns", *axes_)
    truths = panels.check(true_masks_MxHxWx1, "true masks", *axes_)
    found = panels.check(masks, "masks", *axes_)
    if not triggered.shape[:3] == patterns.shape[:3] == found.shape[:3]:
        raise UserError(
            f"masks and patterns have shapes {found.shape} and {patterns.shape}, "
            f"expected {triggered.shape} like the images"
        )
    if len(labels) != len(triggered):
        raise UserError(f"{len(labels)} labels for {len(triggered)} models; give each")
    low, high = check_range(value_range)
    width = 1.45 * len(labels) + 0.8
    height = 3 * 1.45 * aspect(triggered) + 1.0
    figure = style.new_figure(width, height, title=title, layout="compressed")
    grid = figure.subplots(3, len(labels), squeeze=False)
    for name, axes in zip(_ROWS, grid[:, 0], strict=True):
        axes.set_ylabel(name, fontsize=9, color=style.INK)
    weighted = low + found * (patterns - low)
    for m, (above, middle, below) in enumerate(grid.T):
        mask = found[m]
        show(above, (triggered[m] - low) / (high - low))
        show(middle, mask.max(-1, keepdims=True))
        show(below, (weighted[m] - low) / (high - low))
        truth = binarize(truths[m])
        text = f"IoU {iou(truth, mask):.2f}" if truth.any() else "no trigger"
        if truth.all():
            text = "whole image"
        else:
            for axes in (above, middle):
                _outline(axes, truth)
        middle.set_xlabel(text, fontsize=9, color=style.INK, labelpad=3)
        above.set_title(labels[m], fontsize=8.5, color=style.INK, pad=4)
    return figure


def _outline(axes: Axes, mask_HxW: NDArray) -> None:
    """Draws a line around the mask and the pixels that touch it."""
    grown = np.pad(mask_HxW, 2)
    for axis in (0, 1):
        grown = np.any([np.roll(grown, s, axis) for s in (-1, 0, 1)], axis=0)
    padded = grown[1:-1, 1:-1]
    lines = [
        [(x - 0.5, y - 0.5), (x + 0.5, y - 0.5)]
        for y, x in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])
    ]
    lines += [
        [(x - 0.5, y - 0.5), (x - 0.5, y + 0.5)]
        for y, x in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    ]
    edges = LineCollection(
        lines, colors=EDGE_COLOR, linewidths=1.4, capstyle="projecting"
    )
    axes.add_collection(edges, autolim=False)


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
