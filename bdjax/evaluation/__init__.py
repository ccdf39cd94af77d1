"""How good a detector is: AUC with intervals, thresholds and tables.

The figures are in :mod:`bdjax.evaluation.plots`, which is imported on its own.
"""

from bdjax.evaluation.auc import (
    AucSummary,
    BootstrapConfig,
    Interval,
    auc,
    bootstrap_interval,
    mean_roc,
    roc,
    summarize_auc,
)
from bdjax.evaluation.tables import Table, auc_cell, quality_cell
from bdjax.evaluation.thresholds import best_threshold

__all__ = [
    "AucSummary",
    "BootstrapConfig",
    "Interval",
    "Table",
    "auc",
    "auc_cell",
    "best_threshold",
    "bootstrap_interval",
    "mean_roc",
    "quality_cell",
    "roc",
    "summarize_auc",
]
