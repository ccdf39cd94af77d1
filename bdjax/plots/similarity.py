"""DL-TND's figure: cosine similarities by label, network beside network."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from bdjax.plots import marks, style
from bdjax.types import UserError

_DOTTED = 12  # labels; more have no room for a dot an image
_TICKS = 15


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
    panels = figure.subplots(
        1, len(values), sharey=True, width_ratios=widths, squeeze=False
    )[0]
    for axes, (name, values_KxN) in zip(panels, values.items(), strict=True):
        _panel(axes, name, values_KxN, targets.get(name))
    panels[0].set_ylabel("cosine similarity")
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
