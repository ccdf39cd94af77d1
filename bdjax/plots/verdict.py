"""A verdict on one network: its score among benign references, labels, trigger."""

import math
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bdjax.plots import marks, style
from bdjax.plots.images import show

_TICKS = 12
_LINES = 4  # of reasons, below the panels


Judged = Any
"""A :class:`bdjax.verdicts.Verdict`, which is out of reach from here.

Some also have ``label_scores`` ``[K]``, and ``labels`` ``[K]`` with them; DL-TND's
further have ``mask`` and ``pattern`` ``[K, H, W, C]``.
"""


def figure(verdict: Judged) -> Figure:
    """The score among the benign references, and what there is of labels.

    Args:
      verdict: of any detector; numbers that are NaN or infinite are named, not drawn.

    Returns:
      One panel of scores; a bar a label beside it, target labels highlighted, where
      the detector scores labels; where it recovers a mask a label, that of the label
      with the greatest score and what it lays on an image.
    """
    scores_K = np.asarray(getattr(verdict, "label_scores", ()), np.float64)
    masks = np.asarray(getattr(verdict, "mask", ()))
    recovered = masks.ndim == 4 and len(masks) == len(scores_K) > 0
    widths = [4.6]
    widths += [float(np.clip(0.3 * len(scores_K), 2.6, 6))] * bool(len(scores_K))
    widths += [1.9] * recovered
    drawn = style.new_figure(sum(widths) + 0.6, 4.0, title=_title(verdict))
    grid = drawn.add_gridspec(2, len(widths), width_ratios=widths)
    _scores(drawn.add_subplot(grid[:, 0]), verdict)
    if len(scores_K):
        labels_K = np.asarray(getattr(verdict, "labels", np.arange(len(scores_K))))
        axes = drawn.add_subplot(grid[:, 1])
        _bars(axes, scores_K, labels_K, verdict.target_labels)
        _limits_across(axes, verdict.calibration)
    if recovered:
        top = int(np.nan_to_num(scores_K, nan=-np.inf).argmax())
        above, below = (drawn.add_subplot(grid[i, 2]) for i in (0, 1))
        pattern = np.asarray(verdict.pattern)[top]
        _trigger(above, below, masks[top], pattern, int(labels_K[top]))
    if verdict.reasons:
        lines = textwrap.wrap("; ".join(verdict.reasons), int(sum(widths) * 15))
        if len(lines) > _LINES:
            lines = [*lines[: _LINES - 1], f"{lines[_LINES - 1]} ..."]
        drawn.supxlabel("\n".join(lines), fontsize=8.5, color=style.INK)
    return drawn


def _title(verdict: Judged) -> str:
    words = f"{verdict.detector}: {verdict.headline()}"
    count = len(verdict.calibration.benign_scores)
    if count and not math.isnan(verdict.score):
        words += f"; p = {verdict.p_value:.2g} among {count} benign networks"
    return words


def _scores(axes: Axes, verdict: Judged) -> None:
    found = verdict.calibration
    benign = np.asarray(found.benign_scores, np.float64)
    benign, score = benign[np.isfinite(benign)], float(verdict.score)
    real = np.array([score] if math.isfinite(score) else [])
    limits = found.threshold, found.grey
    ends = marks.window(benign, limits, np.concatenate([benign, real]))
    shown = marks.inside(benign, ends)
    if len(shown):
        bins = int(np.clip(2 * math.sqrt(len(shown)), 8, 40))
        axes.hist(
            shown, bins, histtype="stepfilled", edgecolor=style.BENIGN_COLOR,
            facecolor=(style.BENIGN_COLOR, 0.3), linewidth=1.6,
            label=f"benign networks ({len(benign)})",
        )  # fmt: skip
    else:
        axes.text(
            0.03, 0.93, "no benign references", transform=axes.transAxes, fontsize=9,
            color=style.INK, bbox={"facecolor": "white", "edgecolor": "none"},
        )  # fmt: skip
    marks.limits(axes, [("threshold", found.threshold)], (found.grey, limits[0]))
    axes.set(xlim=ends, ylim=(0, max(1.0, axes.get_ylim()[1])))
    color = style.TARGET_COLOR
    label = "no score" if math.isnan(score) else f"this network, {score:.3g}"
    if ends[0] <= score <= ends[1]:
        axes.axvline(score, color=color, linewidth=2.4, label=label)
    else:  # too far off, infinite or NaN: an entry without a line
        axes.plot([], [], color=color, linewidth=2.4, label=label)
        if not math.isnan(score):
            edge, mark = (ends[1], ">") if score > ends[1] else (ends[0], "<")
            axes.plot(
                [edge], [axes.get_ylim()[1] / 2], mark, color=color, markersize=10,
                clip_on=False,
            )  # fmt: skip
    axes.set(xlabel="score (higher: more likely trojaned)", ylabel="benign networks")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if not len(shown):
        axes.set_yticks([])
    style.tidy(axes, grid="x")
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8.5,
        frameon=False,
    )  # fmt: skip


def _bars(
    axes: Axes, scores_K: NDArray, labels_K: NDArray, targets: tuple[int, ...]
) -> None:
    colors = [
        style.TARGET_COLOR if label in targets else style.BENIGN_COLOR
        for label in labels_K.tolist()
    ]
    finite = scores_K[np.isfinite(scores_K)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    low, high = min(low, 0.0), max(high, 0.0)
    pad = 0.06 * (high - low) or 0.5
    axes.set_ylim(low - pad * (low < 0), high + pad)
    drawn = np.nan_to_num(scores_K, nan=0.0, posinf=high + pad, neginf=low - pad)
    places = np.arange(len(scores_K))
    axes.bar(places, drawn, color=colors, width=0.75)
    for place, score in zip(places, scores_K, strict=True):
        if not math.isfinite(score):
            text = "no score" if math.isnan(score) else f"{score:g}"
            axes.text(
                float(place), 0, text, rotation=90, fontsize=7, ha="center", va="bottom"
            )
    step = -(-len(scores_K) // _TICKS)
    axes.set_xticks(places[::step], [str(label) for label in labels_K[::step]])
    axes.axhline(0, color=style.FAINT, linewidth=0.8)
    axes.set(xlabel="candidate label", ylabel="score of the label")
    style.tidy(axes, grid="y")


def _limits_across(axes: Axes, found: Any) -> None:
    """Threshold and grey zone, if the bars come near them."""
    low, high = axes.get_ylim()
    if math.isfinite(found.threshold) and found.threshold <= high + 1.5 * (high - low):
        axes.axhline(found.threshold, color=style.INK, linestyle="--", linewidth=1.2)
        if math.isfinite(found.grey) and found.grey < found.threshold:
            axes.axhspan(found.grey, found.threshold, color=style.ZONE_COLOR, zorder=0)
        axes.set_ylim(low, max(high, found.threshold + 0.05 * (high - low)))


def _trigger(
    above: Axes, below: Axes, mask: NDArray, pattern: NDArray, label: int
) -> None:
    """Draws ``[H, W, C]`` each; the pattern from its least to its greatest value."""
    mask = np.nan_to_num(np.asarray(mask, np.float64)).clip(0, 1)
    pattern = np.nan_to_num(np.asarray(pattern, np.float64))
    low, high = pattern.min(), pattern.max()
    laid = mask * (pattern - low) / (high - low if high > low else 1.0)
    for axes, image, title in (
        (above, mask.max(-1, keepdims=True), f"mask, label {label}"),
        (below, laid, "mask x pattern"),
    ):
        show(axes, image)
        axes.set_title(title, fontsize=9, color=style.INK, pad=4)
