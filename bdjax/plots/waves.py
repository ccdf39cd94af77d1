"""Sound: learned queries, and clips with and without their triggers."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.plots import panels, style

RATE = 16_000
_COLUMNS = 800  # drawn across a panel, each from its least to its greatest sample
_AXES = ("waves", "samples")


def queries(
    queries_QxN: ArrayLike, title: str, *, rate: int = RATE, **_: Any
) -> Figure:
    """Each query on a scale of its own, with its loudness; ``rate`` in hertz."""
    waves = panels.check(queries_QxN, "queries", *_AXES)
    figure, grid = panels.grid(len(waves), 5, title, (2.6, 1.5), sharex=True)
    for i, (wave, axes) in enumerate(zip(waves, grid, strict=False)):
        _draw(axes, wave, rate, style.BENIGN_COLOR)
        # Root of the mean square, in decibels of full scale.
        power = float(np.square(wave).mean())
        level = f"{10 * math.log10(power):.0f} dB" if power else "silent"
        panels.label(axes, f"query {i + 1}, {level}")
    return figure


def triggers(
    clean_KxN: ArrayLike,
    triggered_KxN: ArrayLike,
    labels: list[str],
    title: str,
    *,
    rate: int = RATE,
    **_: Any,
) -> Figure:
    """Clean clips in front of the same clips with their triggers."""
    clean, triggered = panels.check_pairs(clean_KxN, triggered_KxN, labels, *_AXES)
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
