"""How DF-TND is computed; how that is run is :class:`bdjax.tnd.config.Execution`."""

import dataclasses
from typing import Any, Literal

from bdjax import checks
from bdjax.tnd.config import BY_PARITY
from bdjax.types import UserError


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
        Trojan's: the slower, the better it detects (README).
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
        checks.one_of(PRESETS, parity=self.parity)
        for name, value in PRESETS[self.parity].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
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


PRESETS: dict[str, dict[str, Any]] = {
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

PUBLISHED = 100.0
"""Threshold of the published rule, for an increase that is not normalised."""
