"""Is this network backdoored? One call on whatever a user has."""

from bdjax.scanning.judge import stop
from bdjax.scanning.report import Candidate, Judgement, Preflight, Report
from bdjax.scanning.scan import scan

__all__ = ["Candidate", "Judgement", "Preflight", "Report", "scan", "stop"]
