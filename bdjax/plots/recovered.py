"""Recovered triggers beside the true ones."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.evaluation.masks import binarize, iou
from bdjax.plots import images as pictures
from bdjax.plots import panels, style
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
    low, high = pictures.check_range(value_range)
    width = 1.45 * len(labels) + 0.8
    height = 3 * 1.45 * pictures.aspect(triggered) + 1.0
    figure = style.new_figure(width, height, title=title, layout="compressed")
    grid = figure.subplots(3, len(labels), squeeze=False)
    for name, axes in zip(_ROWS, grid[:, 0], strict=True):
        axes.set_ylabel(name, fontsize=9, color=style.INK)
    weighted = low + found * (patterns - low)
    for m, (above, middle, below) in enumerate(grid.T):
        mask = found[m]
        pictures.show(above, (triggered[m] - low) / (high - low))
        pictures.show(middle, mask.max(-1, keepdims=True))
        pictures.show(below, (weighted[m] - low) / (high - low))
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
        lines, colors=pictures.EDGE_COLOR, linewidths=1.4, capstyle="projecting"
    )
    axes.add_collection(edges, autolim=False)
