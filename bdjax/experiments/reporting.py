"""What the reports of all experiments say: machine, versions, quality of the models."""

import collections
import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from numpy.typing import ArrayLike

from bdjax import telemetry
from bdjax.evaluation import Table, quality_cell
from bdjax.experiments import findings
from bdjax.population import Population
from bdjax.verdicts import Conclusion

CALLED = (Conclusion.TROJANED, Conclusion.INCONCLUSIVE, Conclusion.NOT_FLAGGED)
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")
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


def plural(name: str) -> str:
    """A population's name in words, such as "benign targets" or "shadows with M"."""
    role, kind = name.split("-", 1)
    return f"benign {role}s" if kind == "benign" else f"{role}s with {kind}"


def summary(values: ArrayLike) -> dict[str, float]:
    """Mean, spread and range of values over models."""
    array = np.asarray(values)
    return {
        "mean": float(array.mean()),
        "std": float(array.std()),
        "min": float(array.min()),
        "max": float(array.max()),
    }


class Concluded(Protocol):
    """A verdict of any detector."""

    @property
    def conclusion(self) -> Conclusion:
        """What it comes to."""
        ...

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is inconclusive."""
        ...


def tally(verdicts: Iterable[Concluded]) -> dict[str, Any]:
    """What verdicts come to: how many ``models``, how many of each conclusion.

    And the ``reasons`` of the inconclusive, most frequent first; those that differ in
    their numbers alone are one, with the numbers of the first.
    """
    every = [*verdicts]
    called = collections.Counter(each.conclusion for each in every)
    reasons = ((reason, 1) for each in every for reason in each.reasons)
    return {
        "models": len(every),
        **{each.value: called[each] for each in Conclusion},
        "reasons": _merged(reasons),
    }


def _merged(reasons: Iterable[tuple[str, int]]) -> dict[str, int]:
    counts: collections.Counter[str] = collections.Counter()
    first: dict[str, str] = {}
    for reason, count in reasons:
        alike = first.setdefault(_NUMBER.sub("#", reason), reason)
        counts[alike] += count
    return dict(counts.most_common())


def tally_cell(found: dict[str, Any]) -> str:
    """Percent trojaned / inconclusive / not flagged, such as ``"25 / 50 / 25"``."""
    if not found["models"]:
        return ""
    return " / ".join(f"{100 * found[c.value] / found['models']:.0f}" for c in CALLED)


def verdicts_found(
    detector: str, benign: dict[str, Any], trojaned: Iterable[dict[str, Any]]
) -> list[str]:
    """The findings on verdicts, of tallies: see :func:`findings.called`."""
    others = [*trojaned]
    both = (benign, *others)
    reasons = _merged(item for each in both for item in each["reasons"].items())
    return findings.called(detector, _called([benign]), _called(others), reasons)


def _called(tallies: list[dict[str, Any]]) -> findings.Called:
    names = ("models", Conclusion.TROJANED.value, Conclusion.INCONCLUSIVE.value)
    return findings.Called(*(sum(each[name] for each in tallies) for name in names))


def limit_cell(limit: float) -> str:
    """A threshold; without references there is none."""
    return f"{limit:.3g}" if np.isfinite(limit) else "none"


def figure_lines(drawn: Mapping[str, Path], workdir: Path) -> list[str]:
    """Markdown of figures; caption -> file."""
    lines = []
    for caption, path in drawn.items():
        lines += [f"![{caption}]({path.relative_to(workdir)})", "", f"*{caption}*", ""]
    return lines
