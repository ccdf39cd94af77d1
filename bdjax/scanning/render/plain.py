"""A report as JSON has it."""

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from bdjax.verdicts import Calibration, number

if TYPE_CHECKING:
    from bdjax.scanning.report import Judgement, Preflight, Report

KIND = "bdjax scan"
SCHEMA = 1
"""Of :func:`to_dict`; another one after any change."""


def to_dict(report: "Report") -> dict[str, Any]:
    """Everything but arrays of images; numbers that are NaN or infinite are None.

    Its schema is :func:`schema`, told in docs/report.md.
    """
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "conclusion": report.conclusion.value,
        "target": report.target,
        "reasons": list(report.reasons),
        "network": {
            "source": report.source,
            "kind": report.kind,
            "facts": dict(report.facts),
            "access": list(report.access),
            "classes": list(report.classes),
        },
        "preflight": _preflight(report.preflight),
        "detectors": [of_judgement(judgement) for judgement in report.judgements],
        "images": report.images_given,
        "asked": report.asked,
        "seconds": number(report.seconds),
        "seconds_to_first": number(report.seconds_to_first),
        "peak_mib": number(report.peak_mib),
        "budget": number(report.budget),
        "seed": report.seed,
        "notes": list(report.notes),
        "versions": dict(report.versions),
    }


def to_json(report: "Report") -> str:
    """:func:`to_dict` as text."""
    return json.dumps(to_dict(report), indent=1, allow_nan=False) + "\n"


@cache
def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of :func:`to_dict`."""
    place = resources.files("bdjax.scanning") / "templates" / "report.schema.json"
    return json.loads(place.read_text(encoding="utf-8"))


def _preflight(preflight: "Preflight") -> dict[str, Any]:
    return {
        "reading": preflight.reading,
        "stated": preflight.stated,
        "candidates": [
            {
                "name": candidate.name,
                "accuracy": number(candidate.accuracy),
                "confidence": number(candidate.confidence),
            }
            for candidate in preflight.candidates
        ],
        "reasons": list(preflight.reasons),
        "notes": list(preflight.notes),
    }


def of_judgement(judgement: "Judgement") -> dict[str, Any]:
    """An item of ``detectors``."""
    finding, conclusion = judgement.finding, judgement.conclusion
    fields: dict[str, Any] = {
        "name": judgement.name,
        "title": judgement.title,
        "access": judgement.access,
        "skipped": judgement.skipped,
        "seconds": number(judgement.seconds),
        "conclusion": None if conclusion is None else conclusion.value,
        "score": None,
        "threshold": None,
        "p_value": number(judgement.p_value),
        "target": None,
        "labels": [],
        "label_scores": [],
        "reasons": [],
        "notes": [],
        "calibration": _calibration(judgement.calibration),
    }
    if finding is None:
        return fields
    scores = () if finding.label_scores is None else finding.label_scores
    labels = range(len(scores)) if finding.labels is None else finding.labels
    return fields | {
        "score": number(finding.score),
        "threshold": number(finding.threshold),
        "target": None if finding.target is None else int(finding.target),
        "labels": [int(label) for label in labels],
        "label_scores": [number(float(score)) for score in scores],
        "reasons": list(finding.reasons),
        "notes": list(finding.notes),
    }


def _calibration(calibration: Calibration | None) -> dict[str, Any] | None:
    if calibration is None:
        return None
    found, trojaned = calibration.found
    return {
        "threshold": number(calibration.threshold),
        "grey": number(calibration.grey),
        "references": calibration.references,
        "flagged": calibration.flagged,
        "trojaned": trojaned,
        "found": found,
        "regimes": dict(calibration.regimes),
        "source": calibration.source,
        "command": calibration.command,
        "basis": calibration.basis,
    }
