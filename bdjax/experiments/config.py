"""The configuration of an experiment, as frozen dataclasses."""

import dataclasses
from typing import Any, Literal

from bdjax import checks, storage
from bdjax.attacks import Locations
from bdjax.detectors import Solver
from bdjax.mntd import FitConfig
from bdjax.models import Formulation
from bdjax.population import Execution, Recipe
from bdjax.tnd import Execution as SolvingExecution
from bdjax.types import UserError

OPTIONS = ("vectors", "rate")  # of data, which some sources take
PLACES = ("path", "vectors")  # of data


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
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if k not in PLACES}


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
        checks.one_of(ROLES, role=self.role)
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
            checks.at_least(1, **{f"models of role {self.role!r} with {attack}": count})

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
            here = self.of(role)
            if here and not any(BENIGN in group.attacks for group in here):
                raise UserError(
                    f"no benign models of role {role!r} to compare trojaned ones "
                    f"with; add 'benign' to its attacks"
                )

    def of(self, role: str) -> tuple[Group, ...]:
        """The groups of a role."""
        return tuple(group for group in self.groups if group.role == role)

    def count(self, role: str) -> tuple[int, int]:
        """Benign and trojaned models of a role."""
        benign = trojaned = 0
        for group in self.of(role):
            times, models = len(group.networks) * len(group.recipes), group.counts
            benign += times * models.get(BENIGN, 0)
            trojaned += times * (sum(models.values()) - models.get(BENIGN, 0))
        return benign, trojaned


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
      min_asr: trojaned models below it count as failed attacks.
      failed_attacks: whether these are ``"left out"`` of AUCs, rates and calibration,
        and reported apart, or ``"counted"`` as trojaned all the same, as in MNTD.
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
    failed_attacks: Literal["left out", "counted"] = "left out"
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
        checks.at_least(1, per_class=self.per_class)
        checks.at_least(0, slow_models=self.slow_models)
        checks.within("(0, 1)", confidence=self.confidence)
        shares = {f"quantiles[{i}]": q for i, q in enumerate(self.quantiles)}
        checks.within("[0, 1]", min_asr=self.min_asr, **shares)
        checks.within("[0, 1)", false_alarms=self.false_alarms)

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON gives them back."""
        return storage.as_json(dataclasses.asdict(self))


def models_of(config: dict[str, Any]) -> dict[str, Any]:
    """What models follow from, of :meth:`Experiment.to_dict`.

    Not where files lie, as they may move. What detectors compute is kept apart, each
    with what it follows from.
    """
    zoo = config["zoo"]
    data = {k: v for k, v in zoo["data"].items() if k not in PLACES}
    return {"seed": config["seed"], "zoo": zoo | {"data": data}}
