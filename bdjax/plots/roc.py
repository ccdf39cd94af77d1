"""ROC curves of detectors."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bdjax.evaluation.auc import mean_roc, roc, summarize_auc
from bdjax.evaluation.tables import auc_cell
from bdjax.plots import style


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
