"""Figures of detectors, queries, triggers and populations.

Each function returns a :class:`matplotlib.figure.Figure` that belongs to no window
and no global state; :func:`save` writes it. Only this room imports matplotlib.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from bdjax.plots.distributions import quality_distributions, score_histograms
from bdjax.plots.fields import field_changes, query_fields
from bdjax.plots.images import query_images, trigger_samples
from bdjax.plots.recovered import recovered_triggers
from bdjax.plots.roc import roc_curves
from bdjax.plots.sentences import query_words, trigger_sentences
from bdjax.plots.series import query_series, trigger_series
from bdjax.plots.similarity import similarity_distributions
from bdjax.plots.style import kind_colors, save
from bdjax.plots.sweep import sweep_curves, wall_times
from bdjax.plots.waves import query_waves, trigger_waves

QUERIES: dict[str, Callable[..., Figure]] = {
    "images": query_images,
    "series": query_series,
    "tables": query_fields,
    "text": query_words,
    "waves": query_waves,
}
"""A modality -> ``draw(queries, title, **arrays)``, of a detector's query set."""

TRIGGERS: dict[str, Callable[..., Figure]] = {
    "images": trigger_samples,
    "series": trigger_series,
    "tables": field_changes,
    "text": trigger_sentences,
    "waves": trigger_waves,
}
"""Likewise ``draw(clean, triggered, labels, title, **arrays)``, of examples."""

__all__ = [
    "QUERIES",
    "TRIGGERS",
    "field_changes",
    "kind_colors",
    "quality_distributions",
    "query_fields",
    "query_images",
    "query_series",
    "query_waves",
    "query_words",
    "recovered_triggers",
    "roc_curves",
    "save",
    "score_histograms",
    "similarity_distributions",
    "sweep_curves",
    "trigger_samples",
    "trigger_sentences",
    "trigger_series",
    "trigger_waves",
    "wall_times",
]
