"""The configuration of an MNTD experiment, as frozen dataclasses."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from bdjax import storage
from bdjax.attacks import Locations
from bdjax.evaluation import BootstrapConfig
from bdjax.evaluation.checks import check_confidence
from bdjax.mntd import FitConfig
from bdjax.models import Formulation, Precision
from bdjax.population import Execution, Recipe
from bdjax.population.recipe import (
    Augment,
    Optimizer,
    Schedule,
)
from bdjax.tnd import Execution as SolvingExecution
from bdjax.types import UserError

T = TypeVar("T")
LATER_FIELDS = ("optimizer", "weight_decay", "schedule", "augment")


def without_defaults(instance: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """A dataclass as a dict, without those of the fields ``names`` that were not set.

    So that what was written before these fields came compares equal.
    """
    fields = dataclasses.asdict(instance)
    default = {f.name: f.default for f in dataclasses.fields(instance)}
    return {
        name: value
        for name, value in fields.items()
        if name not in names or value != default[name]
    }


OPTIONS = ("vectors", "rate")  # of data, which some sources take
# Of a fit, since there were runs without.
LATER_FIT_FIELDS = ("query_dropout", "query_space", "query_learning_rate")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the data come from and who holds which.

    Attributes:
      source: one of the task's ``sources``.
      path: what the source reads; empty for its default.
      defender: examples the defender trains shadow models on.
      attacker: examples the attacker trains target models on.
      test: examples that accuracy and ASR are measured on.
      split: ``"disjoint"``; ``"every_class"``, likewise, but with a row of every class
        where there are enough; or ``"official"`` for MNTD's overlapping draws.
      vectors: of sentences, a file of word vectors; empty to compute them.
      rate: of waves, their sampling rate in Hz where the source does not say; else 0.
    """

    source: str
    path: str = ""
    defender: int = 1200
    attacker: int = 2500
    test: int = 500
    split: str = "disjoint"
    vectors: str = ""
    rate: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """What only some sources take, as far as it is set."""
        return {name: getattr(self, name) for name in OPTIONS if getattr(self, name)}

    def to_dict(self) -> dict[str, Any]:
        """What data follow from: not where files lie, as they may move."""
        fields = without_defaults(self, OPTIONS)
        return {k: v for k, v in fields.items() if k not in ("path", "vectors")}


@dataclasses.dataclass(frozen=True)
class PopulationConfig:
    """How many models of each kind.

    Attributes:
      shadows: benign shadow models, and as many trojaned ones.
      validation: benign validation shadows, and as many trojaned ones.
      targets: benign target models, and as many with each of ``target_attacks``.
      shadow_attack: what the defender thinks of: key in ``bdjax.attacks.ATTACKS``.
      target_attacks: what attackers do, likewise.
      locations: where patches may lie: ``"all"``, or ``"official"`` for MNTD's
        off-by-one.
    """

    shadows: int
    validation: int
    targets: int
    shadow_attack: str = "jumbo"
    target_attacks: tuple[str, ...] = ("M", "B")
    locations: Locations = "all"

    def __post_init__(self):
        for name in ("shadows", "validation", "targets"):
            if getattr(self, name) < 2:
                raise UserError(
                    f"population.{name} is {getattr(self, name)}; it must be at least 2"
                )
        attacks = self.target_attacks
        if not attacks or len(set(attacks)) < len(attacks):
            raise UserError(
                f"population.target_attacks is {attacks}; name one or more, each once"
            )
        if "benign" in (self.shadow_attack, *attacks):
            raise UserError(
                "population: 'benign' is no attack; benign models are always trained"
            )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length and optimiser of a model's training; see :class:`Recipe`.

    Attributes:
      steps: optimiser steps; 0 to give ``epochs`` instead.
      epochs: passes over the clean training examples; 0 to give ``steps`` instead.
      batch_size: examples a step.
      learning_rate: the optimiser's, at the start.
      poisoned_length: ``"equal"`` or ``"official"``.
      diversity: how much the models differ in data and length.
      precision: of matrix products, ``"float32"``, ``"tf32"`` or ``"bfloat16"``.
      optimizer: ``"adam"``, or ``"sgd"`` with momentum.
      weight_decay: of kernels, part of their gradients.
      schedule: of the learning rate, ``"constant"`` or ``"cosine"``.
      augment: ``"none"`` or ``"crop_flip"``.
    """

    steps: int = 0
    epochs: int = 0
    batch_size: int = 100
    learning_rate: float = 1e-3
    poisoned_length: str = "equal"
    diversity: float = 0.0
    precision: Precision = "float32"
    optimizer: Optimizer = "adam"
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    augment: Augment = "none"

    def recipe(self, examples: int) -> Recipe:
        """The recipe for models that train on so many clean examples."""
        if bool(self.steps) == bool(self.epochs):
            raise UserError(
                f"steps is {self.steps} and epochs {self.epochs}; give one of the two"
            )
        steps = self.steps or max(1, round(self.epochs * examples / self.batch_size))
        return Recipe(
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            poisoned_length=self.poisoned_length,
            diversity=self.diversity,
            precision=self.precision,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            augment=self.augment,
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields, but those that older runs lack only where they are set."""
        return without_defaults(self, LATER_FIELDS)


