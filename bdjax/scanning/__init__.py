"""Is this network backdoored? One call on whatever a user has."""

from bdjax.scanning.report import Candidate, Judgement, Preflight, Report

__all__ = ["Candidate", "Judgement", "Preflight", "Report"]
