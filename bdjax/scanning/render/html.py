"""A report as one self-contained page: no script, nothing fetched."""

import functools
import html
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bdjax.detectors import Access
from bdjax.scanning.render import drawing, pictures, words
from bdjax.verdicts import Conclusion

if TYPE_CHECKING:
    import jinja2

    from bdjax.scanning.report import Judgement, Report

_LABELS = 12  # whose scores are shown
_CLASS = {
    Conclusion.TROJANED: "trojaned",
    Conclusion.NOT_FLAGGED: "benign",
    Conclusion.INCONCLUSIVE: "inconclusive",
    None: "unasked",
}


def to_html(report: "Report") -> str:
    """The whole page."""
    ran = [j for j in report.judgements if j.finding is not None]
    lead = words.lead(report)
    ran.sort(key=lambda judgement: judgement is not lead)
    return _templates().get_template("scan.html").render(
        report=report,
        lead=lead,
        trigger=pictures.trigger(report),
        clean=pictures.clean(report),
        ran=ran,
        unasked=[j for j in report.judgements if j.finding is None],
        bases=_bases(ran),
        access=[a.value for a in Access if a is not Access.TRAINING_DATA],
    )  # fmt: skip


def to_cell(report: "Report") -> str:
    """For a notebook's cell: the page in a frame of its own."""
    page = html.escape(to_html(report), quote=True)
    return (
        f'<iframe srcdoc="{page}" title="bdjax scan" '
        'style="width: 100%; height: 48rem; border: 0"></iframe>'
    )


def _bases(ran: "list[Judgement]") -> "list[list[Judgement]]":
    """Those whose thresholds rest on anything, by what they rest on."""
    found: dict[str, list[Judgement]] = {}
    for judgement in ran:
        calibration = judgement.calibration
        if calibration is not None and calibration.references:
            rests = (calibration.source, calibration.command, calibration.regimes)
            found.setdefault(repr(rests), []).append(judgement)
    return list(found.values())


def _bars(report: "Report", judgement: "Judgement") -> dict[str, Any]:
    """Label scores, the greatest first: rows, the threshold's place, what is left."""
    finding = judgement.finding
    if finding is None or finding.label_scores is None or not len(finding.label_scores):
        return {}
    scores = np.asarray(finding.label_scores, np.float64)
    labels = np.arange(len(scores)) if finding.labels is None else finding.labels
    order = np.argsort(-np.nan_to_num(scores, nan=-math.inf), kind="stable")
    finite = scores[np.isfinite(scores)]
    limit = words.threshold(judgement)
    ends = [0.0, *finite, *([limit] if math.isfinite(limit) else [])]
    low, span = min(ends), (max(ends) - min(ends)) or 1.0

    def width(score: float) -> float:
        return (
            0.0
            if math.isnan(score)
            else 100 * float(np.clip((score - low) / span, 0, 1))
        )

    return {
        "rows": [
            {
                "label": report.label(int(labels[k])),
                "score": f"{scores[k]:.3g}",
                "width": round(width(scores[k]), 1),
                "above": bool(scores[k] > limit),
            }
            for k in order[:_LABELS]
        ],
        "limit": round(width(limit), 1) if math.isfinite(limit) else None,
        "left": max(0, len(scores) - _LABELS),
    }


@functools.cache
def _templates() -> "jinja2.Environment":
    import jinja2

    house = Path(__file__).parents[2]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(
            [house / "scanning" / "templates", house / "report" / "templates"]
        ),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "words": words,
        "bars": _bars,
        "scale": drawing.scale,
        "isnan": math.isnan,
        "kind_of": lambda conclusion: _CLASS[conclusion],
    }
    environment.filters["sentence"] = words.sentence
    return environment
