"""MNTD: detect Trojans by meta neural analysis, from logits alone.

Xu, Wang, Li, Borisov, Gunter, Li, "Detecting AI Trojans Using Meta Neural Analysis",
IEEE S&P 2021, https://arxiv.org/abs/1910.03137.
"""

from bdjax.mntd.classifier import Meta, MetaClassifier
from bdjax.mntd.config import FitConfig
from bdjax.mntd.detector import MetaDetector, Verdict
from bdjax.mntd.fit import Fit, QuerySpec, answers_of, fit, score_models
from bdjax.mntd.fitted import from_fit
from bdjax.mntd.groups import Networks
from bdjax.mntd.saved import load

__all__ = [
    "Fit",
    "FitConfig",
    "Meta",
    "MetaClassifier",
    "MetaDetector",
    "Networks",
    "QuerySpec",
    "Verdict",
    "answers_of",
    "fit",
    "from_fit",
    "load",
    "score_models",
]
