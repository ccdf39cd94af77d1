"""Figures of detectors, queries, triggers and populations.

Each function returns a :class:`matplotlib.figure.Figure` that belongs to no window
and no global state; :func:`save` writes it. Only this package imports matplotlib.
"""

from bdjax.evaluation.plots.distributions import (
    quality_distributions,
    score_histograms,
)
from bdjax.evaluation.plots.images import query_images, trigger_samples
from bdjax.evaluation.plots.recovered import recovered_triggers
from bdjax.evaluation.plots.roc import roc_curves
from bdjax.evaluation.plots.scaling import wall_times
from bdjax.evaluation.plots.similarity import similarity_distributions
from bdjax.evaluation.plots.style import kind_colors, save
from bdjax.evaluation.plots.sweep import sweep_curves

__all__ = [
    "kind_colors",
    "quality_distributions",
    "query_images",
    "recovered_triggers",
    "roc_curves",
    "save",
    "score_histograms",
    "similarity_distributions",
    "sweep_curves",
    "trigger_samples",
    "wall_times",
]
