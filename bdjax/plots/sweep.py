"""AUC against a detector's settings, or against how much it learned from."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bdjax.evaluation.auc import AucSummary
from bdjax.plots import style

PUBLISHED = "as published"
_MARKERS = "osD^vPX"


def sweep_curves(
    sweeps: Mapping[str, Mapping[str, Mapping[float, AucSummary]]], title: str
) -> Figure:
    """AUC with its interval against settings, one panel a setting.

    Args:
      sweeps: by name of the setting, such as ``"percentile Q"`` or ``"clean images a
        class"``, the axis label; then by name of the curve; then by value of the
        setting. Curves need not share all values.
      title: heading.

    Returns:
      The figure: values stand at equal distances in rising order, curves a little
      beside each other so that their intervals can be read; chance is dashed.

    Raises:
      UserError: there is no setting, or one has no curve or a curve no value.
    """
    style.require_some(sweeps, name="settings")
    names = list(dict.fromkeys(name for curves in sweeps.values() for name in curves))
    colors = style.kind_colors(names)
    figure = style.new_figure(1.0 + 3.8 * len(sweeps), 4.2, title=title)
    panels = figure.subplots(1, len(sweeps), sharey=True, squeeze=False)[0]
    lowest = 0.5
    for axes, (setting, curves) in zip(panels, sweeps.items(), strict=True):
        style.require_some(curves, name=f"curves against {setting}")
        for name, points in curves.items():
            style.require_some(points, name=f"values of {setting} for {name}")
        values = sorted({value for points in curves.values() for value in points})
        for name, points in curves.items():
            turn = names.index(name)
            beside = 0.09 * (turn - (len(names) - 1) / 2)
            x = np.array([values.index(value) for value in sorted(points)]) + beside
            _curve(axes, x, points, name, turn, colors[name])
            lowest = min(lowest, *(point.low for point in points.values()))
        axes.axhline(0.5, color=style.FAINT, linestyle="--", linewidth=1)
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_xlabel(setting)
        style.tidy(axes, grid="y")
    panels[0].set(ylim=(lowest - 0.03, 1.03), ylabel="AUC")
    _legend(figure, names)
    return figure


def size_curves(
    panels: Mapping[str, Mapping[str, Mapping[int, AucSummary]]],
    title: str,
    *,
    unit: str,
    references: Mapping[str, Mapping[int, float]] | None = None,
) -> Figure:
    """AUC, with a band of its spread over repeats, against a number of models.

    Args:
      panels: by name of the panel, such as a target attack; then by name of the curve;
        then by number.
      title: heading.
      unit: what is counted, in the plural.
      references: by name of the panel, published AUCs by number; dashed.

    Returns:
      The figure: the number on an axis of powers of two, chance dashed.

    Raises:
      UserError: there is no panel, or one has no curve or a curve no number.
    """
    style.require_some(panels, name="panels")
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    colors = style.kind_colors(names)
    figure = style.new_figure(1.0 + 3.8 * len(panels), 4.2, title=title)
    axes_P = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    lowest = 0.5
    for axes, (panel, curves) in zip(axes_P, panels.items(), strict=True):
        style.require_some(curves, name=f"curves of {panel}")
        reference = (references or {}).get(panel, {})
        for name, points in curves.items():
            style.require_some(points, name=f"numbers of {unit} for {name}")
            low = _band(
                axes,
                points,
                name,
                _MARKERS[names.index(name) % len(_MARKERS)],
                colors[name],
            )
            lowest = min(lowest, low)
        if reference:
            numbers = sorted(reference)
            values = [reference[number] for number in numbers]
            (line,) = axes.plot(numbers, values, "x--", label=PUBLISHED)
            line.set(color=style.INK, markersize=5, linewidth=1.2)
        axes.axhline(0.5, color=style.FAINT, linestyle="--", linewidth=1)
        axes.set_xscale("log", base=2)
        ticks = sorted({n for points in curves.values() for n in points} | {*reference})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.tick_params(axis="x", rotation=45 if len(ticks) > 6 else 0)
        axes.minorticks_off()
        axes.set_title(panel, fontsize=10, color=style.INK)
        axes.set_xlabel(unit)
        style.tidy(axes, grid="y")
    axes_P[0].set(ylim=(lowest - 0.03, 1.03), ylabel="AUC")
    _legend(figure, [*names, *([PUBLISHED] if references else [])])
    return figure


def _band(
    axes: Axes, points: Mapping[int, AucSummary], name: str, marker: str, color: str
) -> float:
    """Draws a curve; returns its band's least value."""
    numbers = sorted(points)
    mean, std = np.array([(points[n].mean, points[n].std) for n in numbers]).T
    (line,) = axes.plot(numbers, mean, color=color, marker=marker, label=name)
    line.set(markersize=5, linewidth=1.8)
    # An AUC ends at 1, though a symmetric band may not.
    high = np.minimum(mean + std, 1)
    axes.fill_between(numbers, mean - std, high, color=color, alpha=0.2, linewidth=0)
    return float((mean - std).min())


def _legend(figure: Figure, names: Sequence[str]) -> None:
    """One for all panels: names may be long, and a panel may lack some of them."""
    handles = {
        handle.get_label(): handle
        for axes in figure.axes
        for handle in axes.get_legend_handles_labels()[0]
    }
    figure.legend(
        handles=[handles[name] for name in names if name in handles],
        loc="outside lower center",
        ncols=min(len(names), 3),
        fontsize=9,
        frameon=False,
    )


def _curve(
    axes: Axes,
    x: np.ndarray,
    points: Mapping[float, AucSummary],
    name: str,
    turn: int,
    color: str,
) -> None:
    found = [points[value] for value in sorted(points)]
    mean = np.array([point.mean for point in found])
    below = mean - [point.low for point in found]
    above = [point.high for point in found] - mean
    axes.errorbar(
        x,
        mean,
        yerr=[below, above],
        marker=_MARKERS[turn % len(_MARKERS)],
        markersize=5,
        linestyle=("-", "-.", ":")[turn // len(style.COLORS) % 3],
        color=color,
        linewidth=1.8,
        elinewidth=1,
        capsize=2.5,
        label=name,
    )
