"""What DL-TND and DF-TND found out about one network."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from bdjax import verdicts
from bdjax.tnd.config import DFTNDConfig, DLTNDConfig
from bdjax.types import UserError


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Verdict(verdicts.Verdict):
    """DL-TND's answer for one network; arrays are NumPy.

    What all verdicts have, such as ``conclusion``, ``score`` (the greatest label score)
    and ``target_labels``, is in :class:`bdjax.verdicts.Verdict`.

    K counts candidate labels: all classes, or those with images if others were to be
    skipped; :meth:`index` is a label's place among them. A label that no perturbation
    reached has infinite sizes and a mask of 0.

    Attributes:
      labels: int32 ``[K]``, the candidate labels; first axis of what follows.
      label_scores: float32 ``[K]``, see ``config.score``.
      similarity: float32 ``[K, N]``, cosine similarity of the network's answers to the
        universal and to the per-image perturbation; NaN where the image has the label.
      mask_area: float32 ``[K]``, l1 of a universal mask: of the smallest *sparse* one
        (ours; of one value a pixel, unless ``config.mask`` is "channel"), of the one
        that was scored (official and paper; one value a pixel and channel).
      mask: float32 ``[K, H, W, C]`` in [0, 1], the universal mask: of the sparse and
        the dense perturbation, the one that stands out more.
      pattern: float32 ``[K, H, W, C]`` in the value range; ``(1 - mask) * x + mask *
        pattern`` carries the recovered trigger.
      success: float32 ``[K]``, share of other classes' images that the universal
        perturbation sends to the label.
      image_area: float32 ``[K, N]``, l1 of the per-image masks; NaN as above.
      sizes: ``"sparse"`` and ``"dense"`` (ours only): float32 ``[K]``, l1 and l2 norm
        of the smallest successful masks.
      accuracy: share of the given images that are classified right.
      config: what was computed.
    """

    detector: ClassVar[str] = "DL-TND"

    labels: np.ndarray
    label_scores: np.ndarray
    similarity: np.ndarray
    mask_area: np.ndarray
    mask: np.ndarray
    pattern: np.ndarray
    success: np.ndarray
    image_area: np.ndarray
    sizes: dict[str, np.ndarray]
    accuracy: float
    config: DLTNDConfig

    def to_dict(self) -> dict[str, Any]:
        """As of any verdict, and what there is a label: scores, sizes, success."""
        return super().to_dict() | {
            "accuracy": self.accuracy,
            "labels": self.labels.tolist(),
            "label_scores": [float(s) for s in self.label_scores],
            "mask_area": [verdicts.number(a) for a in self.mask_area],
            "success": [float(s) for s in self.success],
            "config": verdicts.settings(self.config),
        }

    def index(self, label: int) -> int:
        """Where a label is on the first axis of the arrays.

        Raises:
          UserError: it was no candidate.
        """
        (place,) = np.nonzero(self.labels == label)
        if not place.size:
            raise UserError(
                f"label {label} was no candidate; there are {self.labels.tolist()}"
            )
        return int(place[0])


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DFVerdict(verdicts.Verdict):
    """DF-TND's answer for one network; arrays are NumPy, see :class:`Verdict`.

    Attributes:
      label_scores: float32 ``[K]``, see ``config.score`` and ``config.normalize``.
      logit_increase: float32 ``[K, N]``, logits of the recovered images minus those
        of the seeds.
      weights: float32 ``[D]``, of the neurons, on the simplex.
      masks: float32 ``[N, H, W, C]`` in [0, 1].
      patterns: float32 ``[N, H, W, C]`` in the value range (official: they may leave
        it); ``(1 - mask) * seed + mask * pattern`` is the recovered image.
      recovered: float32 ``[N, H, W, C]`` in the value range.
      seeds: likewise, the noise or images that it started from.
      config: what was computed.
    """

    detector: ClassVar[str] = "DF-TND"

    label_scores: np.ndarray
    logit_increase: np.ndarray
    weights: np.ndarray
    masks: np.ndarray
    patterns: np.ndarray
    recovered: np.ndarray
    seeds: np.ndarray
    config: DFTNDConfig

    def to_dict(self) -> dict[str, Any]:
        """As of any verdict, and the score and the rise of every label."""
        return super().to_dict() | {
            "label_scores": [float(s) for s in self.label_scores],
            "logit_increase": [float(r) for r in self.logit_increase.mean(1)],
            "config": verdicts.settings(self.config),
        }
