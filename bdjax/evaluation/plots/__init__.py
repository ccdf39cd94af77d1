"""Figures of detectors, queries, triggers and populations.

Each function returns a :class:`matplotlib.figure.Figure` that belongs to no window
and no global state; :func:`save` writes it. Only this package imports matplotlib.
"""

from bdjax.evaluation.plots.distributions import (
    quality_distributions,
    score_histograms,
)
from bdjax.evaluation.plots.fields import field_changes, query_fields
from bdjax.evaluation.plots.images import query_images, trigger_samples
from bdjax.evaluation.plots.recovered import recovered_triggers
from bdjax.evaluation.plots.roc import roc_curves
from bdjax.evaluation.plots.scaling import wall_times
from bdjax.evaluation.plots.sentences import query_words, trigger_sentences
from bdjax.evaluation.plots.series import query_series, trigger_series
from bdjax.evaluation.plots.similarity import similarity_distributions
from bdjax.evaluation.plots.style import kind_colors, save
from bdjax.evaluation.plots.sweep import size_curves, sweep_curves
from bdjax.evaluation.plots.waves import query_waves, trigger_waves

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
    "size_curves",
    "sweep_curves",
    "trigger_samples",
    "trigger_sentences",
    "trigger_series",
    "trigger_waves",
    "wall_times",
]
