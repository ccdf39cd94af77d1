"""Networks that detectors are asked about, and what the defender has."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bdjax import mntd, telemetry, tnd, tree
from bdjax.data import Units, Vocabulary
from bdjax.models import Model
from bdjax.tasks import Task
from bdjax.types import UserError, Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Networks of one architecture, and no word of which are trojaned.

    Attributes:
      name: of their population.
      network: their architecture.
      variables: stacked, leaves ``[M, ...]``.
      ids_M: int, who they are in their population.
      digest: of what the population was made from; "" of networks without a record.
    """

    name: str
    network: Model
    variables: Variables
    ids_M: np.ndarray
    digest: str = ""

    def __len__(self) -> int:
        return len(self.ids_M)

    @property
    def apply(self) -> Callable[..., jax.Array]:
        """``apply(variables, x) -> logits`` of one of them."""
        return self.network.apply

    def take(self, rows: slice | np.ndarray) -> "Group":
        """Some of them: a slice of their positions, or these."""
        variables = tree.index(self.variables, rows)
        return dataclasses.replace(self, variables=variables, ids_M=self.ids_M[rows])

    def one(self, i: int) -> Variables:
        """Variables of the network at a position."""
        return jax.tree.map(lambda leaf: np.asarray(leaf[i]), self.variables)


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Networks of the defender's own, whose truth he knows.

    Attributes:
      groups: the networks.
      labels: of each group, int ``[M]``: 1 for trojaned.
    """

    groups: tuple[Group, ...] = ()
    labels: tuple[np.ndarray, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    @functools.cached_property
    def truth(self) -> np.ndarray:
        """Labels of all groups' networks in order, int ``[M]``."""
        return np.concatenate([np.zeros(0, int), *self.labels])

    def nested_rows(self, size: int) -> np.ndarray:
        """Half as many benign networks and as many trojaned ones; int ``[size]``.

        The first of every population, in turn: those of a smaller size come again in a
        larger one.
        """
        starts = np.cumsum([0, *map(len, self.groups)])
        chosen = []
        for label in (0, 1):
            turns = [
                (turn, start + place)
                for start, labels in zip(starts, self.labels, strict=False)
                for turn, place in enumerate(np.flatnonzero(labels == label))
            ]
            rows = [row for _, row in sorted(turns)]
            chosen.append(np.array(rows[: size // 2], int))
        return np.concatenate(chosen)

    @property
    def order(self) -> np.ndarray:
        """Where the networks of :meth:`merged` are among all groups', int ``[M]``."""
        each = [np.full(len(group), i) for i, group in enumerate(self.groups)]
        known = list(dict.fromkeys(group.network for group in self.groups))
        kinds = np.array([known.index(group.network) for group in self.groups])
        return np.argsort(kinds[np.concatenate(each)], stable=True)

    def merged(self) -> tuple[list[mntd.Networks], np.ndarray]:
        """Networks of one architecture as one group, in order; their labels."""
        alike: dict[Model, list[Variables]] = {}
        for group in self.groups:
            alike.setdefault(group.network, []).append(group.variables)
        groups = [
            mntd.Networks(network.apply, tree.concatenate(some))
            for network, some in alike.items()
        ]
        return groups, self.truth[self.order]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Resources:
    """What the defender has.

    Attributes:
      task: what the networks classify.
      seed: root of all randomness.
      shadows: networks to learn from.
      validation: networks, of no shadow's kind, to choose by.
      x: float32 ``[N, ...]``, clean examples as networks read them; a detector takes
        the first of every class.
      y: int32 ``[N]``.
      test_x: examples that networks' accuracy is measured on, likewise.
      test_y: int32, their labels.
      vocabulary: of sentences, the words and their vectors.
      units: of features that were rescaled.
      columns: of tables, what each is called.
      directory: where detectors keep what they computed, each in folders of its own
        :attr:`bdjax.detectors.Detector.slug`; None keeps nothing.
      metrics: hears how fits go, if there is one; findings are told by whoever asks
        for them.
      progress: whether the console hears it, too.
      tell: told of the iterations of solvers, ``tell(done, total)``; what it raises
        ends them.
      execution: how solvers are run.
      memory: what detectors keep at hand between calls.
    """

    task: Task
    seed: int = 0
    shadows: Labelled = Labelled()
    validation: Labelled = Labelled()
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    test_x: np.ndarray | None = None
    test_y: np.ndarray | None = None
    vocabulary: Vocabulary | None = None
    units: Units | None = None
    columns: tuple[str, ...] = ()
    directory: Path | None = None
    metrics: telemetry.MetricsWriter | None = None
    progress: bool = True
    tell: Callable[[int, int], None] | None = None
    execution: tnd.Execution = tnd.Execution()
    memory: dict[Any, dict[Any, Any]] = dataclasses.field(default_factory=dict)

    def images(
        self, per_class: int, *, skip: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first ``per_class`` examples of every class, and their labels.

        Args:
          per_class: how many.
          skip: leave out classes of which there are none at all.

        Raises:
          UserError: there are not as many.
        """
        x, y = self.x, self.y
        if x is None or y is None:
            raise UserError(
                f"{per_class} clean examples a class are needed, and there are none"
            )
        rows = []
        for label in range(self.task.num_classes):
            here = np.flatnonzero(y == label)
            if skip and not len(here):
                continue
            if len(here) < per_class:
                raise UserError(
                    f"the defender's {len(y)} rows hold {len(here)} of class {label}, "
                    f"fewer than {per_class} clean images a class; raise data.defender"
                )
            rows.append(here[:per_class])
        index = np.concatenate(rows)
        return x[index], y[index]
