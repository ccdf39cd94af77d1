"""DL-TND and DF-TND: a solution a network, kept at once, and the scores it comes to.

Solutions of DL-TND's own formulation score by any of its rules, so that detectors that
differ in the rule alone share them.
"""

import dataclasses
import functools
import typing
from typing import Any, ClassVar

import numpy as np

from bdjax import checks, prng, tnd
from bdjax.detectors.base import Access, Asked, Finding, Needs, named, slug_of
from bdjax.detectors.keeping import Arrays, Solving
from bdjax.detectors.resources import Resources
from bdjax.models import Model, Precision
from bdjax.tnd import scores
from bdjax.tnd.network import Apply
from bdjax.tnd.references import calibration_for, settings_of
from bdjax.types import Variables
from bdjax.verdicts import Calibration, conclude

_RULES = ("score", "quantile", "threshold")  # of the same solutions
_LENGTHS = ("iterations", "image_iterations", "second_iterations")


@functools.cache
def functions_of(model: Model, precision: Precision) -> tuple[Apply, Apply]:
    """``apply`` and ``features``; the same each time, or all would compile again."""
    if precision == "float32":
        return model.apply, model.features
    in_precision = functools.partial(functools.partial, precision=precision)
    return in_precision(model.apply), in_precision(model.features)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perturbing(Solving):
    """What both have in common.

    Attributes:
      config: what scores are made by.
      solving: what is solved: ``config``, but for rules that the same solutions may be
        scored by.
      kept_as: the folder of solutions.
      precision: of the networks' products.
      calibration: of a user's own; None for the built-in one.
    """

    configured: ClassVar[type]

    config: Any
    solving: Any
    kept_as: str
    precision: Precision = "float32"
    calibration: Calibration | None = None

    @classmethod
    def make(cls, asked: Asked) -> "Perturbing":
        """See :meth:`Detector.make`; options are also those of the configuration."""
        own, known = cls.own_fields(), typing.get_type_hints(cls.configured)
        for field in ("config", "solving", "kept_as", "calibration"):
            del own[field]
        values = asked.options(own | known)
        _, changes, given, defaults = asked
        solver = defaults.solver
        mine: dict[str, Any] = {"precision": solver.precision}
        mine["per_class"] = defaults.per_class
        mine |= {field: values.pop(field) for field in own if field in values}
        limits = dict.fromkeys(_LENGTHS, solver.iterations)
        limits["searches"] = solver.searches
        quick = {k: v for k, v in limits.items() if v and k in known}
        config = cls.configured(**{**quick, **changes, **values})
        # Rules, but for the threshold, are our DL-TND's alone.
        ours = "quantile" in known and config.parity == "bdjax"
        shared = ours and set(changes) <= {*_RULES}
        rules = _RULES if shared else ("threshold",)
        solving = {k: v for k, v in {**changes, **values}.items() if k not in rules}
        options = tuple((k, v) for k, v in given.items() if k not in rules)
        return cls(
            **asked.identity,
            **{field: mine[field] for field in own},
            config=config,
            solving=cls.configured(**{**quick, **solving}),
            kept_as=slug_of("dl_tnd" if shared else asked.identity["name"], options),
        )

    @property
    def folder(self) -> str:
        """See :attr:`Solving.folder`."""
        return self.kept_as

    def settings(self, resources: Resources) -> dict[str, Any]:
        """See :meth:`Solving.settings`."""
        fields = dataclasses.asdict(self.solving)
        del fields["threshold"]  # which no solution depends on
        return {
            "detector": fields,
            "precision": self.precision,
            "scores": scores.VERSION,
            "images": self.needs.images_per_class,
            "seed": resources.seed,
        }

    def compared(
        self, num_classes: int, candidates: int
    ) -> tuple[Calibration, list[str]]:
        """What a score is compared with, and what forbids a verdict by it.

        Args:
          num_classes: of the network.
          candidates: how many of them have a label score.

        Raises:
          UserError: :attr:`calibration` is of other settings.
        """
        settings = settings_of(self.config) | {"num_classes": num_classes}
        return calibration_for(
            self.config, self.calibration, settings=settings, num_classes=candidates
        )

    def conclude(self, id_: int, arrays: Arrays, meta: dict[str, Any]) -> Finding:
        """See :meth:`Solving.conclude`; by the rules and the calibration of the day."""
        solved, score = arrays["label_scores"], float(meta["score"])
        label_scores = solved
        if self.config != dataclasses.replace(
            self.solving, threshold=self.config.threshold
        ):
            label_scores = _scored(self.config, arrays)
            score = float(label_scores.max())
        labels = np.arange(len(label_scores))
        if "labels" in arrays:  # which solutions of old lack
            labels = arrays["labels"].astype(int)
        num_classes = meta.get("num_classes", len(labels))
        calibration, unknown = self.compared(num_classes, len(labels))
        found = conclude(
            score, label_scores, labels, calibration, meta["doubts"], [], unknown
        )
        # What is of the label that was most suspicious as it was solved.
        others = ("mask", "pattern") if label_scores.argmax() != solved.argmax() else ()
        return Finding(
            id_,
            score,
            conclusion=named(found["conclusion"]),
            threshold=calibration.threshold,
            labels=labels,
            label_scores=label_scores,
            target=next(iter(found["target_labels"]), None),
            artefacts={k: v for k, v in arrays.items() if k not in (*others, "labels")},
            notes=tuple(meta["notes"]),
            reasons=found["reasons"],
            seconds=meta["seconds"],
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DLTND(Perturbing):
    """DL-TND with ``per_class`` clean images a class."""

    configured = tnd.DLTNDConfig

    per_class: int = 5

    def __post_init__(self):
        checks.at_least(1, per_class=self.per_class)

    @property
    def access(self) -> Access:
        """Gradients, and what answers are compared by."""
        by_features = self.config.representation == "features"
        return Access.FEATURES if by_features else Access.GRADIENTS

    @property
    def needs(self) -> Needs:
        """Some images."""
        return Needs(images_per_class=self.per_class)

    def check(self, resources: Resources) -> None:
        """See :meth:`Detector.check`."""
        self._images(resources)
        super().check(resources)

    def _images(self, resources: Resources) -> tuple[np.ndarray, np.ndarray]:
        skip = self.config.missing == "skip"
        return resources.images(self.per_class, skip=skip)

    def solve(
        self, network: Model, variables: Variables, resources: Resources
    ) -> tuple[Arrays, dict[str, Any]]:
        """See :meth:`Solving.solve`."""
        apply, features = functions_of(network, self.precision)
        verdict = tnd.dl_tnd(
            apply,
            variables,
            *self._images(resources),
            num_classes=resources.task.num_classes,
            value_range=resources.task.value_range,
            features=features,
            config=self.solving,
            execution=resources.execution,
            progress=resources.tell or False,
        )
        top = int(verdict.label_scores.argmax())
        return _kept(
            verdict,
            labels=verdict.labels,
            similarities=verdict.similarity,
            mask_area=verdict.mask_area,
            success=verdict.success,
            image_area=verdict.image_area,
            mask=verdict.mask[top],
            pattern=verdict.pattern[top],
            **verdict.sizes,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DFTND(Perturbing):
    """DF-TND, which sees no images."""

    access: ClassVar[Access] = Access.FEATURES
    needs: ClassVar[Needs] = Needs()
    configured = tnd.DFTNDConfig

    def solve(
        self, network: Model, variables: Variables, resources: Resources
    ) -> tuple[Arrays, dict[str, Any]]:
        """See :meth:`Solving.solve`."""
        height, width, channels = resources.task.shape
        apply, features = functions_of(network, self.precision)
        verdict = tnd.df_tnd(
            apply,
            variables,
            input_shape=(height, width, channels),
            num_classes=resources.task.num_classes,
            value_range=resources.task.value_range,
            features=features,
            config=self.solving,
            execution=resources.execution,
            # Equal noise: then networks are the only difference between scores.
            key=prng.stream(prng.root(resources.seed), "df_tnd"),
            progress=resources.tell or False,
        )
        return _kept(
            verdict, mask=verdict.masks.mean(0), pattern=verdict.patterns.mean(0)
        )


def _scored(config: tnd.DLTNDConfig, arrays: Arrays) -> np.ndarray:
    """Label scores of solutions by another rule, float32 ``[K]``."""
    sizes = {name: arrays[name] for name in ("sparse", "dense")}
    return scores.label_scores(
        config.score, sizes, arrays["similarities"], arrays["image_area"],
        config.quantile,
    ).astype(np.float32)  # fmt: skip


def _kept(
    verdict: tnd.Verdict | tnd.DFVerdict, **arrays: np.ndarray
) -> tuple[Arrays, dict[str, Any]]:
    arrays["label_scores"] = verdict.label_scores
    meta = {
        "score": float(verdict.score),
        "num_classes": int(verdict.settings["num_classes"]),
        "doubts": list(verdict.doubts),
        "notes": [note for note in verdict.notes if note not in verdict.reasons],
    }
    return {name: np.asarray(a, np.float32) for name, a in arrays.items()}, meta
