"""DL-TND and DF-TND: white-box detectors that need few clean images, or none."""

from bdjax.tnd.config import DLTNDConfig, Execution
from bdjax.tnd.dltnd import dl_tnd
from bdjax.tnd.verdict import Verdict

__all__ = [
    "DLTNDConfig",
    "Execution",
    "Verdict",
    "dl_tnd",
]
