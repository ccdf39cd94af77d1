"""Series: learned queries, and days or walks with and without their triggers."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.evaluation.checks import as_finite
from bdjax.plots import style
from bdjax.types import UserError


def query_series(
    queries_QxTxC: ArrayLike,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    title: str,
) -> Figure:
    """Learned queries as curves, a panel a query, a colour a channel.

    Args:
      queries_QxTxC: finite, ``[Q, T]`` or ``[Q, T, C]``.
      value_range: lowest and highest value of real inputs, drawn as two lines.
      title: heading.

    Raises:
      UserError: the shape is wrong, or a value is not finite.
    """
    queries = _check(queries_QxTxC, name="queries")
    figure, grid = _grid(len(queries), title, across=5)
    for i, (axes, query) in enumerate(zip(grid, queries, strict=False)):
        _curves(axes, query, f"query {i + 1}")
        for edge in value_range:
            axes.axhline(edge, color=style.FAINT, linewidth=0.8)
    return figure


def trigger_series(
    clean_KxTxC: ArrayLike,
    triggered_KxTxC: ArrayLike,
    labels: list[str],
    title: str,
) -> Figure:
    """Clean series, dashed and grey, below the same with their triggers.

    Args:
      clean_KxTxC: finite, ``[K, T]`` or ``[K, T, C]``.
      triggered_KxTxC: same shape.
      labels: K texts, one above each panel.
      title: heading.

    Raises:
      UserError: shapes or labels do not fit, or a value is not finite.
    """
    clean = _check(clean_KxTxC, name="clean series")
    triggered = _check(triggered_KxTxC, name="triggered series")
    if clean.shape != triggered.shape or len(labels) != len(clean):
        raise UserError(
            f"{len(labels)} labels, series of shapes {clean.shape} and "
            f"{triggered.shape}; pass the same series in both and a label each"
        )
    figure, grid = _grid(len(clean), title, across=4)
    for axes, before, after, label in zip(grid, clean, triggered, labels, strict=False):
        _curves(axes, after, label)
        axes.plot(before, color=style.FAINT, linewidth=1.2, linestyle="--")
    return figure


def _curves(axes: Axes, x_TxC: NDArray, label: str) -> None:
    axes.set_axis_on()
    for channel, x_T in enumerate(x_TxC.T):
        color = style.COLORS[channel % len(style.COLORS)]
        axes.plot(x_T, color=color, linewidth=1.4)
    axes.set_title(label, fontsize=8.5, color=style.INK, pad=4)
    style.tidy(axes)
    axes.tick_params(labelsize=7)


def _grid(count: int, title: str, *, across: int) -> tuple[Figure, list[Axes]]:
    across = min(across, count)
    down = -(-count // across)
    figure = style.new_figure(2.3 * across, 1.9 * down + 0.5, title=title)
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, list(grid.flat)


def _check(values: ArrayLike, *, name: str) -> NDArray:
    """Returns series as ``[N, T, C]``."""
    array = as_finite(values, name=name)
    if array.ndim not in (2, 3) or not array.size:
        raise UserError(
            f"{name} have shape {array.shape}, expected (series, steps) or (series, "
            "steps, channels)"
        )
    return np.asarray(array.reshape(*array.shape[:2], -1))
