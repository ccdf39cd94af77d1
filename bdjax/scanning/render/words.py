"""What a report comes to, in words that all its forms share."""

import math
from typing import TYPE_CHECKING

import numpy as np

from bdjax.verdicts import Conclusion

if TYPE_CHECKING:
    from bdjax.scanning.report import Judgement, Report


def headline(report: "Report") -> str:
    """The conclusion, and the label that it is about."""
    words = report.conclusion.value.capitalize()
    if report.conclusion is Conclusion.TROJANED and report.target is not None:
        return f"{words}, toward label {report.label(report.target)}"
    return words


def answer(report: "Report", judgement: "Judgement") -> str:
    """What one detector says, such as ``"trojaned, label 3 (cat)"``."""
    if judgement.finding is None or judgement.conclusion is None:
        return "did not run"
    words, target = judgement.conclusion.value, judgement.finding.target
    if judgement.conclusion is Conclusion.NOT_FLAGGED or target is None:
        return words
    return f"{words}, label {report.label(target)}"


def why(judgement: "Judgement") -> tuple[str, ...]:
    """Why there is no answer, or none that decides; one sentence each."""
    told = (judgement.skipped,) if judgement.skipped else ()
    if judgement.finding is None:
        return told
    unscored = math.isnan(judgement.finding.score) and not judgement.finding.reasons
    return told + judgement.finding.reasons + judgement.finding.notes * unscored


def notes(report: "Report") -> list[str]:
    """What a reader must know: of the preflight, the scan and each detector."""
    told = [*report.preflight.notes, *report.notes]
    for judgement in report.judgements:
        if judgement.finding is not None:
            own = [n for n in judgement.finding.notes if n not in why(judgement)]
            told += [f"{judgement.title}: {note}" for note in own]
    return told


def by_weight(report: "Report") -> list["Judgement"]:
    """Those with a score: first what says as the report does, then what finds most."""

    def weight(judgement: "Judgement") -> tuple[bool, float]:
        found, trojaned = (
            judgement.calibration.found if judgement.calibration else (0, 0)
        )
        power = found / trojaned if trojaned else -1.0
        return judgement.conclusion is report.conclusion, power

    scored = [
        j for j in report.judgements if j.finding and not math.isnan(j.finding.score)
    ]
    return sorted(scored, key=weight, reverse=True)


def lead(report: "Report") -> "Judgement | None":
    """The detector that the answer rests on; None if none has a score.

    Of those that say what the report says, the one that finds most of its trojaned
    references; if none does, of all.
    """
    return next(iter(by_weight(report)), None)


def power(report: "Report") -> str:
    """What "not flagged" rests on, in few words; "" of any other answer."""
    judgement = lead(report)
    if report.conclusion is not Conclusion.NOT_FLAGGED or judgement is None:
        return ""
    found, trojaned = judgement.calibration.found if judgement.calibration else (0, 0)
    if not trojaned:
        return f"no proof, by {judgement.title}"
    return (
        f"no proof, by {judgement.title}, which finds {found / trojaned:.0%} of Trojans"
    )


def threshold(judgement: "Judgement") -> float:
    """That a score is compared with; NaN without."""
    if judgement.calibration is not None:
        return judgement.calibration.threshold
    return judgement.finding.threshold if judgement.finding else math.nan


def sureness(report: "Report") -> list[str]:
    """How sure the answer is, one sentence each; the reasons where there is none."""
    told = [sentence(reason) for reason in report.reasons]
    if (judgement := lead(report)) is None or judgement.finding is None:
        return told or ["No detector has an answer."]
    if report.conclusion is Conclusion.INCONCLUSIVE and told:
        return told
    score, limit = judgement.finding.score, threshold(judgement)
    words = f"{judgement.title} scores {score:.3g}"
    if not math.isnan(limit):
        side = "above" if score > limit else "not above"
        words += f", {side} its threshold of {limit:.3g}"
    told.append(f"{words}.")
    calibration = judgement.calibration
    if calibration is None or not calibration.references:
        return [*told, "No benign networks tell how often that happens by chance."]
    as_much = int(np.count_nonzero(calibration.benign_scores >= score))
    of = f"of {calibration.references} benign reference networks"
    many = f"{as_much} {of} score as much or more" if as_much else ""
    many = many or f"None {of} scores as much"
    told.append(f"{many} (p = {chance(judgement.p_value)}).")
    found, trojaned = calibration.found
    if report.conclusion is Conclusion.NOT_FLAGGED and trojaned:
        told.append(
            f"That is no proof: at this threshold it finds {found} of {trojaned} "
            "Trojans of known networks."
        )
    return told


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def figure(value: float) -> str:
    """A score; "" of none."""
    return "" if math.isnan(value) else f"{value:.3g}"


def chance(p_value: float) -> str:
    """A p-value; "" of none."""
    return "" if math.isnan(p_value) else f"{p_value:.2g}"


def share(value: float) -> str:
    """In percent; "" of none."""
    return "" if math.isnan(value) else f"{value:.1%}"


def duration(seconds: float) -> str:
    """Such as ``"12 s"``, ``"2 min 5 s"``; "" of none."""
    if math.isnan(seconds):
        return ""
    if math.isinf(seconds):
        return "no bound"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    parts = [f"{minutes} min"] * (minutes > 0) + [f"{rest} s"] * (rest > 0)
    return " ".join(parts)


def memory(mib: float) -> str:
    """Such as ``"812 MiB"``, ``"1.3 GiB"``; "" of none."""
    if math.isnan(mib):
        return ""
    return f"{mib:.0f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"


def effort(report: "Report") -> str:
    """Time, memory and questions, in one line."""
    first, spent = report.seconds_to_first, duration(report.seconds)
    if math.isfinite(report.budget):
        spent += f" of {duration(report.budget)}"
    parts = [
        spent,
        f"first answer after {duration(first)}" if not math.isnan(first) else "",
        f"{memory(report.peak_mib)} of memory" if report.peak_mib > 0 else "",
        f"{report.asked:,} inputs asked" if report.asked else "",
    ]
    return ", ".join(part for part in parts if part)
