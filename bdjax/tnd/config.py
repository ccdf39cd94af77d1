"""How DL-TND and DF-TND are computed, which may change a verdict, and how run."""

import dataclasses
from typing import Any, Literal

from bdjax import checks
from bdjax.devices import OnDevices
from bdjax.types import UserError

Parity = Literal["bdjax", "paper", "official"]

Score = Literal["size", "sparse", "dense", "images", "similarity", "official"]

BY_PARITY: Any = None
"""Default of a field whose value the parity decides."""


@dataclasses.dataclass(frozen=True)
class DLTNDConfig:
    """DL-TND: which problems are solved, how far, and how the label scores are made.

    ``parity`` names a formulation and, with it, the value of every field that is left
    at its default:

    ``"bdjax"``: for every candidate label, the *smallest* universal perturbation that
      sends the other classes' images to it, once with a sparse mask (l1) and once with
      a dense one (l2); the trade-off is adapted at every iteration in place of a
      search by restarts. A label's score is how far its perturbation is below the
      median label's.
    ``"paper"``: Wang et al., ECCV 2020: an untargeted universal perturbation that
      leaves the label's own images, compared with targeted per-image ones; the search
      over the constant by restarts, Adam and the exact gradient of the penalty.
    ``"official"``: their published code, including the step counter that both Adams
      share and pixels of 0 to 255, in which patterns hardly leave black.

    Attributes:
      parity: the formulation.
      iterations: of the universal problem; official 101 for each constant.
      image_iterations: of the per-image problems.
      searches: constants tried by the universal problem; ours adapts in one run.
      success: share of images that a universal perturbation must send on.
      learning_rate: Adam's, universal problem, in units of the mask; the pattern's
        range is ``pixel_scale``.
      image_learning_rate: likewise, per-image problems.
      pixel_scale: the value range is mapped to [0, this] in the solver.
      representation: what is compared by cosine: ``"logits"`` or ``"features"``.
      score: a label's score. Of ours: ``"size"``, how far its smallest perturbation
        is below the other labels', sparse or dense, whichever says more, times how
        alike the images are in that, see :mod:`bdjax.tnd.scores`; ``"sparse"`` and
        ``"dense"`` alone; ``"images"``, the same of the per-image masks' median.
        Of all: ``"similarity"``, the quantile of the similarities at the smallest
        successful mask. Of the other two: ``"official"``, the quantile after the
        published re-scoring.
      mask: ours: one value a ``"pixel"``, or one a ``"channel"`` as in the paper.
      restarts: ours: starts of the universal problem, of which the smallest result
        counts: a grey pattern, then noise.
      quantile: Q, of the similarities over images.
      threshold: of your own, in place of a calibration's; a label whose score is above
        it is a target label. None: of the calibration.
      early_exit: ours: stop a label whose perturbation no longer shrinks.
      missing: a class without images: ``"error"``, or ``"skip"`` it as a candidate.
      min_accuracy: on the given images, below which the verdict is inconclusive.
    """

    parity: Parity = "bdjax"
    iterations: int = BY_PARITY
    image_iterations: int = BY_PARITY
    searches: int = BY_PARITY
    success: float = BY_PARITY
    learning_rate: float = BY_PARITY
    image_learning_rate: float = BY_PARITY
    pixel_scale: float = BY_PARITY
    representation: Literal["logits", "features"] = "logits"
    score: Score = BY_PARITY
    mask: Literal["pixel", "channel"] = "pixel"
    restarts: int = 1
    quantile: float = 0.25
    threshold: float | None = None
    early_exit: bool = True
    missing: Literal["error", "skip"] = "error"
    min_accuracy: float = 0.5

    def __post_init__(self):
        _preset(self, DL_PRESETS)
        checks.at_least(
            1,
            iterations=self.iterations,
            image_iterations=self.image_iterations,
            searches=self.searches,
            restarts=self.restarts,
        )
        checks.above_zero(
            learning_rate=self.learning_rate,
            image_learning_rate=self.image_learning_rate,
            pixel_scale=self.pixel_scale,
        )
        checks.within("(0, 1]", success=self.success)
        checks.within("[0, 1]", quantile=self.quantile, min_accuracy=self.min_accuracy)
        checks.one_of(SCORES, score=self.score)
        checks.one_of(("pixel", "channel"), mask=self.mask)
        checks.one_of(("logits", "features"), representation=self.representation)
        checks.one_of(("error", "skip"), missing=self.missing)
        checks.finite_or_none(threshold=self.threshold)
        theirs = ("similarity", "official")
        ours = tuple(name for name in SCORES if name != "official")
        known = ours if self.parity == "bdjax" else theirs
        if self.score not in known:
            raise UserError(
                f"score is {self.score!r}; parity {self.parity!r} has {list(known)}"
            )


