"""Series and sound: learned queries, and examples with and without their triggers."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.plots import panels, style

RATE = 16_000
_COLUMNS = 800  # drawn across a panel, each from its least to its greatest sample
_STEPS = ("series", "steps", "channels")
_WAVES = ("waves", "samples")
_SHARED = {"sharex": True, "sharey": True}


def series_queries(
    queries_QxTxC: ArrayLike,
    title: str,
    *,
    value_range: panels.Range = (0.0, 1.0),
    **_: Any,
) -> Figure:
    """Curves, a panel a query, a colour a channel; two lines mark the range."""
    curves = panels.check(_channels(queries_QxTxC), "queries", *_STEPS)
    figure, grid = panels.grid(len(curves), 5, title, (2.3, 1.9), **_SHARED)
    for i, (axes, query) in enumerate(zip(grid, curves, strict=False)):
        _curves(axes, query, f"query {i + 1}")
        for edge in value_range:
            axes.axhline(edge, color=style.FAINT, linewidth=0.8)
    return figure


def series_triggers(
    clean_KxTxC: ArrayLike,
    triggered_KxTxC: ArrayLike,
    labels: list[str],
    title: str,
    **_: Any,
) -> Figure:
    """Clean series, dashed and grey, below the same with their triggers."""
    clean, triggered = panels.check_pairs(
        _channels(clean_KxTxC), _channels(triggered_KxTxC), labels, *_STEPS
    )
    figure, grid = panels.grid(len(clean), 4, title, (2.3, 1.9), **_SHARED)
    for axes, before, after, label in zip(grid, clean, triggered, labels, strict=False):
        _curves(axes, after, label)
        axes.plot(before, color=style.FAINT, linewidth=1.2, linestyle="--")
    return figure


def _channels(x: ArrayLike) -> NDArray:
    """Series ``[K, T]`` are of one channel."""
    array = np.asarray(x)
    return array[..., None] if array.ndim == 2 else array


def _curves(axes: Axes, x_TxC: NDArray, label: str) -> None:
    for channel, x_T in enumerate(x_TxC.T):
        color = style.COLORS[channel % len(style.COLORS)]
        axes.plot(x_T, color=color, linewidth=1.4)
    style.tidy(axes)
    panels.label(axes, label)


def wave_queries(
    queries_QxN: ArrayLike, title: str, *, rate: int = RATE, **_: Any
) -> Figure:
    """Sound: each query on a scale of its own, with its loudness; ``rate`` in hertz."""
    waves = panels.check(queries_QxN, "queries", *_WAVES)
    figure, grid = panels.grid(len(waves), 5, title, (2.6, 1.5), sharex=True)
    for i, (wave, axes) in enumerate(zip(waves, grid, strict=False)):
        _draw(axes, wave, rate, style.BENIGN_COLOR)
        # Root of the mean square, in decibels of full scale.
        power = float(np.square(wave).mean())
        level = f"{10 * math.log10(power):.0f} dB" if power else "silent"
        panels.label(axes, f"query {i + 1}, {level}")
    return figure


def wave_triggers(
    clean_KxN: ArrayLike,
    triggered_KxN: ArrayLike,
    labels: list[str],
    title: str,
    *,
    rate: int = RATE,
    **_: Any,
) -> Figure:
    """Sound: clean clips in front of the same clips with their triggers."""
    clean, triggered = panels.check_pairs(clean_KxN, triggered_KxN, labels, *_WAVES)
    figure, grid = panels.grid(len(clean), 4, title, (3, 1.8), sharex=True)
    for i, (label, axes) in enumerate(zip(labels, grid, strict=False)):
        _draw(axes, triggered[i], rate, style.TARGET_COLOR, label="triggered")
        _draw(axes, clean[i], rate, style.BENIGN_COLOR, label="clean")
        panels.label(axes, label.replace("\n", ", "))
    style.legend(figure, *grid[0].get_legend_handles_labels())
    return figure


def _draw(
    axes: Axes, wave_N: NDArray, rate: int, color: str, label: str | None = None
) -> None:
    step = math.ceil(len(wave_N) / _COLUMNS)
    whole = np.pad(wave_N, (0, -len(wave_N) % step), mode="edge").reshape(-1, step)
    seconds = np.arange(len(whole)) * step / rate
    low, high = whole.min(axis=1), whole.max(axis=1)
    axes.fill_between(
        seconds, low, high, color=color, linewidth=0.5, alpha=0.8, label=label
    )
    style.tidy(axes, grid="y")
    axes.set_xlabel("s")
