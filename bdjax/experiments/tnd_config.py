"""The configuration of a DL-TND and DF-TND experiment, and the detectors it knows."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bdjax import tnd
from bdjax.attacks import Locations
from bdjax.evaluation.checks import check_confidence
from bdjax.experiments.config import DataConfig, TrainConfig
from bdjax.models import Formulation, Precision
from bdjax.population import Execution
from bdjax.tnd.dfconfig import DFTNDConfig
from bdjax.types import UserError

BENIGN = "benign"


@dataclasses.dataclass(frozen=True)
class Variant:
    """A detector under test.

    Attributes:
      title: what tables call it.
      changes: of ``DLTNDConfig``, or of ``DFTNDConfig`` if ``data_free``.
      data_free: whether it is DF-TND, which sees no images.
      of: another variant whose solutions it scores in its own way, at no cost.
      is_slow: whether it may be kept to some models of every population.
    """

    title: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data_free: bool = False
    of: str = ""
    is_slow: bool = False


def _scored(title: str, score: str) -> Variant:
    return Variant(f"bdjax, {title}", {"score": score}, of="bdjax")


VARIANTS = {
    "bdjax": Variant("bdjax"),
    "bdjax_sparse": _scored("sparse mask only", "sparse"),
    "bdjax_dense": _scored("dense mask only", "dense"),
    "bdjax_images": _scored("per-image masks only", "images"),
    "bdjax_similarity": _scored("similarity", "similarity"),
    "bdjax_features": Variant(
        "bdjax, similarity of features",
        {"score": "similarity", "representation": "features"},
        is_slow=True,
    ),
    "bdjax_channel": Variant(
        "bdjax, a mask a channel", {"mask": "channel"}, is_slow=True
    ),
    "bdjax_restarts": Variant("bdjax, three starts", {"restarts": 3}, is_slow=True),
    "paper": Variant("paper's DL-TND", {"parity": "paper"}, is_slow=True),
    "official": Variant("official DL-TND", {"parity": "official"}, is_slow=True),
    "df": Variant("DF-TND", data_free=True),
    "df_official": Variant(
        "official DF-TND", {"parity": "official"}, data_free=True, is_slow=True
    ),
}


@dataclasses.dataclass(frozen=True)
class TNDPopulationConfig:
    """How many models of each kind.

    Attributes:
      calibration: benign models that thresholds are set on, and as many trojaned ones
        in all, shared out over ``calibration_attacks``.
      targets: benign targets, and as many of every attack unless ``attacked`` says.
      attacked: targets of each of ``target_attacks``; empty for ``targets`` of each.
      calibration_attacks: keys in ``bdjax.attacks.ATTACKS``.
      target_attacks: likewise.
      locations: where patches may lie, see :func:`bdjax.attacks.get_attack`.
    """

    calibration: int
    targets: int
    attacked: tuple[int, ...] = ()
    calibration_attacks: tuple[str, ...] = ("patch", "blend")
    target_attacks: tuple[str, ...] = ("patch", "blend")
    locations: Locations = "all"

    def __post_init__(self):
        for name in ("calibration_attacks", "target_attacks"):
            attacks = getattr(self, name)
            if not attacks or len(set(attacks)) < len(attacks):
                raise UserError(
                    f"population.{name} is {attacks}; name one or more, each once"
                )
            if BENIGN in attacks:
                raise UserError(
                    f"population.{name} has 'benign', which is no attack; benign "
                    "models are always trained"
                )
        least = len(self.calibration_attacks)
        if self.calibration < least:
            raise UserError(
                f"population.calibration is {self.calibration}; it must be at least "
                f"{least}, one of each of calibration_attacks"
            )
        if len(self.attacked) not in (0, len(self.target_attacks)):
            raise UserError(
                f"population.attacked is {self.attacked}; give "
                f"{len(self.target_attacks)} numbers, one for each of target_attacks, "
                "or none"
            )
        for name, count in (("targets", self.targets), *self.target_counts.items()):
            if count < 1:
                raise UserError(
                    f"population: {count} models of {name}; it must be at least 1"
                )

    @property
    def calibration_counts(self) -> dict[str, int]:
        """Trojaned calibration models by attack, as even as can be."""
        total, attacks = self.calibration, self.calibration_attacks
        share, rest = divmod(total, len(attacks))
        return {name: share + (i < rest) for i, name in enumerate(attacks)}

    @property
    def target_counts(self) -> dict[str, int]:
        """Trojaned targets by attack."""
        attacked = self.attacked or (self.targets,) * len(self.target_attacks)
        return dict(zip(self.target_attacks, attacked, strict=True))


@dataclasses.dataclass(frozen=True)
class SolverConfig:
    """What all detectors' solvers have in common.

    Attributes:
      iterations: of every problem and stage, in place of the detectors' own; 0 leaves
        those, and anything else is for a quick look only.
      searches: constants that are tried, likewise.
      precision: of the networks' products; see :mod:`bdjax.models.products`.
    """

    iterations: int = 0
    searches: int = 0
    precision: Precision = "float32"

    def __post_init__(self):
        for name in ("iterations", "searches"):
            if getattr(self, name) < 0:
                raise UserError(
                    f"solver.{name} is {getattr(self, name)}; it must be 0 or more"
                )


@dataclasses.dataclass(frozen=True)
class TNDConfig:
    """One experiment. What is not semantic may change on resuming.

    Attributes:
      task: key in ``bdjax.tasks.TASKS``.
      seed: root of all randomness.
      data: source and split. All models train on the attacker's rows; the defender's
        clean images are the first ones of every class of the defender's.
      population: how many models of which kind.
      train: training of all models.
      architecture: key in ``bdjax.models.MODELS``; the task's if empty.
      detectors: keys in :data:`VARIANTS`.
      per_class: clean images a class.
      sweep_per_class: further numbers of them that ``bdjax`` is tried with.
      quantiles: percentiles Q, as shares, that similarities are scored by.
      slow_models: models of every population that slow variants run on; 0 for all.
      min_asr: trojaned models below it count as failed attacks: reported apart, and
        left out of AUCs, rates and calibration.
      false_alarms: wanted false-positive rate of the second calibrated threshold.
      solver: of all detectors.
      confidence: of the intervals over models, in (0, 1).
      execution: chunks, width and devices of training.
      solving: label batches and devices of the detectors.
      formulation: how convolutions are computed.
    """

    task: str
    seed: int
    data: DataConfig
    population: TNDPopulationConfig
    train: TrainConfig
    architecture: str = ""
    detectors: tuple[str, ...] = ("bdjax", "bdjax_similarity")
    per_class: int = 5
    sweep_per_class: tuple[int, ...] = ()
    quantiles: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75)
    slow_models: int = 0
    min_asr: float = 0.5
    false_alarms: float = 0.1
    solver: SolverConfig = SolverConfig()
    confidence: float = 0.95
    execution: Execution = Execution()
    solving: tnd.Execution = tnd.Execution()
    formulation: Formulation = "auto"

    def __post_init__(self):
        for name in self.detectors:
            if name not in VARIANTS:
                raise UserError(
                    f"unknown detector {name!r}; there are {list(VARIANTS)}"
                )
        if not self.detectors or len(set(self.detectors)) < len(self.detectors):
            raise UserError(
                f"detectors is {self.detectors}; name one or more, each once"
            )
        for count in (self.per_class, *self.sweep_per_class):
            if count < 1:
                raise UserError(
                    f"{count} clean images a class (per_class, sweep_per_class); it "
                    "must be at least 1"
                )
        if self.slow_models < 0:
            raise UserError(f"slow_models is {self.slow_models}; it must be 0 or more")
        check_confidence(self.confidence)
        shares = {"min_asr": self.min_asr, "false_alarms": self.false_alarms}
        shares |= {f"quantiles[{i}]": q for i, q in enumerate(self.quantiles)}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise UserError(f"{name} is {value}; it must be in [0, 1]")
        if self.false_alarms == 1:
            raise UserError("false_alarms is 1; it must be below 1")

    def semantic(self) -> dict[str, Any]:
        """What the models follow from: all but the detectors and how things are run.

        Verdicts are kept apart, each with what it follows from.
        """
        population = dataclasses.asdict(self.population)
        return {
            "experiment": "tnd",
            "task": self.task,
            "architecture": self.architecture,
            "seed": self.seed,
            "data": self.data.to_dict(),
            "population": population,
            "train": self.train.to_dict(),
        }


def detector_config(config: TNDConfig, variant: str) -> tnd.DLTNDConfig | DFTNDConfig:
    """What a variant computes in an experiment."""
    known, solver = VARIANTS[variant], config.solver
    limits: dict[str, Any] = {}
    if solver.iterations:
        second = "second_iterations" if known.data_free else "image_iterations"
        limits = dict.fromkeys(("iterations", second), solver.iterations)
    if known.data_free:
        return DFTNDConfig(**known.changes, **limits)
    if solver.searches:
        limits["searches"] = solver.searches
    return tnd.DLTNDConfig(**known.changes, **limits)
