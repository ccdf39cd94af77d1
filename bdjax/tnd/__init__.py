"""DL-TND and DF-TND: white-box detectors that need few clean images, or none."""

from bdjax.tnd.config import DLTNDConfig, Execution
from bdjax.tnd.dfconfig import DFTNDConfig
from bdjax.tnd.dftnd import df_tnd
from bdjax.tnd.dltnd import dl_tnd
from bdjax.tnd.references import calibrate
from bdjax.tnd.verdict import DFVerdict, Verdict
from bdjax.verdicts import load_calibration

__all__ = [
    "DFTNDConfig",
    "DFVerdict",
    "DLTNDConfig",
    "Execution",
    "Verdict",
    "calibrate",
    "df_tnd",
    "dl_tnd",
    "load_calibration",
]
