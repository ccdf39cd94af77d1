"""Detectors under a budget, each with a reason where it comes to no end."""

import dataclasses
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bdjax import telemetry
from bdjax.detectors import Detector, Finding, Group, Resources
from bdjax.detectors.base import named
from bdjax.detectors.perturbations import Perturbing
from bdjax.mntd import MetaDetector
from bdjax.networks import plain_errors
from bdjax.scanning.access import Planned
from bdjax.scanning.report import Judgement
from bdjax.types import UserError
from bdjax.verdicts import Calibration, conclude

_stopped = threading.Event()


def stop() -> None:
    """Ends the detector that is running at its next tick, and the scan after it."""
    _stopped.set()


class EndedError(Exception):
    """The budget is spent, or somebody stopped the scan."""


class Clock:
    """Time since a scan began, and its end.

    Attributes:
      budget: seconds; None or infinity for no bound.
      interrupted: whether somebody stopped it.
    """

    def __init__(self, budget: float | None):
        self._start = time.perf_counter()
        if budget is not None and not isinstance(budget, (int, float)):
            raise UserError(f"budget is {budget!r}; give seconds, a number, or None")
        self.budget = math.inf if budget is None else float(budget)
        if not self.budget > 0:
            raise UserError(f"budget is {budget} s; it must be above 0, or None")
        self.interrupted = False
        _stopped.clear()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._start

    @property
    def why(self) -> str:
        """Why nothing more is begun; "" while there is time."""
        if self.interrupted or _stopped.is_set():
            return "the scan was stopped"
        if self.seconds >= self.budget:
            return f"the budget of {self.budget:g} s was spent"
        return ""

    def tick(self) -> None:
        """Raises :class:`EndedError` once there is no more time."""
        if why := self.why:
            raise EndedError(why)


def judge(
    planned: Planned,
    group: Group | None,
    resources: Resources,
    ask: Callable[[Any], np.ndarray],
    clock: Clock,
    *,
    progress: bool | None,
) -> Judgement:
    """Runs a detector to its end or that of the budget; its failure is a reason.

    Args:
      planned: which.
      group: the network, of those that look inside.
      resources: likewise.
      ask: the network, of MNTD.
      clock: which may end it.
      progress: whether to show a bar.
    """
    start, done, first = time.perf_counter(), (0, 0), (0, 0.0)
    finding, why = None, ""

    def about() -> str:
        if not done[0]:
            return ""
        share = f" at {done[0] / done[1]:.0%} of it"
        if done[0] == first[0]:
            return share
        # From the end of the first step on, which compilation is in.
        pace = (time.perf_counter() - first[1]) / (done[0] - first[0])
        needed = first[1] - start + pace * (done[1] - first[0])
        return f"{share} (about {needed:.0f} s in all)"

    try:
        with telemetry.reporter(
            planned.title, unit="iterations", enabled=progress
        ) as shown:

            def tell(i: int, total: int) -> None:
                nonlocal done, first
                done = i, max(total, 1)
                first = first if first[0] else (i, time.perf_counter())
                shown(i, total)
                clock.tick()

            clock.tick()
            with plain_errors():
                finding = _ask(planned, group, resources, ask, tell)
    except EndedError as error:
        why = f"{error}{about()}"
    except KeyboardInterrupt:
        clock.interrupted = True
        why = f"it was interrupted{about()}"
    except UserError as error:
        why = str(error)
    except MemoryError:
        why = "memory ran out"
    except Exception as error:  # of a stranger's network, or our own fault
        text = " ".join(str(error).split())
        why = f"it failed ({type(error).__name__}: {text[:200]})"
    if finding is not None and not finding.conclusion and planned.calibration:
        finding = _compared(finding, planned.calibration)
    if finding is not None and finding.labels is not None:
        finding = _partly(finding, resources.task.num_classes)
    return Judgement(
        name=planned.name,
        title=planned.title,
        access=planned.access.value,
        finding=finding,
        calibration=_calibration(planned, group, finding, resources),
        skipped=why,
        seconds=time.perf_counter() - start,
    )


def _ask(
    planned: Planned,
    group: Group | None,
    resources: Resources,
    ask: Callable[[Any], np.ndarray],
    tell: Callable[[int, int], None],
) -> Finding:
    detector = planned.detector
    if isinstance(detector, MetaDetector):
        start = time.perf_counter()
        verdict = detector.score(ask)
        return Finding(
            0,
            verdict.score,
            conclusion=named(verdict.conclusion),
            threshold=verdict.threshold,
            artefacts={"answers": verdict.answers, "queries": detector.queries},
            notes=tuple(n for n in verdict.notes if n not in verdict.reasons),
            reasons=verdict.reasons,
            seconds=time.perf_counter() - start,
        )
    assert isinstance(detector, Detector)
    assert group is not None
    mine = dataclasses.replace(resources, tell=tell)
    detector.check(mine)
    detector.prepare(mine)
    (finding,) = detector.examine(group, mine)
    return finding


def _calibration(
    planned: Planned,
    group: Group | None,
    finding: Finding | None,
    resources: Resources,
) -> Calibration | None:
    """What the score was compared with; None if there is none of benign networks."""
    detector = planned.detector
    if isinstance(detector, MetaDetector):
        return detector.calibration
    if not isinstance(detector, Perturbing):
        return planned.calibration
    count = resources.task.num_classes
    try:
        return detector.compared(count, count)[0]
    except UserError:  # which the finding's reason is
        return None


def _compared(finding: Finding, calibration: Calibration) -> Finding:
    """A finding of a detector without verdicts, by references of a user's own."""
    labels = np.zeros(0, int) if finding.labels is None else finding.labels
    scores = np.zeros(0) if finding.label_scores is None else finding.label_scores
    doubts = list(finding.reasons)
    if math.isnan(finding.score):
        doubts += finding.notes
    found = conclude(finding.score, scores, labels, calibration, doubts, [])
    return dataclasses.replace(
        finding,
        conclusion=named(found["conclusion"]),
        threshold=calibration.threshold,
        target=next(iter(found["target_labels"]), None),
        reasons=found["reasons"],
    )


def _partly(finding: Finding, num_classes: int) -> Finding:
    """A finding that saw some classes only as candidates says nothing of the others."""
    assert finding.labels is not None
    missing = num_classes - len(finding.labels)
    if missing <= 0:
        return finding
    text = (
        f"{missing} of {num_classes} classes have no images, and were no candidates for"
        " the target label"
    )
    notes = tuple(n for n in finding.notes if not n.startswith("no image of classes"))
    if finding.conclusion != "benign" or missing < num_classes / 2:
        return dataclasses.replace(finding, notes=(*notes, text))
    return dataclasses.replace(
        finding, notes=notes, conclusion="inconclusive", reasons=(text,)
    )
