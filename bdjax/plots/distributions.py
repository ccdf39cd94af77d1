"""Distributions: of scores, accuracy and ASR over models, of similarities by label."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from bdjax.checks import keeps_to
from bdjax.plots import marks, panels, style
from bdjax.types import UserError

_DOTTED = 12  # labels; more have no room for a dot an image
_TICKS = 15
_QUALITIES = {"accuracy": "clean accuracy", "ASR": "attack success rate"}


def score_histograms(
    scores: Mapping[str, ArrayLike],
    *,
    limits: Mapping[str, float] | None = None,
    title: str,
) -> Figure:
    """Scores by kind of model: overlaid histograms over one strip of dots a kind.

    The axis shows where benign models, ``"benign"``, are told from others. Scores far
    from there are no part of the histograms; an arrow in the strip counts them.

    Args:
      scores: by kind, scores of shape ``(N,)``; N may differ.
      limits: by name, where verdicts turn to trojaned, drawn as lines; infinite ones
        are not drawn.
      title: heading.

    Raises:
      UserError: there is no kind, a shape is wrong, or a number is not finite.
    """
    style.require_some(scores, name="kinds of models")
    values = {k: panels.check(x, f"{k} scores", "models") for k, x in scores.items()}
    lines = dict(limits or {})
    if np.isnan([*lines.values()]).any():
        raise UserError(f"limits are {lines}; NaN is no threshold")
    rows = len(values)
    figure = style.new_figure(7.8, 3.4 + 0.32 * rows, title=title)
    top, bottom = figure.subplots(
        2, 1, sharex=True, height_ratios=[2.6, 0.35 + 0.32 * rows]
    )
    every = np.concatenate(list(values.values())).astype(np.float64)
    benign = np.asarray(values.get("benign", np.zeros(0)), np.float64)
    ends = marks.window(benign, lines.values(), every)
    pooled = marks.inside(every, ends)  # of what is shown; the axis is longer
    count = int(np.clip(2 * math.sqrt(pooled.size), 10, 40))
    bins = np.histogram_bin_edges(pooled if pooled.size else np.array(ends), count)
    fill = min(0.3, 0.8 / rows)
    for row, (kind, color) in enumerate(style.kind_colors(values).items()):
        scores_N = values[kind]
        shown = marks.inside(scores_N, ends)
        off = len(scores_N) - len(shown)
        label = f"{kind} ({len(scores_N)}{f', {off} beyond' if off else ''})"
        top.hist(
            shown,
            bins,
            histtype="stepfilled",
            facecolor=(color, fill),
            edgecolor=color,
            linewidth=1.6,
            label=label,
        )
        spread = marks.spread(len(shown), width=0.5)
        marks.dots(bottom, shown, row + spread, color=color)
        marks.beyond(bottom, scores_N, ends, row, color=color)
    bottom.set(xlabel="score (higher: more likely trojaned)", ylim=(rows - 0.5, -0.5))
    bottom.set_yticks(range(rows), list(values))
    bottom.set_xlim(*ends)
    top.set_ylabel("models")
    top.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (top, bottom):
        marks.limits(axes, lines.items())
        style.tidy(axes, grid="x")
    top.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9, frameon=False)
    return figure


def quality_distributions(
    qualities: Mapping[str, Mapping[str, ArrayLike | None]], title: str
) -> Figure:
    """Clean accuracy and attack success rate of a population, by kind of model.

    Args:
      qualities: by kind, ``{"accuracy": shape (M,), "ASR": shape (M,) or None}``,
        shares in [0, 1]; None where there is no attack.
      title: heading.

    Returns:
      The figure: for each kind a box (quartiles, median, whiskers over the whole
      range) beside one dot a model, and its median written below; "no attack"
      where there is nothing to show.

    Raises:
      UserError: there is no kind, a key or a shape is wrong, or a value lies
        outside [0, 1].
    """
    style.require_some(qualities, name="kinds of models")
    figure = style.new_figure(2.6 + 1.7 * len(qualities), 4.2, title=title)
    for axes, key in zip(figure.subplots(1, 2, sharey=True), _QUALITIES, strict=True):
        ticks = []
        for place, (kind, color) in enumerate(style.kind_colors(qualities).items()):
            values_M = _shares(qualities[kind][key], f"{kind} {key} values")
            if values_M is None:
                ticks.append(f"{kind}\nno attack")
                continue
            ticks.append(f"{kind}\n{np.median(values_M):.3f}")
            marks.box(axes, values_M, place - 0.2, color=color)
            x = place + 0.2 + marks.spread(len(values_M), width=0.3)
            marks.dots(axes, x, values_M, color=color)
        axes.set(ylim=(-0.03, 1.03), xlim=(-0.6, len(qualities) - 0.4))
        axes.set_xticks(range(len(qualities)), ticks)
        axes.set_xlabel("kind of model, median")
        axes.set_title(_QUALITIES[key], fontsize=10.5, color=style.INK)
        style.tidy(axes, grid="y")
    return figure


def _shares(values: ArrayLike | None, name: str) -> NDArray | None:
    if values is None:
        return None
    array = panels.check(values, name, "models")
    if not keeps_to(array.min(), array.max(), (0, 1)):
        raise UserError(
            f"{name} lie in [{array.min()}, {array.max()}], expected shares in [0, 1]; "
            "divide percentages by 100"
        )
    return array.clip(0, 1)


def similarity_distributions(
    similarities: Mapping[str, ArrayLike],
    title: str,
    *,
    targets: Mapping[str, int] | None = None,
) -> Figure:
    """Box plots of the similarities, a box a label, one panel a network.

    Args:
      similarities: by name of the network, ``[K, N]`` cosine similarities of each
        candidate label's universal and per-image perturbations, in [-1, 1]; NaN where
        an image has none. N and K may differ.
      title: heading.
      targets: the true target label of the trojaned networks by name, drawn in red;
        the others are clean.

    Returns:
      The figure: boxes with whiskers over the whole range and, up to 12 labels, a dot
      an image. A label without a number stays empty.

    Raises:
      UserError: there is no network, or a shape is wrong.
    """
    style.require_some(similarities, name="networks")
    targets = targets or {}
    values = {name: np.asarray(x, np.float64) for name, x in similarities.items()}
    if shapes := [x.shape for x in values.values() if x.ndim != 2 or not x.size]:
        raise UserError(
            f"similarities have shape {shapes[0]}, expected (labels, images)"
        )
    widths = [
        (0.42 if len(x) <= _DOTTED else 0.16) * len(x) + 0.8 for x in values.values()
    ]
    figure = style.new_figure(sum(widths) + 0.7, 4.3, title=title)
    row = figure.subplots(
        1, len(values), sharey=True, width_ratios=widths, squeeze=False
    )[0]
    for axes, (name, values_KxN) in zip(row, values.items(), strict=True):
        _panel(axes, name, values_KxN, targets.get(name))
    row[0].set_ylabel("cosine similarity")
    if targets:
        named = {"true target label": style.TARGET_COLOR}
        named |= {"other labels": style.BENIGN_COLOR}
        boxes = [Patch(facecolor=(c, 0.25), edgecolor=c) for c in named.values()]
        style.legend(figure, boxes, named)
    return figure


def _panel(axes: Axes, name: str, values_KxN: NDArray, target: int | None) -> None:
    count = len(values_KxN)
    for label, row in enumerate(values_KxN):
        color = style.TARGET_COLOR if label == target else style.BENIGN_COLOR
        shown = row[~np.isnan(row)]
        if not shown.size:
            continue
        marks.box(axes, shown, label, color=color, width=0.6)
        if count <= _DOTTED:
            x = label + marks.spread(shown.size, width=0.4)
            marks.dots(axes, x, shown, color=color)
    axes.set(xlim=(-0.7, count - 0.3), ylim=(-1.05, 1.05))
    step = -(-count // _TICKS)
    ticks = [tick for tick in range(0, count, step) if tick != target]
    if target is not None:
        ticks = [tick for tick in ticks if abs(tick - target) >= step] + [target]
    axes.set_xticks(ticks)
    axes.set_xlabel("candidate label")
    axes.set_title(name, fontsize=10.5, color=style.INK)
    style.tidy(axes, grid="y")
    if target is not None:
        axes.get_xticklabels()[-1].set(color=style.TARGET_COLOR, fontweight="bold")
