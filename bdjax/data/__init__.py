"""Data sets as plain arrays, and the rows that each side of the game may use."""

from bdjax.data.base import Dataset
from bdjax.data.sources import SOURCES, load
from bdjax.data.splits import Splits, make_splits

__all__ = ["SOURCES", "Dataset", "Splits", "load", "make_splits"]
