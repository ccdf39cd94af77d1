"""Figures of detectors, queries, triggers and populations.

Each function returns a :class:`matplotlib.figure.Figure` that belongs to no window
and no global state; :func:`save` writes it. Only this room imports matplotlib.
"""

from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure

from bdjax.plots import fields, images, sentences, signals
from bdjax.plots.curves import roc_curves, sweep_curves, wall_times
from bdjax.plots.distributions import (
    quality_distributions,
    score_histograms,
    similarity_distributions,
)
from bdjax.plots.images import recovered_triggers
from bdjax.plots.style import kind_colors, save


class Examples(NamedTuple):
    """How examples of a modality are drawn; all arrays must be finite.

    Both refuse, with a ``UserError``, shapes that do not fit. Of further arrays they
    take, by name, what they know: ``value_range``, lowest and highest value of real
    inputs; ``rate``; ``columns``, ``offset``, ``scale``; ``words``, ``similarity``.

    Attributes:
      queries: ``draw(queries, title, **further)`` of a detector's queries
        ``[Q, *shape]``; of text, lists of their nearest words.
      triggers: ``draw(clean, triggered, labels, title, **further)`` of K examples
        without and with triggers, ``[K, *shape]``, a text above each pair.
    """

    queries: Callable[..., Figure]
    triggers: Callable[..., Figure]


EXAMPLES = {
    "images": Examples(images.queries, images.triggers),
    "series": Examples(signals.series_queries, signals.series_triggers),
    "tables": Examples(fields.queries, fields.triggers),
    "text": Examples(sentences.queries, sentences.triggers),
    "waves": Examples(signals.wave_queries, signals.wave_triggers),
}
"""A modality -> how its examples are drawn."""

__all__ = [
    "EXAMPLES",
    "Examples",
    "kind_colors",
    "quality_distributions",
    "recovered_triggers",
    "roc_curves",
    "save",
    "score_histograms",
    "similarity_distributions",
    "sweep_curves",
    "wall_times",
]
