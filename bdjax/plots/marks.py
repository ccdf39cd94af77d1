"""Marks that several figures of distributions share."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray


def box(
    axes: Axes, values: NDArray, place: float, *, color: str, width: float = 0.3
) -> None:
    """Draws quartiles, median, and whiskers over the whole range, at x = ``place``."""
    axes.boxplot(
        values,
        positions=[place],
        widths=width,
        whis=(0, 100),
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": color, "alpha": 0.25, "edgecolor": color},
        medianprops={"color": color, "linewidth": 2.2},
        whiskerprops={"color": color},
        capprops={"color": color},
    )


def dots(axes: Axes, x: NDArray, y: NDArray, *, color: str) -> None:
    """Draws one small translucent dot a value."""
    axes.scatter(x, y, s=12, color=color, alpha=0.7, linewidth=0, zorder=3)


def spread(size: int, *, width: float) -> NDArray:
    """Offsets within ``width`` that keep dots apart, the same in every run."""
    # Multiples of the golden ratio fill the width evenly.
    return width * ((np.arange(size) * 0.6180339887) % 1 - 0.5)