class HasPopulations(Protocol):
    """What any experiment says about its data and populations."""

    @property
    def task(self) -> str:
        """Key in ``bdjax.tasks.TASKS``."""
        ...

    @property
    def seed(self) -> int:
        """Root of all randomness."""
        ...

    @property
    def data(self) -> DataConfig:
        """Source and split."""
        ...

    @property
    def execution(self) -> Execution:
        """Chunks, width, devices."""
        ...

    @property
    def formulation(self) -> Formulation:
        """How convolutions are computed."""
        ...


@dataclasses.dataclass(frozen=True)
class MNTDConfig:
    """One MNTD experiment. What is not semantic may change on resuming.

    Attributes:
      task: key in ``bdjax.tasks.TASKS``.
      seed: root of all randomness.
      data: source and split.
      population: how many models of which kind.
      shadow: training of shadow and validation models.
      target: training of target models.
      fit: the meta-classifier; its ``mode`` and ``query_tuning`` are set by variant.
      variants: what to fit: keys in ``bdjax.experiments.mntd.VARIANTS``.
      bootstrap: confidence of the intervals over models; resamples of a sweep's gains.
      execution: chunks, width, devices.
      formulation: how convolutions are computed.
      architecture: key in ``bdjax.models.MODELS``; the task's if empty.
    """

    task: str
    seed: int
    data: DataConfig
    population: PopulationConfig
    shadow: TrainConfig
    target: TrainConfig
    fit: FitConfig = FitConfig()
    variants: tuple[str, ...] = ("jumbo", "no_tuning", "one_class")
    bootstrap: BootstrapConfig = BootstrapConfig()
    execution: Execution = Execution()
    formulation: Formulation = "auto"
    architecture: str = ""

    def semantic(self) -> dict[str, Any]:
        """What models and fits follow from: all but how they are run and reported."""
        fields = without_defaults(self, ("architecture",))
        for name in ("execution", "formulation", "bootstrap", "variants"):
            del fields[name]
        # The same data may move; populations know their sum.
        parts = {k: getattr(self, k).to_dict() for k in ("data", "shadow", "target")}
        fit = {"fit": without_defaults(self.fit, LATER_FIT_FIELDS)}
        return fields | parts | fit


def from_mapping(cls: type[T], values: Mapping[str, Any], path: str = "config") -> T:
    """Builds a (nested) dataclass from a (nested) mapping.

    Args:
      cls: a dataclass; fields that are dataclasses are built likewise.
      values: by field name. Lists become tuples.
      path: what to call the mapping in messages.

    Raises:
      UserError: an unknown or missing field, or a value of another type.
    """
    types = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise UserError(f"{path} has no field {name!r}; it has {list(fields)}")
    made = {}
    for name, field in fields.items():
        if name not in values:
            if field.default is dataclasses.MISSING:
                raise UserError(f"{path}.{name} is missing")
            continue
        made[name] = _value(types[name], values[name], f"{path}.{name}")
    return cls(**made)


