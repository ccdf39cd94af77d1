"""What the figures of examples share: checks, and grids of panels."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.evaluation.checks import as_finite
from bdjax.plots import style
from bdjax.types import UserError

Range = tuple[float, float]
"""Lowest and highest value of real inputs."""


def check(values: ArrayLike, name: str, *axes: str) -> NDArray:
    """Returns values as a finite floating array with such axes.

    Raises:
      UserError: the shape is wrong, or a value is not finite.
    """
    array = as_finite(values, name=name)
    if array.ndim != len(axes) or not array.size:
        raise UserError(
            f"{name} have shape {array.shape}, expected ({', '.join(axes)}), at least "
            "one of each"
        )
    return array


def check_pairs(
    clean: ArrayLike, triggered: ArrayLike, labels: list[str], *axes: str
) -> tuple[NDArray, NDArray]:
    """Returns examples without and with triggers, as many as there are labels.

    Raises:
      UserError: shapes or labels do not fit, or a value is not finite.
    """
    before = check(clean, f"clean {axes[0]}", *axes)
    after = check(triggered, f"triggered {axes[0]}", *axes)
    if before.shape != after.shape:
        raise UserError(
            f"triggered {axes[0]} have shape {after.shape}, expected {before.shape} "
            "like the clean ones; pass the same ones in both"
        )
    if len(labels) != len(before):
        raise UserError(
            f"{len(labels)} labels for {len(before)} pairs of {axes[0]}; give each one"
        )
    return before, after


def grid(
    count: int, across: int, title: str, size: tuple[float, float], **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of at most ``across`` panels a row, each of ``size`` inches.

    Args:
      count: panels that are wanted; axes beyond are off.
      across: columns, at most.
      title: heading.
      size: of a panel, width and height.
      **options: of matplotlib's ``subplots``, such as ``sharex``.
    """
    across = min(across, count)
    down = -(-count // across)
    width, height = size
    figure = style.new_figure(width * across, height * down + 0.6, title=title)
    axes = list(figure.subplots(down, across, squeeze=False, **options).flat)
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes


def label(axes: Axes, text: str) -> None:
    """Writes what a panel shows above it."""
    axes.set_title(text, fontsize=8.5, color=style.INK, pad=4)
    axes.tick_params(labelsize=7)
