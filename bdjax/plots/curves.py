"""Curves: ROC, AUC by a detector's settings, wall time by work."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bdjax.evaluation import AucSummary, auc_cell, mean_roc, roc, summarize_auc
from bdjax.plots import style

PUBLISHED = "as published"
_MARKERS = "osD^vPX"


def roc_curves(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], title: str) -> Figure:
    """ROC curves: the mean over repeats in bold, every repeat thin, chance dashed.

    Args:
      curves: by name, labels of shape ``(N,)`` (1 trojaned, 0 benign) and scores of
        shape ``(R, N)``; N and R may differ between names.
      title: heading.

    Returns:
      The figure; its legend gives AUC, spread and 95% interval.

    Raises:
      UserError: there is no curve, or labels or scores are malformed.
    """
    style.require_some(curves, name="curves")
    figure = style.new_figure(5.6, 6.3 + 0.2 * len(curves), title=title)
    axes = figure.add_subplot()
    for index, (name, color) in enumerate(style.kind_colors(curves).items()):
        labels_N, scores_RxN = map(np.asarray, curves[name])
        summary = summarize_auc(labels_N, scores_RxN)
        if summary.repeats > 1:
            for scores_N in scores_RxN:
                fpr, tpr = roc(labels_N, scores_N)
                axes.plot(fpr, tpr, color=color, linewidth=0.7, alpha=0.3)
        fpr, tpr = mean_roc(labels_N, scores_RxN)
        label = f"{name}  {auc_cell(summary)}"
        # The line style tells apart the names that share a colour.
        dash = ("-", "-.", ":")[index // len(style.COLORS) % 3]
        axes.plot(fpr, tpr, dash, color=color, linewidth=2.2, label=label)
    axes.plot([0, 1], "--", color=style.FAINT, linewidth=1, label="chance  0.500")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xlabel("false-positive rate (benign models flagged)")
    axes.set_ylabel("true-positive rate (trojaned models flagged)")
    style.tidy(axes)
    # Below the axes: a poor detector's curve runs where a legend would lie.
    figure.legend(
        loc="outside lower center",
        title="AUC, mean ± std over repeats [95% interval]",
        title_fontsize=9,
        fontsize=9,
        frameon=False,
        borderpad=1,
    )
    return figure


def sweep_curves(
    panels: Mapping[str, Mapping[str, Mapping[Any, AucSummary]]],
    title: str,
    *,
    unit: str = "",
    references: Mapping[str, Mapping[int, float]] | None = None,
) -> Figure:
    """AUC against a number: bars of its interval, a band of its spread over repeats.

    Args:
      panels: by name of the panel, such as a target attack; then by name of the curve;
        then by number. Curves need not share all numbers.
      title: heading.
      unit: what is counted, in the plural.
      references: by name of the panel, published AUCs by number; dashed.

    Returns:
      The figure: numbers stand at equal distances in rising order, curves a little
      beside each other so that their intervals can be read; chance is dashed.

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
        ticks = sorted({n for points in curves.values() for n in points} | {*reference})
        for name, points in curves.items():
            style.require_some(points, name=f"points of {name} in {panel}")
            turn = names.index(name)
            beside = 0.09 * (turn - (len(names) - 1) / 2)
            found = [points[value] for value in sorted(points)]
            mean, std, low, high = np.array(
                [(point.mean, point.std, point.low, point.high) for point in found]
            ).T
            x = np.array([ticks.index(value) for value in sorted(points)]) + beside
            axes.errorbar(
                x, mean, yerr=[mean - low, high - mean], label=name, color=colors[name],
                marker=_MARKERS[turn % len(_MARKERS)], markersize=5, linewidth=1.8,
                linestyle=("-", "-.", ":")[turn // len(style.COLORS) % 3],
                elinewidth=1, capsize=2.5,
            )  # fmt: skip
            # An AUC ends at 1, though a symmetric band may not.
            ends = mean - std, np.minimum(mean + std, 1)
            axes.fill_between(x, *ends, color=colors[name], alpha=0.2, linewidth=0)
            lowest = min(lowest, *low, *ends[0])
        if reference:
            x = np.array([ticks.index(number) for number in sorted(reference)])
            values = [reference[number] for number in sorted(reference)]
            (line,) = axes.plot(x, values, "x--", label=PUBLISHED)
            line.set(color=style.INK, markersize=5, linewidth=1.2)
        axes.axhline(0.5, color=style.FAINT, linestyle="--", linewidth=1)
        axes.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
        axes.tick_params(axis="x", rotation=45 if len(ticks) > 6 else 0)
        axes.set(xlim=(-0.5, len(ticks) - 0.5), xlabel=unit)
        axes.set_title(panel, fontsize=10, color=style.INK)
        style.tidy(axes, grid="y")
    axes_P[0].set(ylim=(lowest - 0.03, 1.03), ylabel="AUC")
    # One legend for all panels: names may be long, and a panel may lack some of them.
    handles = {
        handle.get_label(): handle
        for axes in figure.axes
        for handle in axes.get_legend_handles_labels()[0]
    }
    known = [name for name in (*names, PUBLISHED) if name in handles]
    style.legend(figure, [handles[name] for name in known], known)
    return figure


def wall_times(
    series: Mapping[str, Sequence[tuple[int, float]]], title: str, *, unit: str
) -> Figure:
    """Wall time against the size of the work, both axes logarithmic.

    Args:
      series: by name, pairs of a number and seconds.
      title: heading.
      unit: what is counted, in the plural.

    Raises:
      UserError: there is no series.
    """
    style.require_some(series, name="series")
    figure = style.new_figure(6.0, 4.4, title=title)
    axes = figure.add_subplot()
    for name, color in style.kind_colors(series).items():
        sizes, seconds = zip(*sorted(series[name]), strict=True)
        each = 1000 * seconds[-1] / sizes[-1]
        label = f"{name} ({each:.3g} ms each at {sizes[-1]})"
        axes.plot(sizes, seconds, "o-", color=color, linewidth=2, label=label)
    axes.set(xscale="log", yscale="log")
    ticks = sorted({size for points in series.values() for size, _ in points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(unit)
    axes.set_ylabel("wall time in seconds")
    style.tidy(axes)
    axes.legend(frameon=False)
    return figure
