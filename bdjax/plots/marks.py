"""Marks of distributions, and where on a score axis networks are told apart."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bdjax.plots import style

_SHARE = 0.25  # of the axis, that the deciding stretch takes at least
_REACH = 1.5  # times that stretch, shown on both sides of it
_LEAST = 0.01  # of all scores' range: a stretch is no shorter


def window(
    benign: NDArray, limits: Iterable[float], scores: NDArray
) -> tuple[float, float]:
    """Where to begin and end a score axis.

    The deciding stretch holds the benign scores, outliers apart, and the limits. If it
    is a quarter or more of the range of all scores, that is shown; otherwise scores
    far from it are cut off, and drawn by :func:`beyond`.

    Args:
      benign: scores of benign models; may be empty.
      limits: thresholds and the like; those that are not finite are left out.
      scores: all scores, finite; may be empty.
    """
    limits = [limit for limit in limits if np.isfinite(limit)]
    core = np.concatenate([_without_outliers(benign), limits])
    every = np.concatenate([core, scores])
    if not every.size:
        return -1.0, 1.0
    low, high = float(every.min()), float(every.max())
    if core.size:
        span = max(float(np.ptp(core)), _LEAST * (high - low))
        if span < _SHARE * (high - low):
            low, high = core.min() - _REACH * span, core.max() + _REACH * span
            near = inside(every, (low, high))
            low, high = float(near.min()), float(near.max())
    pad = 0.05 * (high - low) or max(0.05 * abs(high), 0.5)
    return low - pad, high + pad


def _without_outliers(values: NDArray) -> NDArray:
    """Those within three interquartile ranges of the quartiles."""
    if len(values) < 4:
        return values
    first, third = np.quantile(values, [0.25, 0.75])
    far = 3 * (third - first)
    return values[(values >= first - far) & (values <= third + far)]


def inside(values: NDArray, ends: tuple[float, float]) -> NDArray:
    """Those on the axis."""
    return values[(values >= ends[0]) & (values <= ends[1])]


def beyond(
    axes: Axes, values: NDArray, ends: tuple[float, float], y: float, *, color: str
) -> None:
    """Draws an arrow where values lie off the axis; how many, and how far they go."""
    low, high = ends
    for edge, marker, some, left in (
        (low, "<", values[values < low], True),
        (high, ">", values[values > high], False),
    ):
        if not len(some):
            continue
        axes.plot(
            [edge], [y], marker, color=color, markersize=6, clip_on=False, zorder=4
        )
        end = f"down to {some.min():.3g}" if left else f"up to {some.max():.3g}"
        text = f"{len(some)} beyond, {end}"
        axes.annotate(
            text, (edge, y), (8, 0), textcoords="offset points", va="center",
            fontsize=8, color=style.INK, annotation_clip=False, zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )  # fmt: skip


def limits(
    axes: Axes,
    lines: Iterable[tuple[str, float]],
    zone: tuple[float, float] | None = None,
) -> None:
    """Draws thresholds as vertical lines, and the zone that is left undecided.

    Args:
      axes: the axes.
      lines: names and values; those that are not finite are left out.
      zone: grey and threshold; an empty or infinite one is not drawn.
    """
    for (name, value), dash in zip(lines, ("--", "-.", ":"), strict=False):
        if np.isfinite(value):
            line = axes.axvline(value, label=f"{name} {value:.3g}")
            line.set(color=style.INK, linestyle=dash, linewidth=1.4)
    if zone and np.isfinite(zone).all() and zone[0] < zone[1]:
        label = f"inconclusive, {zone[0]:.3g} to {zone[1]:.3g}"
        axes.axvspan(*zone, color=style.ZONE_COLOR, zorder=0, label=label)


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
