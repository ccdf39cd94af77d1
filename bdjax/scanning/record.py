"""What is known of a scan so far, as a report."""

import dataclasses
import importlib.metadata
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bdjax import telemetry
from bdjax.detectors import Access
from bdjax.networks import Features, Opened
from bdjax.scanning.access import Planned
from bdjax.scanning.conclude import conclude
from bdjax.scanning.images import Clean
from bdjax.scanning.judge import Clock
from bdjax.scanning.preflight import Checked
from bdjax.scanning.report import Judgement, Report

_SHOWN = 10  # images that a report keeps
_PACKAGES = ("jax", "numpy", "torch", "onnx", "onnxruntime", "flax", "keras")
WAITING = "it has not run yet"
"""Of a detector whose turn is now or comes later."""


class Counted:
    """A network's answers, and how many images it was asked.

    Attributes:
      images: so many.
    """

    def __init__(self, ask: Callable[[Any], np.ndarray]):
        self._ask = ask
        self.images = 0

    def __call__(self, x: Any) -> np.ndarray:
        """Its answers."""
        self.images += len(x)
        return self._ask(x)


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """Of a scan that goes on; see :class:`Report` for its parts."""

    source: str
    opened: Opened
    counted: Counted
    clean: Clean | None
    checked: Checked
    found: Sequence[Access]
    features: Features
    planned: Sequence[Planned]
    classes: tuple[str, ...]
    clock: Clock
    seed: int
    first: list[float] = dataclasses.field(default_factory=list)

    def report(self, judgements: Sequence[Judgement]) -> Report:
        """With what detectors said so far, in the order of the plan."""
        if not self.first and any(j.finding for j in judgements):
            self.first.append(self.clock.seconds)
        runs = [one for one in self.planned if one.detector is not None]
        waiting = [_unasked(one, WAITING) for one in runs[len(judgements) :]]
        idle = [_unasked(one, one.skipped) for one in self.planned if not one.detector]
        every = [*judgements, *waiting, *idle]
        # Of those that were to run.
        cut = [j.name for j in every[: len(runs)] if j.finding is None]
        answer = conclude(every, self.checked.preflight, cut)
        seen = self.checked.clean
        notes = (*self.opened.notes, *(self.clean.notes if self.clean else ()))
        return Report(
            source=self.source,
            kind=self.opened.kind,
            facts=self._facts(),
            access=tuple(a.value for a in self.found),
            conclusion=answer.conclusion,
            reasons=answer.reasons,
            target=answer.target,
            classes=self.classes,
            preflight=self.checked.preflight,
            judgements=tuple(every),
            images=None if seen is None else seen.x[seen.spread(_SHOWN)],
            images_given=self.clean.given if self.clean else 0,
            seconds=self.clock.seconds,
            seconds_to_first=self.first[0] if self.first else math.nan,
            peak_mib=telemetry.peak_memory_bytes() / 2**20,
            budget=self.clock.budget,
            seed=self.seed,
            notes=(*notes, *answer.notes),
            asked=self.counted.images,
            versions=_versions(),
        )

    def _facts(self) -> dict[str, str]:
        checked = self.checked
        shape = checked.reading.shape(checked.image)
        facts = {
            "input": " x ".join(map(str, shape)),
            "layout": checked.reading.layout,
            "answers": checked.answering.words,
        }
        if checked.num_classes:
            facts["classes"] = str(checked.num_classes)
        if self.opened.parameters is not None:
            facts["parameters"] = f"{self.opened.parameters:,}"
        if self.features.apply is not None:
            facts["penultimate layer"] = self.features.layer
        return facts


def _unasked(planned: Planned, why: str) -> Judgement:
    return Judgement(
        name=planned.name,
        title=planned.title,
        access=planned.access.value,
        calibration=planned.calibration,
        skipped=why,
    )


def _versions() -> dict[str, str]:
    """Of bdjax and those packages that were imported."""
    names = ["bdjax", *(name for name in _PACKAGES if name in sys.modules)]
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
