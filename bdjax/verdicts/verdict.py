"""A verdict on one network, whichever detector gave it."""

import dataclasses
import enum
import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bdjax.types import UserError
from bdjax.verdicts.calibration import Calibration

_WIDTH = 88


class InconclusiveError(UserError):
    """A yes or no was asked of a verdict that is neither."""


class Conclusion(enum.Enum):
    """What a verdict comes to."""

    TROJANED = "trojaned"
    NOT_FLAGGED = "not flagged"
    INCONCLUSIVE = "inconclusive"

    def __bool__(self) -> bool:
        if self is Conclusion.INCONCLUSIVE:
            raise InconclusiveError(
                "the verdict is inconclusive, neither yes nor no; see its reasons"
            )
        return self is Conclusion.TROJANED


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Verdict:
    """What a detector says of one network.

    ``bool(verdict)`` is whether it is trojaned, and raises
    :class:`InconclusiveError` where the verdict is neither.

    Attributes:
      conclusion: trojaned, not flagged, or inconclusive.
      score: larger = more likely trojaned; NaN if the network could not be asked.
      calibration: thresholds, and the benign references that they rest on.
      reasons: why it is inconclusive, one sentence each; empty otherwise.
      doubts: those of the reasons that are the network's or the data's, not the
        calibration's.
      notes: what a reader must know, one sentence each; the reasons come first.
      target_labels: labels whose own score is above the threshold, by score, best
        first; of an inconclusive verdict those above ``calibration.grey``.
      settings: what the score depends on, for a calibration; JSON.
    """

    detector: ClassVar[str] = "detector"

    conclusion: Conclusion
    score: float
    calibration: Calibration
    reasons: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    target_labels: tuple[int, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def threshold(self) -> float:
        """Scores above it are called trojaned, if nothing is in doubt."""
        return self.calibration.threshold

    @property
    def is_trojaned(self) -> bool | None:
        """True or False; None, which is no False, if inconclusive."""
        if self.conclusion is Conclusion.INCONCLUSIVE:
            return None
        return self.conclusion is Conclusion.TROJANED

    @property
    def p_value(self) -> float:
        """See :meth:`Calibration.p_value`; rests on :attr:`references` networks."""
        return self.calibration.p_value(self.score)

    @property
    def references(self) -> int:
        """Number of benign networks that the p-value rests on."""
        return self.calibration.references

    def __bool__(self) -> bool:
        if self.conclusion is Conclusion.INCONCLUSIVE:
            raise InconclusiveError(
                f"the verdict is inconclusive ({'; '.join(self.reasons)}); it is "
                "neither yes nor no: look at verdict.conclusion"
            )
        return bool(self.conclusion)

    def __str__(self) -> str:
        lines = [f"{self.detector}: {self.headline()}", self._basis()]
        for note in self.notes:
            lines += textwrap.wrap(f"- {note}", _WIDTH, subsequent_indent="  ")
        return "\n".join(lines)

    __repr__ = __str__

    def headline(self) -> str:
        """The conclusion, and the labels that it is about."""
        words = self.conclusion.value.upper()
        if not self.target_labels:
            return words
        trojaned = self.conclusion is Conclusion.TROJANED
        about = "toward label" if trojaned else "most suspicious label"
        return f"{words}, {about} {few(self.target_labels)}"

    def _basis(self) -> str:
        limit = f"threshold {self.threshold:.3g}"
        if self.calibration.grey < self.threshold:
            limit += f", inconclusive from {self.calibration.grey:.3g} on"
        words = f"score {self.score:.3g} ({limit})"
        if self.references:
            words += f", p = {self.p_value:.2g} among {self.references} benign networks"
        return "\n".join(textwrap.wrap(f"{words}; {self.calibration.source}", _WIDTH))

    def to_dict(self) -> dict[str, Any]:
        """Everything but large arrays, for JSON; NaN and infinity are None."""
        return {
            "detector": self.detector,
            "conclusion": self.conclusion.value,
            "score": number(self.score),
            "threshold": number(self.threshold),
            "grey": number(self.calibration.grey),
            "p_value": number(self.p_value),
            "references": self.references,
            "source": self.calibration.source,
            "target_labels": list(self.target_labels),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """:meth:`to_dict` as a JSON object."""
        return json.dumps(self.to_dict(), indent=1)

    def plot(self, path: str | Path | None = None) -> Any:
        """Draws where the score lies among the benign references, and label scores.

        Args:
          path: of a PNG to write; None writes none.

        Returns:
          The matplotlib figure, which a notebook shows.

        Raises:
          UserError: the path does not end in ``.png``, or cannot be written.
        """
        from bdjax.plots import style  # matplotlib is slow to import
        from bdjax.plots import verdict as drawn

        figure = drawn.figure(self)
        if path is not None:
            style.save(figure, Path(path))
        return figure


def conclude(
    score: float,
    label_scores: np.ndarray,
    labels: np.ndarray,
    calibration: Calibration,
    doubts: Sequence[str],
    notes: Sequence[str],
    unknown: Sequence[str] = (),
) -> dict[str, Any]:
    """The fields of :class:`Verdict`, from a score and everything that is in doubt.

    Args:
      score: the network's.
      label_scores: float ``[K]``, of its labels; empty if the detector has none.
      labels: int ``[K]``, these.
      calibration: what to compare with.
      doubts: what forbids a verdict on this network, one sentence each.
      notes: anything else, likewise.
      unknown: what the calibration lacks, likewise.
    """
    reasons = [*doubts, *unknown]
    if math.isnan(score) and not reasons:
        reasons.append("there is no score")
    if calibration.grey < score <= calibration.threshold:
        reasons.append(
            f"the score lies in the grey zone from {calibration.grey:.3g}, up to which "
            f"nothing is flagged, to the threshold {calibration.threshold:.3g}"
        )
    flagged = score > calibration.threshold
    conclusion = Conclusion.TROJANED if flagged else Conclusion.NOT_FLAGGED
    if reasons:
        conclusion = Conclusion.INCONCLUSIVE
    limit = calibration.grey if reasons else calibration.threshold
    order = np.argsort(-np.asarray(label_scores), kind="stable")
    targets = [int(labels[k]) for k in order if label_scores[k] > limit]
    return {
        "conclusion": conclusion,
        "score": float(score),
        "calibration": calibration,
        "reasons": tuple(reasons),
        "doubts": tuple(doubts),
        "notes": (*reasons, *notes),
        "target_labels": tuple(targets),
    }


def few(labels: Sequence[object], most: int = 3) -> str:
    """The first of some labels, and how many more there are."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(map(str, labels[:most])) + more


def number(value: float) -> float | None:
    """A number for JSON, which has no NaN or infinity: those are None."""
    return float(value) if math.isfinite(value) else None


def settings(config: Any) -> dict[str, Any]:
    """A configuration's fields for JSON; a threshold, too, may be infinite."""
    fields = dataclasses.asdict(config)
    return {k: number(v) if isinstance(v, float) else v for k, v in fields.items()}
