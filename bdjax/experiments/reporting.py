"""What the reports of all experiments say: machine, versions, quality of the models."""

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from bdjax import telemetry
from bdjax.evaluation import Table, quality_cell
from bdjax.population import Population

PACKAGES = ("bdjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def machine(clock: telemetry.Clock) -> dict[str, Any]:
    """Wall time by phase, peak memory, device and versions, ready for JSON."""
    seconds = dict(clock.seconds)
    return {
        "wall_seconds": seconds | {"total": sum(seconds.values())},
        "peak_memory_bytes": telemetry.peak_memory_bytes(),
        "device": device(),
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES}
        | {"python": platform.python_version()},
    }


def machine_line(found: dict[str, Any]) -> str:
    """The same in a sentence, of results that have it."""
    phases = ", ".join(f"{k} {v:.0f} s" for k, v in found["wall_seconds"].items())
    return (
        f"Device: {found['device']}. Wall time of this invocation: {phases}. "
        f"Peak memory: {found['peak_memory_bytes'] / 2**30:.1f} GiB."
    )


def device() -> str:
    """Such as ``"2 x cpu (x86_64)"``."""
    first = jax.local_devices()[0]
    kind = first.device_kind
    if first.platform == "cpu":
        kind = f"cpu ({platform.machine()})"
    return f"{jax.local_device_count()} x {kind}"


def qualities(
    populations: Mapping[str, Population], min_asr: float = 0.5
) -> dict[str, Any]:
    """``accuracy`` and ``asr`` by population; attacks below ``min_asr`` failed."""
    return {
        "accuracy": {k: summary(p.quality.accuracy) for k, p in populations.items()},
        "asr": {
            k: summary(p.quality.asr)
            | {"failed": int((p.quality.asr < min_asr).sum()), "models": len(p)}
            for k, p in populations.items()
            if p.is_trojaned
        },
    }


def quality_table(populations: Mapping[str, Population], min_asr: float = 0.5) -> Table:
    """A row a population."""
    rows = []
    for name, population in populations.items():
        trojaned, quality = population.is_trojaned, population.quality
        rows.append(
            (
                name,
                str(len(population)),
                quality_cell(quality.accuracy),
                quality_cell(quality.asr) if trojaned else "",
                str(int((quality.asr < min_asr).sum())) if trojaned else "",
            )
        )
    below = f"{min_asr:.2g}".removeprefix("0")
    return Table(
        title="Models: mean ± std over models",
        columns=("population", "models", "accuracy", "ASR", f"ASR below {below}"),
        rows=tuple(rows),
    )


def summary(values: ArrayLike) -> dict[str, float]:
    """Mean, spread and range of values over models."""
    array = np.asarray(values)
    return {
        "mean": float(array.mean()),
        "std": float(array.std()),
        "min": float(array.min()),
        "max": float(array.max()),
    }


def figure_lines(drawn: Mapping[str, Path], workdir: Path) -> list[str]:
    """Markdown of figures; caption -> file."""
    lines = []
    for caption, path in drawn.items():
        lines += [f"![{caption}]({path.relative_to(workdir)})", "", f"*{caption}*", ""]
    return lines
