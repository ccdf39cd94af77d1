"""Is this network backdoored? One call on whatever a user has."""

from bdjax.scanning.calibrate import calibrate
from bdjax.scanning.judge import stop
from bdjax.scanning.reading import READINGS
from bdjax.scanning.report import Candidate, Judgement, Preflight, Report
from bdjax.scanning.scan import scan

__all__ = [
    "READINGS",
    "Candidate",
    "Judgement",
    "Preflight",
    "Report",
    "calibrate",
    "scan",
    "stop",
]
