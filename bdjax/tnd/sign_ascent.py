"""DF-TND's official solver: sign ascent on mask, pattern and neuron weights.

Wang et al., ECCV 2020, section 4 and official code, which maximises over N images::

    mean_x sum_j w_j r_j(x^) - gamma * sum_x |m_x|_1,    x^ = (1 - m_x) x + m_x d_x

with r the penultimate activations and w on the simplex. A sign step moves the weight
of every neuron that is active by the same amount, which the projection undoes: w stays
uniform over them. :mod:`bdjax.tnd.activation_maximization` takes the gradient itself.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bdjax.tnd import simplex
from bdjax.tnd.network import Network
from bdjax.tnd.perturb import shrink
from bdjax.tnd.solver import Problem
from bdjax.types import PyTree

_STEP = 0.1  # of mask, pattern (box of 1) and weights alike
_RADIUS = 1.0  # of the pattern's box around its centre
NOISE = 1e-6  # standard deviation of what is added to the images


class Seeds(NamedTuple):
    """Where R runs start.

    Attributes:
      x: float32 ``[R, N, H, W, C]`` in [0, 1].
      noise: likewise, added to x by the official solver but not to what it returns.
      weights: float32 ``[R, D]``, one a neuron, on the simplex.
    """

    x: Any
    noise: Any
    weights: Any


class State(NamedTuple):
    """Of R runs.

    Attributes:
      mask: float32 ``[R, N, H, W, C]`` in [0, 1].
      pattern: likewise, in ``centre - 1`` to ``centre + 1``.
      centre: likewise, 0 at first.
      weights: float32 ``[R, D]``.
    """

    mask: jax.Array
    pattern: jax.Array
    centre: jax.Array
    weights: jax.Array


@dataclasses.dataclass(frozen=True)
class SignAscent(Problem):
    """The official update; see :class:`bdjax.tnd.solver.Problem`. Cases are Seeds.

    The official backward pass also takes the last block's ReLU for the identity, which
    only features that are written so can reproduce.

    Attributes:
      network: under test.
      iterations: of the first stage: a mask and a pattern for each image.
      second: of the second stage, which starts from their means; 0 leaves it out.
      sparsity: gamma.
    """

    network: Network
    iterations: int
    second: int
    sparsity: float

    @property
    def length(self) -> int:
        """Iterations of both stages."""
        return self.iterations + self.second

    def init(self, cases: Seeds, shared: PyTree) -> State:
        """No mask, a black pattern, the given weights."""
        zeros = jnp.zeros_like(cases.x)
        return State(zeros, zeros, zeros, jnp.asarray(cases.weights))

    def step(self, i: jax.Array, state: State, cases: Seeds, shared: PyTree) -> State:
        """Signs for all three, each then brought back to where it must lie."""
        state = self._average(state, i == self.iterations)
        mask, pattern, weights = jax.grad(self._excitation, (0, 1, 2))(
            state.mask, state.pattern, state.weights, cases, shared
        )
        # By hand: at 0, where all masks start, JAX's gradient of |m| is 1.
        mask -= self.sparsity * jnp.sign(state.mask)
        away = state.pattern + _STEP * jnp.sign(pattern) - state.centre
        raised = state.mask + _STEP * jnp.sign(mask)
        return State(
            mask=shrink(raised, _STEP * self.sparsity),
            pattern=state.centre + jnp.clip(away, -_RADIUS, _RADIUS),
            centre=state.centre,
            weights=simplex.bisection(state.weights + _STEP * jnp.sign(weights)),
        )

    def _average(self, state: State, now: jax.Array) -> State:
        """All images' masks and patterns replaced by their means, if ``now``."""

        def mean(x: jax.Array) -> jax.Array:
            return jnp.broadcast_to(x.mean(1, keepdims=True), x.shape)

        pattern = mean(state.pattern)
        averaged = State(mean(state.mask), pattern, pattern, state.weights)
        return jax.tree.map(lambda new, old: jnp.where(now, new, old), averaged, state)

    def _excitation(
        self,
        mask: jax.Array,
        pattern: jax.Array,
        weights: jax.Array,
        cases: Seeds,
        shared: PyTree,
    ) -> jax.Array:
        """The first term, summed over the runs."""
        # Not perturb(), whose rounding would leave [0, 1] where a mask is 1.
        x = _clamp((1 - mask) * (cases.x + cases.noise) + mask * pattern)
        r_RxNxD = self.network.activations(shared, x)
        return jnp.einsum("rnd,rd->rn", r_RxNxD, weights).mean(1).sum()


def _clamp(x: jax.Array) -> jax.Array:
    """To [0, 1], with the gradient of PyTorch: 1 on both borders, where many lie."""
    inside = (x >= 0) & (x <= 1)
    return jnp.where(inside, x, jax.lax.stop_gradient(jnp.clip(x, 0, 1)))
