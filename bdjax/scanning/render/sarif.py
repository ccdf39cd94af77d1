"""A report as SARIF 2.1.0, which code hosts and dashboards of findings read.

A rule a detector, a result a detector that ran. What keeps a scan from a conclusion is
a notification, so that a scan in which nothing ran says so.
"""

import hashlib
import json
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bdjax.scanning.render import plain, words
from bdjax.verdicts import Conclusion

if TYPE_CHECKING:
    from bdjax.scanning.report import Judgement, Report

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def to_sarif(report: "Report") -> str:
    """The whole log, one run.

    Levels: ``error`` of a detector that says trojaned, ``warning`` of an inconclusive
    one, ``none`` (and the kind ``pass``) of one that flags nothing. In a scan that is
    inconclusive altogether, nothing is an error.
    """
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver(report)},
                "invocations": [_invocation(report)],
                "results": [
                    _result(report, index, judgement)
                    for index, judgement in enumerate(report.judgements)
                    if judgement.finding is not None
                ],
                "columnKind": "unicodeCodePoints",
                "properties": _properties(report),
            }
        ],
    }
    return json.dumps(log, indent=1, allow_nan=False) + "\n"


def _driver(report: "Report") -> dict[str, Any]:
    version = report.versions.get("bdjax")
    return {
        "name": "bdjax",
        **({"version": version} if version else {}),
        "rules": [_rule(judgement) for judgement in report.judgements],
    }


def _rule(judgement: "Judgement") -> dict[str, Any]:
    return {
        "id": f"bdjax/{judgement.name}",
        "name": re.sub(r"\W+", "", judgement.title) or judgement.name,
        "shortDescription": {"text": f"{judgement.title}: the network has a backdoor"},
        "fullDescription": {
            "text": f"{judgement.title} looks at the network's {judgement.access} for "
            "signs of a trigger that was trained into it."
        },
        "help": {
            "text": "Trojaned: do not deploy the network; see where it and its data "
            "come from. Inconclusive: the message says what to mend. Not flagged is no "
            "proof that there is no backdoor."
        },
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security", "backdoor"], "precision": "medium"},
    }


def _result(report: "Report", index: int, judgement: "Judgement") -> dict[str, Any]:
    said = plain.of_judgement(judgement)
    rule = f"bdjax/{judgement.name}"
    identity = "\n".join([rule, report.source, str(said["target"])])
    kept = ("score", "threshold", "p_value", "target", "labels", "label_scores")
    return {
        "ruleId": rule,
        "ruleIndex": index,
        **_severity(report, judgement),
        "message": {"text": _message(report, judgement)},
        "locations": [_location(report.source)],
        # Alike in every scan of a network that is found to be the same.
        "partialFingerprints": {
            "bdjaxScan/v1": hashlib.sha256(identity.encode()).hexdigest()
        },
        "properties": {name: said[name] for name in kept}
        | {"conclusion": said["conclusion"], "seconds": said["seconds"]}
        | {"calibration": said["calibration"], "notes": said["notes"]},
    }


def _severity(report: "Report", judgement: "Judgement") -> dict[str, str]:
    if judgement.conclusion is Conclusion.NOT_FLAGGED:
        return {"kind": "pass", "level": "none"}
    certain = report.conclusion is not Conclusion.INCONCLUSIVE
    sure = judgement.conclusion is Conclusion.TROJANED and certain
    return {"kind": "fail", "level": "error" if sure else "warning"}


def _message(report: "Report", judgement: "Judgement") -> str:
    told = [f"{judgement.title}: {words.answer(report, judgement)}"]
    if judgement.finding and (score := words.figure(judgement.finding.score)):
        limit = words.figure(words.threshold(judgement))
        told.append(f"Score {score}" + (f", threshold {limit}" if limit else ""))
    if (p := words.chance(judgement.p_value)) and judgement.calibration:
        told.append(f"p = {p}; {judgement.calibration.basis}")
    return " ".join(map(words.sentence, [*told, *words.why(judgement)]))


def _location(source: str) -> dict[str, Any]:
    """Of a file or address; a Python object has no place but a name."""
    if re.match(r"\w+://", source):
        return {"physicalLocation": {"artifactLocation": {"uri": source}}}
    path = PurePath(source)
    if re.fullmatch(r"[\w.]+:[\w.]+", source) or not (path.suffix or path.parts[1:]):
        return {"logicalLocations": [{"fullyQualifiedName": source, "kind": "object"}]}
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    return {"physicalLocation": {"artifactLocation": {"uri": uri}}}


def _invocation(report: "Report") -> dict[str, Any]:
    told = [(text, "warning") for text in report.reasons]
    told += [
        (f"{j.title}: {j.skipped}", "note") for j in report.judgements if j.skipped
    ]
    told += [(text, "note") for text in (*report.preflight.notes, *report.notes)]
    return {
        "executionSuccessful": any(j.finding is not None for j in report.judgements),
        "toolExecutionNotifications": [
            {"message": {"text": words.sentence(text)}, "level": level}
            for text, level in told
        ],
    }


def _properties(report: "Report") -> dict[str, Any]:
    everything = plain.to_dict(report)
    apart = ("kind", "schema", "detectors", "reasons", "notes")
    return {name: value for name, value in everything.items() if name not in apart}
