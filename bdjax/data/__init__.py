"""Data sets as plain arrays, and the rows that each side of the game may use."""

from bdjax.data.base import Dataset, Loader, Progress, Request, Units, Vocabulary
from bdjax.data.sources import SOURCES, load
from bdjax.data.splits import Splits, make_splits

__all__ = [
    "SOURCES",
    "Dataset",
    "Loader",
    "Progress",
    "Request",
    "Splits",
    "Units",
    "Vocabulary",
    "load",
    "make_splits",
]
