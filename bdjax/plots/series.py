"""Series: learned queries, and days or walks with and without their triggers."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.plots import panels, style

_AXES = ("series", "steps", "channels")


def queries(
    queries_QxTxC: ArrayLike,
    title: str,
    *,
    value_range: panels.Range = (0.0, 1.0),
    **_: Any,
) -> Figure:
    """Curves, a panel a query, a colour a channel; two lines mark the range."""
    curves = panels.check(queries_QxTxC, "queries", *_AXES)
    figure, grid = panels.grid(
        len(curves), 5, title, (2.3, 1.9), sharex=True, sharey=True
    )
    for i, (axes, query) in enumerate(zip(grid, curves, strict=False)):
        _curves(axes, query, f"query {i + 1}")
        for edge in value_range:
            axes.axhline(edge, color=style.FAINT, linewidth=0.8)
    return figure


def triggers(
    clean_KxTxC: ArrayLike,
    triggered_KxTxC: ArrayLike,
    labels: list[str],
    title: str,
    **_: Any,
) -> Figure:
    """Clean series, dashed and grey, below the same with their triggers."""
    clean, triggered = panels.check_pairs(clean_KxTxC, triggered_KxTxC, labels, *_AXES)
    figure, grid = panels.grid(
        len(clean), 4, title, (2.3, 1.9), sharex=True, sharey=True
    )
    for axes, before, after, label in zip(grid, clean, triggered, labels, strict=False):
        _curves(axes, after, label)
        axes.plot(before, color=style.FAINT, linewidth=1.2, linestyle="--")
    return figure


def _curves(axes: Axes, x_TxC: NDArray, label: str) -> None:
    for channel, x_T in enumerate(x_TxC.T):
        color = style.COLORS[channel % len(style.COLORS)]
        axes.plot(x_T, color=color, linewidth=1.4)
    style.tidy(axes)
    panels.label(axes, label)
