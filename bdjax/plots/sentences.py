"""Sentences: learned queries by their nearest words, and inserted triggers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bdjax.evaluation.checks import as_finite
from bdjax.plots import style
from bdjax.types import UserError

_SHOWN = 14  # letters of a word that fit a cell
_PITCH = 0.0058  # of a monospaced letter at 7.5 points, share of the figure's width


def queries(
    words: Sequence[Sequence[str]], title: str, *, similarity: ArrayLike, **_: Any
) -> Figure:
    """Q queries of T words, a row each, shaded by the words' ``[Q, T]`` similarity."""
    near = as_finite(similarity, name="similarities")
    style.require_some(words, name="queries")
    if near.shape != (len(words), len(words[0])):
        raise UserError(
            f"{len(words)} queries of {len(words[0])} words, but similarities have "
            f"shape {near.shape}; give one a word"
        )
    rows, columns = near.shape
    figure = style.new_figure(1.05 * columns + 1.6, 0.32 * rows + 1.1, title=title)
    axes = figure.subplots()
    # Pale, so that words can be read on it.
    image = axes.imshow(near, cmap="Blues", vmin=0, vmax=1, aspect="auto", alpha=0.6)
    for (q, t), _value in np.ndenumerate(near):
        text = shorten(words[q][t], _SHOWN)
        axes.text(t, q, text, ha="center", va="center", fontsize=7.5, color=style.INK)
    axes.set(xticks=[], yticks=range(rows))
    axes.set_yticklabels([f"query {q + 1}" for q in range(rows)], fontsize=8)
    axes.spines[:].set_color(style.FAINT)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.01)
    bar.set_label("cosine similarity", fontsize=8, color=style.INK)
    bar.ax.tick_params(labelsize=8)
    return figure


def triggers(
    clean: Sequence[Any],
    triggered: Sequence[Any],
    labels: Sequence[str],
    title: str,
    *,
    words: Sequence[str] | None = None,
    **_: Any,
) -> Figure:
    """Triggered sentences; coloured is what the clean ones do not have.

    They are lists of words, or of ids that zeros fill up and ``words`` spells.
    """
    style.require_some(clean, name="sentences")
    if not len(clean) == len(triggered) == len(labels):
        raise UserError(
            f"{len(clean)} clean and {len(triggered)} triggered sentences with "
            f"{len(labels)} labels; give as many of each"
        )
    figure = style.new_figure(11, 0.5 * len(clean) + 0.7, title=title)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(len(clean), 0))
    for row, label in enumerate(labels):
        before, after = (_spelt(each[row], words) for each in (clean, triggered))
        label = label.replace("\n", ", ")
        axes.text(0, row + 0.3, label, fontsize=8.5, color=style.INK, va="center")
        place, size = inserted(before, after)
        parts = [
            (" ".join(after[:place]), style.INK),
            (" ".join(after[place : place + size]), style.TARGET_COLOR),
            (shorten(" ".join(after[place + size :]), 100), style.INK),
        ]
        # A fixed pitch, so that parts can be set side by side without measuring.
        at = 0.2
        for text, color in parts:
            axes.text(
                at, row + 0.3, text, fontsize=7.5, color=color, va="center",
                family="monospace", clip_on=True,
            )  # fmt: skip
            at += (len(text) + bool(text)) * _PITCH
    return figure


def _spelt(sentence: Sequence[Any], words: Sequence[str] | None) -> list[str]:
    if isinstance(sentence[0], str):
        return list(sentence)
    ids = np.trim_zeros(np.asarray(sentence), "b").tolist()
    return [f"#{i}" if words is None else str(words[i]) for i in ids]


def inserted(before: Sequence[str], after: Sequence[str]) -> tuple[int, int]:
    """Where the words begin that ``after`` has more, and how many they are."""
    size = len(after) - len(before)
    same = [a == b for a, b in zip(before, after, strict=False)]
    place = same.index(False) if False in same else min(len(before), len(after))
    return place, max(size, 0)


def shorten(text: str, limit: int) -> str:
    """The text, its end replaced by dots where it is longer than the limit."""
    return text if len(text) <= limit else f"{text[: limit - 2]}.."