def _value(kind: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise UserError(f"{path} is {value!r}; it must hold fields")
        return from_mapping(kind, value, path)  # type: ignore[arg-type]
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{path} is {value!r}; it must be a list of values")
        item = typing.get_args(kind)[0]
        return tuple(_value(item, v, f"{path}[{i}]") for i, v in enumerate(value))
    if typing.get_origin(kind) is typing.Literal:
        if value not in (choices := typing.get_args(kind)):
            raise UserError(f"{path} is {value!r}; there are {list(choices)}")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and type(value) is not kind:
        raise UserError(
            f"{path} is {value!r}, a {type(value).__name__}; it must be a "
            f"{kind.__name__}"
        )
    return value


ROLES = {
    "shadow": "defender",
    "validation": "defender",
    "calibration": "attacker",
    "target": "attacker",
}
"""What models are for -> whose rows they train on.

Detectors learn from shadows and set themselves by validation; they are asked about the
other two, of which calibration sets the report's thresholds and targets are scored.
"""
JUDGED = ("calibration", "target")
BENIGN = "benign"


@dataclasses.dataclass(frozen=True)
class Group:
    """Models of one role: a population of each attack by each network and recipe.

    Attributes:
      role: key in :data:`ROLES`.
      attacks: keys in ``bdjax.attacks.ATTACKS``; ``"benign"`` is a clean model.
      models: of every population: one number for all attacks, or one for each.
      recipes: how they are trained; each its own name where there are several.
      networks: keys in ``bdjax.models.MODELS``; the task's if empty.
    """

    role: str
    attacks: tuple[str, ...]
    models: tuple[int, ...]
    recipes: tuple[Recipe, ...]
    networks: tuple[str, ...] = ("",)

    def __post_init__(self):
        if self.role not in ROLES:
            raise UserError(f"unknown role {self.role!r}; there are {[*ROLES]}")
        for name in ("attacks", "recipes", "networks"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(
                    f"{name} of role {self.role!r} are {values}; name one or more, "
                    "each once"
                )
        if len(self.models) not in (1, len(self.attacks)):
            raise UserError(
                f"models of role {self.role!r} are {self.models}; give one number, or "
                f"{len(self.attacks)}, one for each of {self.attacks}"
            )
        for attack, count in self.counts.items():
            if count < 1:
                raise UserError(
                    f"{count} models of role {self.role!r} with {attack}; it must be "
                    "at least 1"
                )

    @property
    def counts(self) -> dict[str, int]:
        """Models by attack, in each of its populations."""
        times = len(self.attacks) if len(self.models) == 1 else 1
        return dict(zip(self.attacks, self.models * times, strict=True))

    @property
    def labels(self) -> tuple[str, ...]:
        """What a group is chosen by in ``--zoo.groups.LABEL.field=...``."""
        return (self.role, ROLES[self.role])


@dataclasses.dataclass(frozen=True)
class Zoo:
    """Populations, and the data that they are trained and tried on.

    Attributes:
      task: key in ``bdjax.tasks.TASKS``.
      data: source and split.
      groups: the models.
      locations: where patches may lie: ``"all"``, or ``"official"`` for MNTD's
        off-by-one.
    """

    task: str
    data: DataConfig
    groups: tuple[Group, ...]
    locations: Locations = "all"

    def __post_init__(self):
        for role in ROLES:
            here = [group for group in self.groups if group.role == role]
            if here and not any(BENIGN in group.attacks for group in here):
                raise UserError(
                    f"no benign models of role {role!r} to compare trojaned ones "
                    f"with; add 'benign' to its attacks"
                )

    def of(self, role: str) -> tuple[Group, ...]:
        """The groups of a role."""
        return tuple(group for group in self.groups if group.role == role)


@dataclasses.dataclass(frozen=True)
class Solver:
    """What the solvers of DL-TND and DF-TND have in common.

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
class Experiment:
    """A zoo, and the detectors that are asked about its models.

    Only ``zoo`` and ``seed`` make models; the rest may change on resuming.

    Attributes:
      zoo: the models.
      detectors: names with options, see :func:`bdjax.detectors.get_detector`.
      seed: root of all randomness.
      per_class: clean images a class, for detectors whose options do not say.
      slow_models: models of every population that slow detectors are asked about; 0
        for all.
      min_asr: trojaned models below it count as failed attacks: reported apart, and
        left out of AUCs, rates and calibration.
      false_alarms: wanted false-positive rate of the report's second threshold.
      confidence: of the intervals over models, in (0, 1).
      quantiles: percentiles Q, as shares, that similarities are scored by.
      fit: of meta-classifiers, for detectors whose options do not say.
      solver: of DL-TND and DF-TND.
      execution: chunks, width and devices of training.
      solving: label batches and devices of the detectors.
      formulation: how convolutions are computed.
    """

    zoo: Zoo
    detectors: tuple[str, ...]
    seed: int = 0
    per_class: int = 5
    slow_models: int = 0
    min_asr: float = 0.5
    false_alarms: float = 0.1
    confidence: float = 0.95
    quantiles: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75)
    fit: FitConfig = FitConfig()
    solver: Solver = Solver()
    execution: Execution = Execution()
    solving: SolvingExecution = SolvingExecution()
    formulation: Formulation = "auto"

    def __post_init__(self):
        if not self.detectors or len(set(self.detectors)) < len(self.detectors):
            raise UserError(
                f"detectors is {self.detectors}; name one or more, each once"
            )
        if self.per_class < 1:
            raise UserError(f"per_class is {self.per_class}; it must be at least 1")
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
        """What models follow from, as JSON: not where files lie, as they may move.

        What detectors compute is kept apart, each with what it follows from.
        """
        zoo = storage.as_json(dataclasses.asdict(self.zoo))
        for name in ("path", "vectors"):
            del zoo["data"][name]
        return {"seed": self.seed, "zoo": zoo}
