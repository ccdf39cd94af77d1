"""What a scan found: one answer, and everything that it rests on."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from bdjax.detectors import Finding
from bdjax.scanning import render
from bdjax.types import UserError
from bdjax.verdicts import Calibration, Conclusion, InconclusiveError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A reading of the images that was tried on the network.

    Attributes:
      name: such as ``"0..1"`` or ``"ImageNet's mean and deviation, BGR"``.
      accuracy: share of the labelled images that it gets right; NaN without labels.
      confidence: mean probability of the label that it answers; NaN of labels only.
    """

    name: str
    accuracy: float = math.nan
    confidence: float = math.nan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preflight:
    """Whether the network was asked as its makers meant it.

    Attributes:
      reading: name of the reading that it was asked by.
      stated: whether that is what the user said.
      images: how many were tried, at most of those that were given.
      candidates: those that were tried, the best first.
      reasons: why no verdict can rest on it, one sentence each; empty if all is well.
      notes: anything else, likewise.
    """

    reading: str
    stated: bool = False
    images: int = 0
    candidates: tuple[Candidate, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """One detector's part in a scan.

    Attributes:
      name: key in the registry, or ``"mntd"`` of a fitted detector.
      title: what people call it.
      access: what it sees of a network, a value of ``detectors.Access``.
      finding: what it said; None if it did not run.
      calibration: what it compares with; None if there is none.
      skipped: why it did not run or came to no end, one sentence; "" if it did.
      seconds: that it took.
    """

    name: str
    title: str
    access: str
    finding: Finding | None = None
    calibration: Calibration | None = None
    skipped: str = ""
    seconds: float = 0.0

    @property
    def conclusion(self) -> Conclusion | None:
        """What it came to; None if it did not run."""
        if self.finding is None:
            return None
        return {
            "trojaned": Conclusion.TROJANED,
            "benign": Conclusion.NOT_FLAGGED,
        }.get(self.finding.conclusion, Conclusion.INCONCLUSIVE)

    @property
    def p_value(self) -> float:
        """Conformal, among the calibration's benign networks; NaN without."""
        if self.finding is None or self.calibration is None:
            return math.nan
        return self.calibration.p_value(self.finding.score)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Report:
    """The answer of a scan.

    ``bool(report)`` is whether the network is trojaned, and raises
    :class:`bdjax.verdicts.InconclusiveError` where the answer is neither.
    ``print(report)`` sums up; a notebook shows it as a page.

    Attributes:
      source: the network, as it was given: a path, an address without its query, or
        a name.
      kind: what it is, such as ``"ONNX"``.
      facts: what is known of it, words by name: layout, input, classes, parameters,
        penultimate layer, answers.
      access: what could be had of it, values of ``detectors.Access``.
      conclusion: of all detectors together.
      reasons: why it is inconclusive, one sentence each.
      target: the label that the network is trojaned toward, if one is named.
      classes: what labels are called; empty if they have no names.
      preflight: whether the network was asked rightly.
      judgements: detector by detector, in the order that they ran in; the ones that did
        not run last.
      images: some clean images as they were given, float32 ``[n, H, W, C]`` in
        [0, 1]; None without any.
      images_given: how many there were.
      seconds: wall time in all.
      seconds_to_first: until the first detector's answer; NaN without one.
      peak_mib: peak memory of the process.
      budget: seconds that it was given; infinity if there was no bound.
      seed: root of all randomness.
      notes: what a reader must know, one sentence each.
      asked: how often the network was asked, images.
      versions: of bdjax and the packages that took part.
    """

    source: str
    kind: str
    facts: dict[str, str]
    access: tuple[str, ...]
    conclusion: Conclusion
    reasons: tuple[str, ...] = ()
    target: int | None = None
    classes: tuple[str, ...] = ()
    preflight: Preflight
    judgements: tuple[Judgement, ...] = ()
    images: np.ndarray | None = None
    images_given: int = 0
    seconds: float = math.nan
    seconds_to_first: float = math.nan
    peak_mib: float = math.nan
    budget: float = math.inf
    seed: int = 0
    notes: tuple[str, ...] = ()
    asked: int = 0
    versions: dict[str, str] = dataclasses.field(default_factory=dict)

    def label(self, k: int) -> str:
        """A label as people know it: its number, and its name if it has one."""
        return f"{k} ({self.classes[k]})" if k < len(self.classes) else str(k)

    def __bool__(self) -> bool:
        if self.conclusion is Conclusion.INCONCLUSIVE:
            raise InconclusiveError(
                f"the scan is inconclusive ({'; '.join(self.reasons)}); it is neither "
                "yes nor no: look at report.conclusion"
            )
        return self.conclusion is Conclusion.TROJANED

    def __str__(self) -> str:
        return render.render(self, "text")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return render.html.to_cell(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything but images, for JSON; see docs/report.md."""
        return render.plain.to_dict(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a file: ``.html``, ``.json``, ``.sarif`` or ``.txt``.

        Raises:
          UserError: the name ends otherwise, or the file cannot be written.
        """
        text = render.render(self, render.format_of(os.fspath(path)))
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
