"""Figures of detectors, queries, triggers and populations.

Each function returns a :class:`matplotlib.figure.Figure` that belongs to no window
and no global state; :func:`save` writes it. Only this room imports matplotlib.
"""

from bdjax.plots.distributions import (
    quality_distributions,
    score_histograms,
)
from bdjax.plots.fields import field_changes, query_fields
from bdjax.plots.images import query_images, trigger_samples
from bdjax.plots.recovered import recovered_triggers
from bdjax.plots.roc import roc_curves
from bdjax.plots.scaling import wall_times
from bdjax.plots.sentences import query_words, trigger_sentences
from bdjax.plots.series import query_series, trigger_series
from bdjax.plots.similarity import similarity_distributions
from bdjax.plots.style import kind_colors, save
from bdjax.plots.sweep import sweep_curves
from bdjax.plots.waves import query_waves, trigger_waves

__all__ = [
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
