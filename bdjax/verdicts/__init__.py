"""What every detector's answer has in common: three conclusions, and what they rest on.

A verdict is evidence, or it says that it is none: *trojaned*, *not flagged*, or
*inconclusive* with the reason.
"""

from bdjax.verdicts.calibration import (
    Calibration,
    by_threshold,
    calibrate_scores,
    load_calibration,
)
from bdjax.verdicts.verdict import (
    Conclusion,
    InconclusiveError,
    Verdict,
    conclude,
    few,
    number,
    settings,
)

__all__ = [
    "Calibration",
    "Conclusion",
    "InconclusiveError",
    "Verdict",
    "by_threshold",
    "calibrate_scores",
    "conclude",
    "few",
    "load_calibration",
    "number",
    "settings",
]
