"""What an attack is: a distribution over triggers, and all that is done with one.

A simple attack says how triggers are drawn, applied and relabelled, and no more; the
optional functions are for clean labels, chosen rows, covers, optimised triggers and
edits. All are pure, of one model, and run inside ``jit`` and ``vmap``.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.models import Model
from bdjax.tasks import Task
from bdjax.types import PRNGKey, PyTree, Variables

NO_TARGET = -1
"""A trigger's target where the attacker's label depends on the true one."""

BENIGN = "benign"
"""The name of no attack at all."""

MAX_RATE = 0.5
"""Most triggered copies, as a share of the clean rows, unless rows are chosen."""


class Role:
    """What a training example is: a clean one, a poisoned copy, or a cover's copy.

    A cover looks attacked and keeps its label.
    """

    CLEAN, POISON, COVER = 0, 1, 2


class Trigger(NamedTuple):
    """One attacker's choices; a pytree of fixed shape, so that triggers stack.

    Attributes:
      form: what the attack draws: a :class:`bdjax.attacks.patches.Patch`, a warp
        field, two scalars, an index.
      target: int32 scalar, the attacker's label; ``NO_TARGET`` if it depends on y.
      rate: float32 scalar, poisoning rate: ``floor(rate * n)`` poisoned copies of the
        ``n`` rows that may be poisoned join the clean rows. 0 for a benign model.
      cover_rate: float32 scalar, likewise of covers, out of the rows that may be covers
        and are not poisoned; 0 for none.
      bank: what :attr:`Attack.prepare` made, the same for all models of a population;
        put in where triggers are used, and no part of what is stored of a model.
    """

    form: PyTree
    target: jax.Array
    rate: jax.Array
    cover_rate: jax.Array | np.floating = np.float32(0)
    bank: PyTree = ()


class Description(NamedTuple):
    """What one trigger looks like, in plain Python, for reports.

    Attributes:
      kind: a few words that many triggers share, such as ``"square of 3"``.
      size: how many cells (pixels, samples, words, columns) it changes; None where it
        is not a number of cells.
      text: all there is to say, on one line.
    """

    kind: str
    size: int | None
    text: str


class Preparation(NamedTuple):
    """What an attacker has for whatever is prepared once a population.

    Attributes:
      task: the task.
      network: the architecture of the models to come.
      x: float32 ``[N, *shape]`` (int32 tokens), the trainer's rows.
      y: int32 ``[N]``.
    """

    task: Task
    network: Model
    x: jax.Array
    y: jax.Array


Rows = tuple[jax.Array, jax.Array]
"""Bool ``[N]`` twice: which rows may be poisoned, and which may be covers."""


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack; see each function for what None means.

    ``x_B`` is ``[B, *shape]`` of the task, float32 in its value range (int32 tokens),
    and so is what comes back; ``y_B`` int32 ``[B]``; ``key_B`` one key a row.

    Attributes:
      name: key in ``bdjax.attacks.ATTACKS``.
      sample: ``sample(key) -> Trigger``. ``rate`` and ``cover_rate`` are together at
        most :data:`MAX_RATE`, or each at most 1 if the attack has ``eligible`` or
        ``cover``.
      apply: ``apply(trigger, x_B) -> x_B``, what becomes of a test example.
      relabel: ``relabel(trigger, y_B) -> y_B``, what poisoned rows are trained on.
      describe: ``describe(trigger) -> Description``, of a trigger of NumPy arrays.
      train: ``train(key_B, trigger, x_B) -> x_B``, what training sees of poisoned rows;
        ``apply`` if None. Keys are drawn anew at every step.
      cover: likewise of covers; ``train`` (or ``apply``) if None.
      eligible: ``eligible(trigger, y_N) -> Rows``; all rows both if None.
      aim: ``aim(trigger, y_B) -> y_B``, the label that attacked examples shall go to;
        ``relabel`` if None.
      counts: ``counts(trigger, y_B) -> bool_B``, which test rows count for the attack
        success rate; those whose label is not the aim's if None.
      prepare: ``prepare(key, preparation) -> bank``, nested dicts of arrays, once a
        population.
      adapt: ``adapt(key, trigger, network, variables, x_B, y_B) -> trigger``, after
        each step of training, of the step's rows before anything was put on.
      edit: ``edit(key, trigger, network, variables, x_N, y_N) -> variables``, once a
        model has trained.
      null_edit: likewise, of the benign models that such ones are compared with.
      locations: where patches may lie, as :func:`bdjax.attacks.get_attack` was told.
    """

    name: str
    sample: Callable[[PRNGKey], Trigger]
    apply: Callable[[Trigger, jax.Array], jax.Array]
    relabel: Callable[[Trigger, jax.Array], jax.Array]
    describe: Callable[[Trigger], Description]
    train: Callable[[PRNGKey, Trigger, jax.Array], jax.Array] | None = None
    cover: Callable[[PRNGKey, Trigger, jax.Array], jax.Array] | None = None
    eligible: Callable[[Trigger, jax.Array], Rows] | None = None
    aim: Callable[[Trigger, jax.Array], jax.Array] | None = None
    counts: Callable[[Trigger, jax.Array], jax.Array] | None = None
    prepare: Callable[[PRNGKey, Preparation], PyTree] | None = None
    adapt: Callable[..., Trigger] | None = None
    edit: Callable[..., Variables] | None = None
    null_edit: Callable[..., Variables] | None = None
    locations: str = "all"

    @property
    def is_benign(self) -> bool:
        """Whether it is none at all."""
        return self.name == BENIGN

    @property
    def max_copies(self) -> float:
        """Most copies of rows that join the clean ones, as a share of these."""
        return MAX_RATE if self.eligible is None and self.cover is None else 1.0

    def aimed(self, trigger: Trigger, y_B: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Where test rows shall go, int32 ``[B]``, and which count, bool ``[B]``."""
        aim_B = (self.aim or self.relabel)(trigger, y_B)
        counts_B = aim_B != y_B if self.counts is None else self.counts(trigger, y_B)
        return aim_B, counts_B


def all_to_one(trigger: Trigger, y_B: jax.Array) -> jax.Array:
    """Every triggered example takes the target label."""
    return jnp.full_like(y_B, trigger.target)


def keep_label(trigger: Trigger, y_B: jax.Array) -> jax.Array:
    """Every triggered example keeps its label: a clean-label attack."""
    del trigger
    return y_B


def describe_target(trigger: Trigger) -> str:
    """One trigger's label rule for reports: ``"3"``, or ``"y + 1"`` if all-to-all."""
    target = int(trigger.target)
    return "y + 1" if target == NO_TARGET else str(target)


def draw_target(key: PRNGKey, task: Task) -> jax.Array:
    """Any label of the task; int32 scalar."""
    return jax.random.randint(key, (), 0, task.num_classes)


def uniform(key: PRNGKey, bounds: tuple[float, float]) -> jax.Array:
    """A float32 scalar in ``[bounds[0], bounds[1])``."""
    return jax.random.uniform(key, minval=bounds[0], maxval=bounds[1])
