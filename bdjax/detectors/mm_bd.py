"""MM-BD: a Trojan lets its target's margin grow further than any other label's.

Wang, Xiang, Miller, Kesidis, "MM-BD: Post-Training Detection of Backdoor Attacks with
Arbitrary Backdoor Pattern Types Using a Maximum Margin Statistic", IEEE S&P 2024. No
data: for every putative target the margin of its logit over the greatest other one is
maximised over the input. A label's statistic is the greatest margin of some starts.

Departures from the official code: inputs are projected on the value range, so that one
at its border can come back (the official clamp cuts its gradient); the number of steps
is fixed; and the p-value of a Gamma law of three parameters fitted to nine statistics
is replaced by the statistic over the median of the others, which that p-value is a
function of but for the law.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import checks, prng
from bdjax.detectors.base import Access, Finding, Needs
from bdjax.detectors.keeping import Arrays, Solving
from bdjax.detectors.resources import Resources
from bdjax.logits import class_logits
from bdjax.models import Model
from bdjax.tnd.perturb import margin
from bdjax.tnd.solver import Problem, solve
from bdjax.types import PyTree, UserError, Variables

_FLOOR = 1e-3  # of the greatest margin, for labels without one


@dataclasses.dataclass(frozen=True, kw_only=True)
class MMBD(Solving):
    """Maximum margins by gradient ascent.

    Attributes:
      starts: inputs of uniform noise a label.
      steps: of the ascent.
      learning_rate: of it, in units of the value range.
    """

    access: ClassVar[Access] = Access.GRADIENTS
    needs: ClassVar[Needs] = Needs()

    starts: int = 30
    steps: int = 300
    learning_rate: float = 0.01

    def __post_init__(self):
        checks.at_least(1, starts=self.starts, steps=self.steps)
        checks.above_zero(learning_rate=self.learning_rate)

    def settings(self, resources: Resources) -> dict[str, Any]:
        """See :meth:`Solving.settings`."""
        own = {n: getattr(self, n) for n in ("starts", "steps", "learning_rate")}
        return {"detector": self.name, "seed": resources.seed} | own

    def solve(
        self, network: Model, variables: Variables, resources: Resources
    ) -> tuple[Arrays, dict[str, Any]]:
        """The greatest margins, and the inputs that have them."""
        task = resources.task
        count, (low, high) = task.num_classes, task.value_range
        key = prng.stream(prng.root(resources.seed), "mm_bd")
        shape = (self.starts, *task.input_shape)
        noise = np.asarray(jax.random.uniform(key, shape, minval=low, maxval=high))
        problem = Ascent(
            network.apply, self.steps, self.learning_rate, (float(low), float(high))
        )
        # Equal starts: then labels and networks are the only difference.
        cases = np.arange(count), np.broadcast_to(noise, (count, *shape))
        state = solve(
            problem, cases, variables,
            execution=resources.execution, images=self.starts, progress=resources.tell,
        )  # fmt: skip
        best_KxN = state.best
        if not np.isfinite(best_KxN).all():
            raise UserError("its margins are NaN or infinite; check its weights")
        if (
            np.ptp(best_KxN, axis=1).max() == 0
            and not np.ptp(state.first, axis=1).any()
        ):
            raise UserError("it gives the same answer to every input")
        first = best_KxN.argmax(1)
        x = state.best_x[np.arange(count), first]
        return {"margins": best_KxN.max(1), "maximisers": x}, {}

    def conclude(self, id_: int, arrays: Arrays, meta: dict[str, Any]) -> Finding:
        """See :meth:`Solving.conclude`; without a calibration, no verdict."""
        scores = label_scores(arrays["margins"])
        top = int(scores.argmax())
        return Finding(
            id_,
            float(scores[top]),
            labels=np.arange(len(scores)),
            label_scores=scores,
            target=top,
            artefacts={
                "margins": arrays["margins"],
                "maximiser": arrays["maximisers"][top],
            },
            seconds=meta["seconds"],
        )


def label_scores(margin_K: np.ndarray) -> np.ndarray:
    """Log of each label's margin over the others' median: float32 ``[K]``."""
    margins = np.maximum(margin_K, _FLOOR * max(float(margin_K.max()), 1e-12))
    others = [np.median(np.delete(margins, k)) for k in range(len(margins))]
    return np.log(margins / np.array(others)).astype(np.float32)


class State(NamedTuple):
    """Of K labels and N starts.

    Attributes:
      x: float32 ``[K, N, ...]``, in the value range.
      first: float32 ``[K, N]``, margins at the start.
      best: likewise, the greatest so far.
      best_x: which inputs have it.
    """

    x: jax.Array
    first: jax.Array
    best: jax.Array
    best_x: jax.Array


@dataclasses.dataclass(frozen=True)
class Ascent(Problem):
    """The margins' maximisation; see :class:`bdjax.tnd.solver.Problem`.

    Cases are labels int32 ``[K]`` and starts ``[K, N, ...]``; what they share are the
    network's variables.
    """

    apply: Any
    length: int
    learning_rate: float
    value_range: tuple[float, float]

    def init(self, cases: PyTree, shared: PyTree) -> State:
        """The starts."""
        label_K, x = cases
        first = self._margins(x, label_K, shared)
        return State(x, first, first, x)

    def step(self, i: jax.Array, state: State, cases: PyTree, shared: PyTree) -> State:
        """A gradient step, a projection, and the best so far."""
        low, high = self.value_range
        label_K, _ = cases

        def total(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            margins = self._margins(x, label_K, shared)
            return margins.sum(), margins

        grad, margins = jax.grad(total, has_aux=True)(state.x)
        better = margins > state.best
        pick = better.reshape(better.shape + (1,) * (state.x.ndim - 2))
        # In units of the range: by it and, as of the chain rule, by it again.
        rate = self.learning_rate * (high - low) ** 2
        return State(
            x=jnp.clip(state.x + rate * grad, low, high),
            first=state.first,
            best=jnp.where(better, margins, state.best),
            best_x=jnp.where(pick, state.x, state.best_x),
        )

    def _margins(
        self, x: jax.Array, label_K: jax.Array, variables: Variables
    ) -> jax.Array:
        """Of inputs ``[K, N, ...]``: float32 ``[K, N]``."""
        flat = x.reshape(-1, *x.shape[2:])
        logits = class_logits(self.apply(variables, flat)).reshape(*x.shape[:2], -1)
        return margin(logits, jnp.broadcast_to(label_K[:, None], x.shape[:2]))
