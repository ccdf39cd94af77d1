"""One answer of all that detectors said."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from bdjax.detectors import DETECTORS, Access
from bdjax.scanning.report import Judgement, Preflight
from bdjax.verdicts import Conclusion

_ORDER = [access.value for access in Access]


class Answer(NamedTuple):
    """Of a scan.

    Attributes:
      conclusion: of all detectors together.
      reasons: why it is inconclusive, one sentence each.
      target: the label that the network is trojaned toward, if one is named.
      notes: what a reader must know, likewise.
    """

    conclusion: Conclusion
    reasons: tuple[str, ...] = ()
    target: int | None = None
    notes: tuple[str, ...] = ()


def conclude(
    judgements: Sequence[Judgement], preflight: Preflight, unfinished: Sequence[str]
) -> Answer:
    """Trojaned if a detector says so; not flagged if the most powerful one says so.

    A detector that finds more than the one that concluded, and was in doubt itself or
    cut short, leaves the answer open; one that could not run at all does not.

    Args:
      judgements: of all detectors.
      preflight: no answer rests on a network that was asked wrongly.
      unfinished: names of detectors that were cut short by time.
    """
    ran = [j for j in judgements if j.finding is not None]
    flagged = [j for j in ran if j.conclusion is Conclusion.TROJANED]
    flagged.sort(key=power, reverse=True)
    benign = [j for j in ran if j.conclusion is Conclusion.NOT_FLAGGED]
    target = flagged[0].finding.target if flagged and flagged[0].finding else None
    notes = []
    if flagged and benign:
        notes.append(
            f"{_names(flagged)} says that it is trojaned, and {_names(benign)} does "
            "not: one that misses a Trojan is the rule, a false alarm the exception"
        )
    if preflight.reasons:
        reasons = list(preflight.reasons)
        if flagged:
            reasons.append(f"otherwise {_names(flagged)} would say that it is trojaned")
        return Answer(Conclusion.INCONCLUSIVE, _once(reasons), target, tuple(notes))
    if flagged:
        return Answer(Conclusion.TROJANED, (), target, tuple(notes))
    reached = max(map(power, benign), default=(-1.0, 0.0))
    reasons, missing = [], []
    # What asks the least of a network lacks the least.
    for j in sorted(judgements, key=lambda j: _ORDER.index(j.access)):
        if power(j) <= reached:
            continue
        if j.name in unfinished:
            reasons.append(f"{j.title} came to no end: {j.skipped}")
        elif j.finding is not None and j.conclusion is Conclusion.INCONCLUSIVE:
            reasons += _why(j)
        elif not benign and j.skipped and not DETECTORS[j.name].is_variant:
            missing.append(f"{j.title} did not run: {j.skipped}")
    if benign and not reasons:
        return Answer(Conclusion.NOT_FLAGGED, (), None, tuple(notes))
    named = [j.finding.target for j in ran if j.finding]
    suspect = next((target for target in named if target is not None), None)
    reasons = reasons or missing or ["no detector ran"]
    return Answer(Conclusion.INCONCLUSIVE, _once(reasons), suspect, ())


def power(judgement: Judgement) -> tuple[float, float]:
    """The share of Trojans that a detector finds, if that is known; and its cost."""
    calibration, share = judgement.calibration, 0.5
    if calibration is not None and calibration.found[1]:
        share = calibration.found[0] / calibration.found[1]
    return share, DETECTORS[judgement.name].cost


def _why(judgement: Judgement) -> list[str]:
    finding = judgement.finding
    assert finding is not None
    reasons = list(finding.reasons)
    if not reasons and math.isnan(finding.score):
        reasons = list(finding.notes)
    if not reasons:
        reasons = ["its score is compared with no benign networks"]
    return [f"{judgement.title}: {reason}" for reason in reasons]


def _names(judgements: Sequence[Judgement]) -> str:
    return " and ".join(j.title for j in judgements)


def _once(reasons: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reasons))
