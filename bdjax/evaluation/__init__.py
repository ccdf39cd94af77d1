"""How good a detector is: AUC and rates with intervals, thresholds, masks, tables."""

from bdjax.evaluation.auc import (
    AucSummary,
    BootstrapConfig,
    auc,
    auc_gain,
    bootstrap_interval,
    mean_roc,
    roc,
    summarize_auc,
)
from bdjax.evaluation.intervals import Interval, auc_interval
from bdjax.evaluation.masks import binarize, iou
from bdjax.evaluation.rates import Rates, rates_at, threshold_at_fpr
from bdjax.evaluation.tables import Table, auc_cell
from bdjax.evaluation.thresholds import best_threshold

__all__ = [
    "AucSummary",
    "BootstrapConfig",
    "Interval",
    "Rates",
    "Table",
    "auc",
    "auc_cell",
    "auc_gain",
    "auc_interval",
    "best_threshold",
    "binarize",
    "bootstrap_interval",
    "iou",
    "mean_roc",
    "rates_at",
    "roc",
    "summarize_auc",
    "threshold_at_fpr",
]
