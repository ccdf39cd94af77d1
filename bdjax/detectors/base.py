"""What any detector is: its access and needs, and one finding a network.

A detector is asked about *networks*, whose truth it never sees; what it may use besides
are the defender's *resources*. Thresholds, rates and AUCs are nobody's business here:
they are computed from the findings' scores.
"""

import abc
import dataclasses
import enum
import re
import typing
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from bdjax import checks
from bdjax.detectors.options import typed
from bdjax.detectors.resources import Group, Resources
from bdjax.mntd import FitConfig
from bdjax.models import Precision
from bdjax.verdicts import Conclusion

JOINT = -1
"""The repeat of a finding that is no single repeat's."""


class Access(enum.Enum):
    """What of a network a detector sees; it needs all before it but training data."""

    LABELS = "labels"
    PROBABILITIES = "probabilities"
    LOGITS = "logits"
    GRADIENTS = "gradients"
    FEATURES = "features"
    WEIGHTS = "weights"
    TRAINING_DATA = "training data"


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a detector needs besides the network.

    Attributes:
      shadows: networks of the defender's own, benign and trojaned.
      images_per_class: clean examples of every class; 0 for none.
      test_rows: labelled clean examples, as many as there are.
    """

    shadows: bool = False
    images_per_class: int = 0
    test_rows: bool = False

    @property
    def text(self) -> str:
        """In words."""
        parts = ["shadow models"] if self.shadows else []
        if self.images_per_class:
            parts.append(f"{self.images_per_class} clean examples a class")
        if self.test_rows:
            parts.append("labelled test examples")
        return ", ".join(parts) or "nothing"


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """What a detector says of one network, or one of its repeats does.

    Attributes:
      id: of the network in its population.
      score: larger = more likely trojaned; NaN where it cannot be judged, and
        ``notes`` says why.
      repeat: which repeat of the detector; :data:`JOINT` of none.
      conclusion: of the detector's own calibration: ``"trojaned"``, ``"benign"`` (not
        flagged), ``"inconclusive"``, or "" of a detector or repeat without verdicts.
      threshold: of that calibration; NaN without.
      labels: int ``[K]``, the candidate labels; None of a detector that has none.
      label_scores: float32 ``[K]``, of these.
      target: the label that it names; None if none.
      artefacts: arrays for a report, such as ``mask`` and ``pattern``.
      notes: what a reader must know besides the reasons, one sentence each.
      reasons: why it is inconclusive, likewise.
      seconds: that it took, a first one's compilation included.
    """

    id: int
    score: float
    _: dataclasses.KW_ONLY
    repeat: int = JOINT
    conclusion: str = ""
    threshold: float = float("nan")
    labels: np.ndarray | None = None
    label_scores: np.ndarray | None = None
    target: int | None = None
    artefacts: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    seconds: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Solver:
    """What all solvers of perturbations have in common.

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
        checks.at_least(
            0,
            **{"solver.iterations": self.iterations, "solver.searches": self.searches},
        )


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What options start from.

    Attributes:
      fit: of MNTD's detectors.
      solver: of those that solve for perturbations.
      per_class: clean images a class, of those that need some.
    """

    fit: FitConfig = FitConfig()
    solver: Solver = Solver()
    per_class: int = 5


class Asked(NamedTuple):
    """What a detector is made from.

    Attributes:
      identity: fields that every detector has.
      changes: fields that its entry in the registry sets.
      given: options as text.
      defaults: what options of settings start from.
    """

    identity: Mapping[str, Any]
    changes: Mapping[str, Any]
    given: Mapping[str, str]
    defaults: Defaults

    def options(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Those given as values of types; see :func:`typed`."""
        return typed(self.identity["name"], self.given, known)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detector(abc.ABC):
    """A detector in one setting.

    Attributes:
      name: key in ``bdjax.detectors.DETECTORS``.
      entitled: what tables call it, without its options.
      options: those that it was given, by name, as text.
      is_slow: whether it may be kept to some models of every population.
    """

    name: str
    entitled: str
    options: tuple[tuple[str, str], ...] = ()
    is_slow: bool = False

    @classmethod
    def make(cls, asked: Asked) -> "Detector":
        """One with options; by default they are its own fields.

        Raises:
          UserError: there is no such option, or a value is at fault.
        """
        own = asked.options(cls.own_fields())
        return cls(**asked.identity, **{**asked.changes, **own})

    @classmethod
    def own_fields(cls) -> dict[str, Any]:
        """Types of the fields that not every detector has."""
        common = {field.name for field in dataclasses.fields(Detector)}
        hints = typing.get_type_hints(cls)
        names = [field.name for field in dataclasses.fields(cls)]
        return {name: hints[name] for name in names if name not in common}

    @property
    def title(self) -> str:
        """What tables call it, such as ``"DL-TND (per_class=1)"``."""
        given = ", ".join(f"{k}={v}" for k, v in self.options)
        return f"{self.entitled} ({given})" if given else self.entitled

    @property
    def slug(self) -> str:
        """A file's name for it, another one for other options."""
        return slug_of(self.name, self.options)

    @property
    @abc.abstractmethod
    def access(self) -> Access:
        """The most that it sees of a network."""

    @property
    @abc.abstractmethod
    def needs(self) -> Needs:
        """What it needs besides."""

    def check(self, resources: Resources) -> None:  # noqa: B027
        """Refuses, in no time, resources that the detector cannot do with.

        Shadows may be missing yet: they are trained later.

        Raises:
          UserError: the task has no such inputs, there are too few examples, or what
            is on disk was made from something else.
        """

    def prepare(self, resources: Resources) -> None:  # noqa: B027
        """Fits what must be fitted; what is on disk already is read.

        Called once, before :meth:`examine`, which may do without.

        Raises:
          UserError: what is on disk was made from something else, or resources are
            missing.
        """

    @abc.abstractmethod
    def examine(self, networks: Group, resources: Resources) -> Iterator[Finding]:
        """Findings on networks, in order, a network's repeats one after the other.

        What was found already is read from disk. A network that cannot be judged has a
        finding as well, of score NaN.

        Raises:
          UserError: as :meth:`prepare`; never because of a single network.
        """

    def shown(self, resources: Resources) -> dict[str, np.ndarray]:
        """Arrays that show the detector itself, such as its queries; none by default.

        After :meth:`prepare`.
        """
        del resources
        return {}


def slug_of(name: str, options: tuple[tuple[str, str], ...]) -> str:
    """See :attr:`Detector.slug`."""
    given = ",".join(f"{k}={v}" for k, v in options)
    text = f"{name}-{given}" if given else name
    safe = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", text)
    return safe if safe == text else f"{safe}-{zlib.crc32(text.encode()):08x}"


def named(conclusion: Conclusion) -> str:
    """A verdict's conclusion as findings have it."""
    return "benign" if conclusion is Conclusion.NOT_FLAGGED else conclusion.value


def unjudged(
    id_: int, reason: object, seconds: float = float("nan"), *, repeat: int = JOINT
) -> Finding:
    """The finding on a network that cannot be judged."""
    return Finding(
        int(id_),
        float("nan"),
        repeat=repeat,
        conclusion="inconclusive",
        notes=(f"not judged: {reason}",),
        seconds=seconds,
    )
