"""How good a detector is: AUC and rates with intervals, thresholds, masks, tables."""

from bdjax.evaluation.auc import (
    AucSummary,
    Interval,
    auc,
    auc_gain,
    auc_interval,
    mean_roc,
    roc,
    summarize_auc,
)
from bdjax.evaluation.masks import binarize, iou
from bdjax.evaluation.rates import Rates, best_threshold, rates_at, threshold_at_fpr
from bdjax.evaluation.tables import Table, auc_cell

__all__ = [
    "AucSummary",
    "Interval",
    "Rates",
    "Table",
    "auc",
    "auc_cell",
    "auc_gain",
    "auc_interval",
    "best_threshold",
    "binarize",
    "iou",
    "mean_roc",
    "rates_at",
    "roc",
    "summarize_auc",
    "threshold_at_fpr",
]
