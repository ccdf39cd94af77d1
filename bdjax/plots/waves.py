"""Sound: learned queries, and clips with and without their triggers."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.evaluation.checks import as_finite
from bdjax.plots import style
from bdjax.types import UserError

_COLUMNS = 800  # drawn across a panel, each from its least to its greatest sample


def query_waves(queries_QxN: ArrayLike, *, rate: int, title: str) -> Figure:
    """Learned queries, each on a scale of its own, with its loudness above it.

    Args:
      queries_QxN: finite.
      rate: samples a second.
      title: heading.

    Returns:
      The figure.

    Raises:
      UserError: the shape is wrong, or a value is not finite.
    """
    queries = _check_waves(queries_QxN, name="queries")
    columns = min(len(queries), 5)
    rows = math.ceil(len(queries) / columns)
    figure = style.new_figure(2.6 * columns, 1.5 * rows + 0.5, title=title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid.flat[len(queries) :]:
        axes.set_axis_off()
    for i, (wave, axes) in enumerate(zip(queries, grid.flat, strict=False)):
        _draw(axes, wave, rate, style.BENIGN_COLOR)
        heading = f"query {i + 1}, {_level(wave)}"
        axes.set_title(heading, fontsize=8, color=style.INK, pad=3)
    for axes in grid[-1]:
        axes.set_xlabel("s")
    return figure


def trigger_waves(
    clean_KxN: ArrayLike,
    triggered_KxN: ArrayLike,
    labels: list[str],
    title: str,
    *,
    rate: int,
) -> Figure:
    """Clean clips in front of the same clips with their triggers.

    Args:
      clean_KxN: finite.
      triggered_KxN: same shape.
      labels: K texts, one above each pair.
      title: heading.
      rate: samples a second.

    Returns:
      The figure.

    Raises:
      UserError: shapes or labels do not fit, or a value is not finite.
    """
    clean = _check_waves(clean_KxN, name="clean waves")
    triggered = _check_waves(triggered_KxN, name="triggered waves")
    if clean.shape != triggered.shape:
        raise UserError(
            f"triggered waves have shape {triggered.shape}, expected {clean.shape} "
            "like the clean ones; pass the same clips in both"
        )
    if len(labels) != len(clean):
        raise UserError(
            f"{len(labels)} labels for {len(clean)} pairs of waves; give each one"
        )
    columns = min(len(clean), 4)
    rows = math.ceil(len(clean) / columns)
    figure = style.new_figure(3 * columns, 1.8 * rows + 0.7, title=title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid.flat[len(clean) :]:
        axes.set_axis_off()
    for i, (label, axes) in enumerate(zip(labels, grid.flat, strict=False)):
        _draw(axes, triggered[i], rate, style.TARGET_COLOR, label="triggered")
        _draw(axes, clean[i], rate, style.BENIGN_COLOR, label="clean")
        heading = label.replace("\n", ", ")
        axes.set_title(heading, fontsize=8.5, color=style.INK, pad=4)
    for axes in grid[-1]:
        axes.set_xlabel("s")
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=9
    )
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
    axes.tick_params(labelsize=7)


def _level(wave_N: NDArray) -> str:
    """Root of the mean square, in decibels of full scale."""
    power = float(np.square(wave_N).mean())
    return f"{10 * math.log10(power):.0f} dB" if power else "silent"


def _check_waves(values: ArrayLike, *, name: str) -> NDArray:
    """Waves as a finite floating array ``[K, N]``.

    Raises:
      UserError: the shape is wrong, or a value is not finite.
    """
    array = as_finite(values, name=name)
    if array.ndim != 2 or not array.size:
        raise UserError(
            f"{name} have shape {array.shape}, expected (waves, samples); give one "
            "channel each"
        )
    return array
