"""What DL-TND found out about one network."""

import dataclasses

import numpy as np

from bdjax.tnd.config import DLTNDConfig


@dataclasses.dataclass(frozen=True)
class Verdict:
    """DL-TND's answer for one network; arrays are NumPy.

    K counts candidate labels: all classes, or those with images if others were to be
    skipped. Of a label without a successful perturbation, sizes are those of the whole
    image.

    Attributes:
      score: the greatest label score; larger = more likely trojaned.
      threshold: what ``is_trojaned`` compares it with.
      is_trojaned: ``score > threshold``.
      target_labels: labels whose own score is above the threshold.
      labels: int32 ``[K]``, the candidate labels; first axis of what follows.
      label_scores: float32 ``[K]``, see ``config.score``.
      similarity: float32 ``[K, N]``, cosine similarity of the network's answers to the
        universal and to the per-image perturbation; NaN where the image has the label.
      mask_area: float32 ``[K]``, l1 of the universal mask: of the smallest sparse one
        (ours, one value a pixel), of the one that was scored (official and paper,
        one value a pixel and channel).
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
      notes: what a reader must know, one sentence each.
    """

    score: float
    threshold: float
    is_trojaned: bool
    target_labels: tuple[int, ...]
    labels: np.ndarray
    label_scores: np.ndarray
    similarity: np.ndarray
    mask_area: np.ndarray
    mask: np.ndarray = dataclasses.field(repr=False)
    pattern: np.ndarray = dataclasses.field(repr=False)
    success: np.ndarray
    image_area: np.ndarray = dataclasses.field(repr=False)
    sizes: dict[str, np.ndarray]
    accuracy: float
    config: DLTNDConfig
    notes: tuple[str, ...] = ()