_PAPER = {
    "iterations": 101,
    "image_iterations": 101,
    "searches": 8,
    "success": 0.7,
    "learning_rate": 0.05,
    "image_learning_rate": 0.1,
    "pixel_scale": 1.0,
    "score": "similarity",
}
DL_PRESETS: dict[str, dict[str, Any]] = {
    "bdjax": {
        **_PAPER,
        "iterations": 150,
        "image_iterations": 40,
        "searches": 1,
        "success": 0.9,
        "score": "size",
    },
    "paper": _PAPER,
    "official": {
        **_PAPER, "learning_rate": 0.01, "pixel_scale": 255.0, "score": "official",
    },
}  # fmt: skip

PUBLISHED = {"similarity": 0.75, "official": 0.75}
"""Thresholds of the official code (the paper's 0.7 is unconfirmed), by score."""

OUTLIERS = ("size", "sparse", "dense", "images")
"""Scores that compare a label with the others."""

SCORES = (*OUTLIERS, *PUBLISHED)


@dataclasses.dataclass(frozen=True)
class DFTNDConfig:
    """DF-TND: what is maximised, how far, and how the label scores are made.

    ``parity`` names a formulation and, with it, the value of every field that is left
    at its default:

    ``"bdjax"``: gradient steps, see :mod:`bdjax.tnd.activation_maximization`, and a
      score that is free of the unit of the logits: whether *one* label rises by itself.
    ``"official"``: the published sign ascent, by which the neuron weights stay uniform
      over the active neurons, see :mod:`bdjax.tnd.sign_ascent`, and the published rule.
      Its steps are part of it: the fields marked "ours" have no effect.

    Attributes:
      parity: the formulation.
      seeds: images of noise of each brightness, where none are given; the official code
        has 10.
      brightness: means of the kinds of noise, in [0, 1] of the value range. Of 0.5 it
        is uniform, of less it is dark with few bright pixels, of 0 black. A network may
        answer one of them with great confidence, as it lies far from what it was
        trained on, and any excitation then raises that answer: BatchNorm networks do. A
        label's score is the median over the kinds.
      iterations: of the first stage.
      average: whether a second stage follows, which starts from the means over the
        images of masks and patterns.
      second_iterations: of that stage.
      sparsity: gamma, weight of the masks' l1 norm. Official: of the sum over images,
        in units of an activation; ours: of the mean over images, in units of the mean
        activation of the seeds.
      learning_rate: ours, Adam's, of mask and pattern in [0, 1].
      weight_rate: ours, of the neuron weights: greatest exponent of a multiplicative
        step, or greatest step before the projection. With 0.3 a handful of neurons is
        left after 60 iterations; with the default all but all. Selective weights are
        what the paper describes, but few neurons are any network's loudest, not the
        Trojan's: the slower, the better it detects (docs/results.md).
      geometry: ours, of the simplex: ``"mirror"`` (multiplicative steps) or
        ``"euclidean"`` (projected ones).
      shared_mask: ours, one mask and pattern for all images from the start.
      normalize: unit of a logit's increase: ``"none"``, the logit itself (official,
        which depends on architecture, width and training length); ``"spread"``, the
        standard deviation of the increases over the labels; or ``"answers"``, that of
        increases and of the seeds' own logits, the root of the sum of their squares, so
        that a rise counts for little where the noise was answered already.
      score: a label's score: the mean ``"increase"`` of its logit (official), or the
        ``"gap"``, by how much that exceeds the greatest of the other labels'.
      threshold: of your own, in place of a calibration's; a label whose score is above
        it is a target label. None: of the calibration.
    """

    parity: Literal["bdjax", "official"] = "bdjax"
    seeds: int = BY_PARITY
    brightness: tuple[float, ...] = BY_PARITY
    iterations: int = BY_PARITY
    average: bool = BY_PARITY
    second_iterations: int = BY_PARITY
    sparsity: float = BY_PARITY
    learning_rate: float = 0.05
    weight_rate: float = 0.01
    geometry: Literal["mirror", "euclidean"] = "mirror"
    shared_mask: bool = False
    normalize: Literal["none", "spread", "answers"] = BY_PARITY
    score: Literal["increase", "gap"] = BY_PARITY
    threshold: float | None = None

    def __post_init__(self):
        _preset(self, DF_PRESETS)
        checks.one_of(("mirror", "euclidean"), geometry=self.geometry)
        checks.one_of(("none", "spread", "answers"), normalize=self.normalize)
        checks.one_of(("increase", "gap"), score=self.score)
        object.__setattr__(self, "brightness", tuple(self.brightness))
        for mean in self.brightness:
            checks.within("[0, 1)", **{"a brightness": mean})
        if not self.brightness:
            raise UserError("brightness is empty; give one mean of noise or more")
        checks.at_least(
            1,
            seeds=self.seeds,
            iterations=self.iterations,
            second_iterations=self.second_iterations,
        )
        checks.above_zero(
            learning_rate=self.learning_rate, weight_rate=self.weight_rate
        )
        checks.not_negative(sparsity=self.sparsity)
        checks.finite_or_none(threshold=self.threshold)


