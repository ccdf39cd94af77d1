"""What is kept of a verdict, and what follows from it at no cost."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from bdjax import tnd
from bdjax.experiments.tnd_config import VARIANTS, TNDConfig, detector_config
from bdjax.tnd import scores
from bdjax.tnd.dfconfig import DFTNDConfig
from bdjax.tnd.references import calibration_for
from bdjax.verdicts import Conclusion, conclude


class Case(NamedTuple):
    """A detector in one setting; ``per_class`` is 0 if it is data-free."""

    variant: str
    per_class: int

    @property
    def name(self) -> str:
        """Such as ``"bdjax-5"``."""
        return f"{self.variant}-{self.per_class}"


@dataclasses.dataclass(frozen=True)
class Found:
    """A verdict, without what nobody will ask for; K candidate labels, N images.

    Attributes:
      score: larger = more likely trojaned.
      conclusion: by the detector's own calibration.
      reasons: why it is inconclusive, one sentence each.
      doubts: those of the reasons that do not come from the calibration.
      threshold: of that calibration, infinite without benign references.
      grey: likewise; scores from here up to the threshold are inconclusive.
      label_scores: float32 ``[K]``; every class is a candidate.
      similarity: float32 ``[K, N]``, see :class:`bdjax.tnd.Verdict`; N is 0 if
        data-free.
      mask_area: float32 ``[K]``, likewise; K is 0 if data-free.
      image_area: float32 ``[K, N]``, likewise.
      sizes: of the smallest masks, by norm, likewise.
      mask: float32 ``[H, W, C]``, of the label with the greatest score.
      pattern: likewise, in the value range.
      seconds: that it took.
      is_first: whether it was the first of its case in its process, so that these
        seconds have the compilation in them.
      notes: what a reader must know besides the reasons, one sentence each.
    """

    score: float
    conclusion: Conclusion
    reasons: tuple[str, ...]
    doubts: tuple[str, ...]
    threshold: float
    grey: float
    label_scores: np.ndarray
    similarity: np.ndarray
    mask_area: np.ndarray
    image_area: np.ndarray
    sizes: dict[str, np.ndarray]
    mask: np.ndarray = dataclasses.field(repr=False)
    pattern: np.ndarray = dataclasses.field(repr=False)
    seconds: float
    is_first: bool
    notes: tuple[str, ...]

    @property
    def label(self) -> int:
        """The most suspicious label."""
        return int(self.label_scores.argmax())


def concluded(
    config: tnd.DLTNDConfig | DFTNDConfig,
    score: float,
    label_scores: np.ndarray,
    doubts: tuple[str, ...],
) -> dict[str, Any]:
    """The fields of a verdict that follow from its calibration.

    Args:
      config: of the detector, which says what its scores are compared with.
      score: the network's.
      label_scores: ``[K]``.
      doubts: see :class:`Found`.
    """
    count = len(label_scores)
    calibration, unknown = calibration_for(config, num_classes=count)
    labels = np.arange(count)
    found = conclude(score, label_scores, labels, calibration, doubts, [], unknown)
    return {
        "conclusion": found["conclusion"],
        "reasons": found["reasons"],
        "threshold": calibration.threshold,
        "grey": calibration.grey,
    }


def by_similarity(found: Found, quantile: float) -> float:
    """The score of the same solutions by a quantile of their similarities."""
    return float(scores.quantile(found.similarity, quantile).max())


def derive(found: Found, config: TNDConfig, variant: str) -> Found:
    """A verdict of ``VARIANTS[variant].of`` as ``variant`` would have given it.

    Its mask stays that of the label that the other one suspects most.
    """
    detector = detector_config(config, variant)
    assert VARIANTS[variant].of
    assert isinstance(detector, tnd.DLTNDConfig)
    label_scores = scores.label_scores(
        detector.score,
        found.sizes,
        found.similarity,
        found.image_area,
        detector.quantile,
    ).astype(np.float32)
    score = float(label_scores.max())
    return dataclasses.replace(
        found,
        score=score,
        label_scores=label_scores,
        **concluded(detector, score, label_scores, found.doubts),
    )
