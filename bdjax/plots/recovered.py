"""Recovered triggers beside the true ones."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.evaluation.checks import as_finite
from bdjax.evaluation.masks import binarize, iou
from bdjax.plots import style
from bdjax.plots.images import (
    EDGE_COLOR,
    aspect,
    check_images,
    check_range,
    drop_grey_axis,
)
from bdjax.types import UserError

_ROWS = ("image with\ntrue trigger", "recovered\nmask", "recovered\npattern x mask")


def recovered_triggers(
    triggered_MxHxWxC: ArrayLike,
    true_masks_MxHxWx1: ArrayLike,
    masks: ArrayLike,
    patterns_MxHxWxC: ArrayLike,
    labels: Sequence[str],
    title: str,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """One column a model: its true trigger on an image, and what was recovered.

    In the first two rows a green line runs around the true trigger, one pixel off so
    that none of it is hidden. Below the mask stands the IoU of
    :func:`bdjax.evaluation.iou`. A trigger on the whole image has neither: any mask
    that is everywhere alike would overlap it.

    Args:
      triggered_MxHxWxC: an image with its model's true trigger on; C = 1 or 3.
      true_masks_MxHxWx1: the true triggers' masks; all 0 for a clean model.
      masks: recovered, in [0, 1], ``[M, H, W, 1]`` or ``[M, H, W, C]``; of several
        channels the greatest is drawn, 1 is white.
      patterns_MxHxWxC: recovered, in ``value_range``; drawn as mask times pattern,
        which is the value range's least value where the mask is 0.
      labels: M texts, one above each column.
      title: heading.
      value_range: values drawn darkest and brightest; those beyond are clipped.

    Returns:
      The figure.

    Raises:
      UserError: shapes, labels or the range do not fit, or a value is not finite or a
        mask's is negative.
    """
    triggered = check_images(triggered_MxHxWxC, name="triggered images")
    patterns = check_images(patterns_MxHxWxC, name="patterns")
    truths = as_finite(true_masks_MxHxWx1, name="true masks")
    found = as_finite(masks, name="masks")
    size = triggered.shape[:3]
    _check_shape("patterns", patterns, (triggered.shape,))
    _check_shape("true masks", truths, ((*size, 1),))
    _check_shape("masks", found, ((*size, 1), triggered.shape))
    if len(labels) != len(triggered):
        raise UserError(f"{len(labels)} labels for {len(triggered)} models; give each")
    low, high = check_range(value_range)
    columns = len(triggered)
    figure = style.new_figure(
        1.45 * columns + 0.8,
        3 * 1.45 * aspect(triggered) + 1.0,
        title=title,
        layout="compressed",
    )
    grid = figure.subplots(3, columns, squeeze=False)
    for name, axes in zip(_ROWS, grid[:, 0], strict=True):
        axes.set_ylabel(name, fontsize=9, color=style.INK)
    weighted = low + found * (patterns - low)
    for m, (above, middle, below) in enumerate(grid.T):
        _show(above, (triggered[m] - low) / (high - low))
        _show(middle, found[m].max(-1, keepdims=True))
        _show(below, (weighted[m] - low) / (high - low))
        truth = binarize(truths[m])
        overlap = iou(truth, found[m])
        text = f"IoU {overlap:.2f}" if truth.any() else "no trigger"
        if truth.all():
            text = "whole image"
        else:
            for axes in (above, middle):
                _outline(axes, truth)
        middle.set_xlabel(text, fontsize=9, color=style.INK, labelpad=3)
        above.set_title(labels[m], fontsize=8.5, color=style.INK, pad=4)
    return figure


def _show(axes: Axes, image: NDArray) -> None:
    """Draws ``[H, W, 1 or 3]`` with 0 black and 1 white."""
    shown = drop_grey_axis(np.clip(image, 0, 1))
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(style.FAINT)


def _outline(axes: Axes, mask_HxW: NDArray) -> None:
    """Draws a line around the mask and the pixels that touch it."""
    grown = np.pad(mask_HxW, 2)
    grown = np.any([np.roll(grown, s, 0) for s in (-1, 0, 1)], axis=0)
    grown = np.any([np.roll(grown, s, 1) for s in (-1, 0, 1)], axis=0)
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


def _check_shape(
    name: str, array: NDArray, expected: tuple[tuple[int, ...], ...]
) -> None:
    if array.shape not in expected:
        raise UserError(
            f"{name} have shape {array.shape}, expected "
            f"{' or '.join(map(str, expected))} to match the triggered images"
        )
