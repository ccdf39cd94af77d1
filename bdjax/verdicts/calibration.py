"""Scores of benign networks: what makes a score evidence."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bdjax import checks
from bdjax.evaluation import threshold_at_fpr
from bdjax.evaluation.checks import as_finite
from bdjax.types import UserError

_KIND = "bdjax calibration"
_FIELDS = ("threshold", "grey", "source", "settings")
_LATER = ("regimes", "found", "command")  # which files of old lack


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Where a detector's benign references score, and the thresholds that follow.

    Attributes:
      benign_scores: float64 ``[R]``, sorted, of the references; empty without any.
      threshold: scores above it are called trojaned.
      grey: scores from here up to the threshold are inconclusive; not above it.
      source: what the references are, in words.
      settings: what the scores depend on, such as a detector's configuration; a
        calibration is refused where they differ. JSON.
      regimes: number of benign references by what they are and how they were trained;
        empty if that is not known.
      found: how many trojaned references score above the threshold, and how many there
        are; (0, 0) without any.
      command: that made it; "" if none did.
    """

    benign_scores: np.ndarray
    threshold: float
    grey: float
    source: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    regimes: dict[str, int] = dataclasses.field(default_factory=dict)
    found: tuple[int, int] = (0, 0)
    command: str = ""

    def __post_init__(self):
        scores = np.sort(np.asarray(self.benign_scores, np.float64).reshape(-1))
        object.__setattr__(self, "benign_scores", scores)
        if math.isnan(self.threshold) or not self.grey <= self.threshold:
            raise UserError(
                f"threshold is {self.threshold} and grey {self.grey}; both must be "
                "numbers, and grey not above the threshold"
            )
        found, trojaned = self.found
        if not 0 <= found <= trojaned:
            raise UserError(
                f"found is {self.found}: trojaned references above the threshold, and "
                "all; give no more found than there are"
            )

    @property
    def references(self) -> int:
        """Number of benign networks that it rests on."""
        return len(self.benign_scores)

    @property
    def flagged(self) -> int:
        """Number of benign references above the threshold."""
        return int(np.count_nonzero(self.benign_scores > self.threshold))

    @property
    def basis(self) -> str:
        """On how many networks the threshold rests, and what it makes of them."""
        if not self.references:
            return "no benign networks"
        kinds = len(self.regimes)
        some = f" of {kinds} regime{'s' * (kinds > 1)}" if kinds else ""
        are = "is" if self.flagged == 1 else "are"
        words = (
            f"{self.flagged} of {self.references} benign networks{some} {are} above "
            "the threshold"
        )
        found, trojaned = self.found
        are = "is" if found == 1 else "are"
        return f"{words}; {found} of {trojaned} Trojans {are}" if trojaned else words

    def p_value(self, score: float) -> float:
        """Conformal p-value of a score: how rarely a benign network scores as much.

        ``(1 + #{references that score no less}) / (references + 1)``: if the network
        is benign and alike to the references, it is at most p with a probability of
        at most p (Vovk et al. 2005). No less than ``1 / (references + 1)``; NaN
        without references or of NaN.
        """
        if not self.references or math.isnan(score):
            return math.nan
        no_less = np.count_nonzero(self.benign_scores >= score)
        return (1 + no_less) / (self.references + 1)

    def to_record(self) -> dict[str, Any]:
        """For JSON."""
        fields = {name: getattr(self, name) for name in _FIELDS + _LATER}
        return {"kind": _KIND} | fields | {"scores": self.benign_scores.tolist()}

    @classmethod
    def from_record(
        cls, record: Any, where: str | os.PathLike[str] = "the calibration"
    ) -> "Calibration":
        """Of JSON; ``where`` it was read, for messages.

        Raises:
          UserError: it is no calibration.
        """
        if not isinstance(record, dict) or record.get("kind") != _KIND:
            raise UserError(
                f"{where} is no calibration; give what Calibration.save wrote"
            )
        try:
            fields = {name: record[name] for name in _FIELDS}
            fields |= {name: record[name] for name in _LATER if name in record}
            for name in {"settings", "regimes"} & set(fields):
                fields[name] = dict(fields[name])
            found, trojaned = fields.get("found", (0, 0))
            fields["found"] = int(found), int(trojaned)
            scores = np.asarray(record["scores"], np.float64)
            if np.isnan(scores).any():
                raise ValueError("a score is no number")
            return cls(scores, **fields)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where} is damaged ({error!r}); make it again") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a small JSON file.

        Raises:
          UserError: it cannot be written.
        """
        text = json.dumps(self.to_record(), indent=1) + "\n"
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error


def load_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Reads what :meth:`Calibration.save` wrote.

    Raises:
      UserError: there is no such file, or it is no calibration.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); give a calibration") from error
    return Calibration.from_record(record, path)


def calibrate_scores(
    benign_scores: ArrayLike,
    *,
    false_alarms: float = 0.05,
    source: str = "",
    settings: dict[str, Any] | None = None,
) -> Calibration:
    """A calibration from scores of benign networks alone.

    The threshold flags at most a share ``false_alarms`` of benign networks to come, if
    they are alike to these; see :func:`bdjax.evaluation.threshold_at_fpr`.

    Args:
      benign_scores: ``[R]``, finite.
      false_alarms: in (0, 1).
      source: what they are, in words.
      settings: see :class:`Calibration`.

    Raises:
      UserError: the scores cannot state so low a false-alarm rate, or are not finite.
    """
    scores = as_finite(benign_scores, name="benign scores").reshape(-1)
    least = 1 / (len(scores) + 1)
    checks.within("(0, 1)", false_alarms=false_alarms)
    if least > false_alarms + 1e-12:
        needed = math.ceil(1 / false_alarms - 1 - 1e-9)
        raise UserError(
            f"{len(scores)} benign networks can state no false-alarm rate below "
            f"{least:.3g}, and false_alarms is {false_alarms:g}; give {needed} or "
            f"more, or false_alarms={math.ceil(least * 1000) / 1000:g}"
        )
    limit = threshold_at_fpr(scores, false_alarms)
    source = source or f"{len(scores)} benign networks"
    return Calibration(scores, limit, limit, source, settings or {})


def by_threshold(threshold: float, source: str) -> Calibration:
    """A threshold that rests on no references, such as a published one."""
    return Calibration(np.zeros(0), threshold, threshold, source)