DF_PRESETS: dict[str, dict[str, Any]] = {
    "bdjax": {
        "seeds": 4,
        "brightness": (0.5, 0.25, 0.14, 0.05, 0.015, 0.0),
        "iterations": 60,
        "average": False,
        "second_iterations": 60,
        "sparsity": 3e-3,
        "normalize": "answers",
        "score": "gap",
    },
    "official": {
        "seeds": 10,
        "brightness": (0.5,),
        "iterations": 1000,
        "average": True,
        "second_iterations": 1000,
        "sparsity": 1e-3,
        "normalize": "none",
        "score": "increase",
    },
}

DF_PUBLISHED = 100.0
"""Threshold of the published rule, for an increase that is not normalised."""


def _preset(config: Any, presets: dict[str, dict[str, Any]]) -> None:
    """Gives a field that was left out the value of the parity."""
    checks.one_of(presets, parity=config.parity)
    for name, value in presets[config.parity].items():
        if getattr(config, name) is None:
            object.__setattr__(config, name, value)


@dataclasses.dataclass(frozen=True)
class Execution(OnDevices):
    """How a solver is run. Nothing here changes a result beyond rounding.

    Attributes:
      label_batch: problems solved at once, over all devices; there is one a candidate
        label, and twice that times the restarts for our universal ones. Memory grows
        with it. 0 means all, on a CPU as many as its cache likes.
      devices: local devices to split them over; 0 means all.
      stride: iterations a program runs between two looks at the clock; 0 chooses by
        backend. On a CPU it is 1: XLA runs the gradients of convolutions, also those
        of a network that is not ours, 20 to 50 times slower inside a loop.
    """

    label_batch: int = 0
    devices: int = 0
    stride: int = 0
