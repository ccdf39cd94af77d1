"""What the benchmark says: a table a section, and one JSON file."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax

from bdjax.benchmarks.timing import Row, Section
from bdjax.evaluation import Table


def figures(section: Section, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What there is to say of every row, as JSON; None where it did not run."""
    best = min(
        (r.median for r in rows if r.ms and r.name.startswith("PyTorch")), default=None
    )
    return [_figures(section, row, best) for row in rows]


def _figures(section: Section, row: Row, best: float | None) -> dict[str, Any]:
    ran = bool(row.ms)
    found: dict[str, Any] = {
        "name": row.name,
        "device": row.contender.device,
        "reason": row.reason or None,
        "unit": section.unit,
        "ms": row.ms,
        "ms_median": row.median if ran else None,
        "ms_min": min(row.ms) if ran else None,
        "ms_max": max(row.ms) if ran else None,
        "best_torch_ratio": best / row.median if ran and best else None,
        "first_run_extra_seconds": row.first_seconds if ran else None,
    }
    if section.rate:
        name, units = section.rate
        found[name] = 1000 / (row.median * units) if ran else None
    if section.flop:
        found["gflop_per_s"] = section.flop / row.median / 1e6 if ran else None
    return found


def table(section: Section, rows: Sequence[Row]) -> Table:
    """The section's table; reasons for rows that did not run are in :func:`notes`."""
    columns = ["", "on", f"ms/{section.unit}", "[least, most]"]
    keys = []
    if section.rate:
        keys.append((section.rate[0], section.rate[0]))
    if section.flop:
        keys.append(("GFLOP/s", "gflop_per_s"))
    keys += [
        ("x PyTorch", "best_torch_ratio"),
        ("compile s", "first_run_extra_seconds"),
    ]
    reasons = _reasons(rows)
    cells = []
    for row, found in zip(rows, figures(section, rows), strict=True):
        spread = f"see ({reasons.get(row.reason)})"
        if row.ms:
            spread = f"[{number(found['ms_min'])}, {number(found['ms_max'])}]"
        rest = [number(found[key]) for _, key in keys]
        cells.append(
            (row.name, found["device"], number(found["ms_median"]), spread, *rest)
        )
    columns += [heading for heading, _ in keys]
    return Table(section.title, tuple(columns), tuple(cells))


def notes(rows: Sequence[Row]) -> list[str]:
    """Why rows did not run, each reason once."""
    return [f"({i}) {reason}" for reason, i in _reasons(rows).items()]


def _reasons(rows: Sequence[Row]) -> dict[str, int]:
    distinct = dict.fromkeys(r.reason for r in rows if r.reason)
    return {reason: i for i, reason in enumerate(distinct, 1)}


def number(value: float | None) -> str:
    """Three digits; a dash for None."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0 or abs(value) < 0.001:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def machine() -> dict[str, Any]:
    """Where the figures come from, and how busy it was before (load average)."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    versions = {"python": platform.python_version()}
    for name in ("jax", "jaxlib", "numpy"):
        versions[name] = metadata.version(name)
    return {
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "devices": [str(d.device_kind) for d in jax.local_devices()],
        "load_average": load,
        "versions": versions,
    }


def headline(found: Mapping[str, Any]) -> list[str]:
    """A sentence a training section and precision: our best row beside PyTorch's."""
    said = []
    for name, rows in found["sections"].items():
        ran = [r for r in rows if r.get("ms_median")]
        torch = [r for r in ran if "PyTorch" in r["name"]]
        for precision in ("float32", "bfloat16") if name.startswith("training") else ():
            half = precision == "bfloat16"
            ours = [r for r in ran if precision in r["name"] and r not in torch]
            theirs = [r for r in torch if ("bfloat16" in r["name"]) == half]
            if not ours or not theirs:
                continue
            a, b = (min(side, key=lambda r: r["ms_median"]) for side in (ours, theirs))
            said.append(
                f"{name}, {precision}: {a['name']} takes {number(a['ms_median'])} ms a "
                f"step, PyTorch at its best ({b['name'].removeprefix('PyTorch ')}) "
                f"{number(b['ms_median'])} ms: "
                f"{number(b['ms_median'] / a['ms_median'])} x."
            )
    return said
