"""DL-TND's own solver: alternating steps on mask and pattern, constant by constant.

Wang et al., ECCV 2020, section 3 and official code. With hinges cut at -tau and
``lambda = 1 / c``, for a label k:

* universal: images of other classes must change class, those of k must not::

      min sum_{x not of k} max(f_y - max_{t != y} f_t, -tau)
        + sum_{x of k} max(max_{t != k} f_t - f_k, -tau) + |m|_1 / c

* per image x not of k: ``min max(max_{t != k} f_t - f_k, -tau) + |m_x|_1 / c``.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bdjax.tnd.minimal_mask import Images
from bdjax.tnd.network import Network
from bdjax.tnd.perturb import Pair, adam, chosen, each, margin, perturb, shrink, still
from bdjax.tnd.solver import Problem

TAU = 15.0
FIRST, GREATEST = 0.01, 6.0  # of the constants that are searched
START = 1.0  # of every entry of the pattern, whatever the scale: official


class State(NamedTuple):
    """Of K labels and G groups of images: one group, or every image its own.

    Attributes:
      mask: float32 ``[K, G, H, W, C]``.
      pattern: likewise, in [0, scale].
      moments: of both's Adam.
      constant: float32 ``[K]``, c.
      lower: float32 ``[K]``, greatest constant that failed.
      hit: bool ``[K]``, whether this constant has succeeded at any iteration.
      masks: float32 ``[K, S, G, H, W, C]``, last of each of S constants.
      patterns: likewise.
      constants: float32 ``[K, S]``.
      hits: bool ``[K, S]``.
    """

    mask: jax.Array
    pattern: jax.Array
    moments: Pair
    constant: jax.Array
    lower: jax.Array
    hit: jax.Array
    masks: jax.Array
    patterns: jax.Array
    constants: jax.Array
    hits: jax.Array


@dataclasses.dataclass(frozen=True)
class Alternating(Problem):
    """One of the problems above; cases are int32 ``[K]``, the candidate labels.

    Attributes:
      network: under test.
      universal: the first problem, else the second.
      iterations: with each constant.
      searches: constants; 1 takes ``first`` and searches none.
      success: a constant succeeds once more than this share of the hinges are not
        above 0, at any iteration.
      learning_rate: of mask and pattern alike, in units of the solver's range.
      official: Adam's step counter is shared, hence advances twice an iteration, and
        the penalty is a proximal step of ``learning_rate / c``; else each has its own
        and the penalty is in the gradient. With counters of their own, that proximal
        step would undo every Adam step.
      first: the first constant.
    """

    network: Network
    universal: bool
    iterations: int
    searches: int
    success: float
    learning_rate: float
    official: bool
    first: float = FIRST

    @property
    def length(self) -> int:
        """Iterations with all constants."""
        return self.iterations * self.searches - self._spared

    @property
    def _spared(self) -> int:
        """Iterations of the first constant that would change nothing.

        A proximal step that takes 1 from a mask of at most 1 leaves none, and without
        a mask the pattern has no gradient: that of the official first constant.
        """
        idle = self.official and self.learning_rate / self.first >= 1
        return self.iterations - 1 if idle and self.universal else 0

    def init(self, cases: jax.Array, shared: Images) -> State:
        """No mask, and a pattern of 1: all but black on a scale of 255."""
        count, groups = len(cases), 1 if self.universal else len(shared.x)
        kind = shared.x.dtype
        zeros = jnp.zeros((count, groups, *shared.x.shape[1:]), kind)
        stored = jnp.zeros((count, self.searches, *zeros.shape[1:]), kind)
        return State(
            mask=zeros,
            pattern=zeros + START,
            moments=still(zeros, zeros),
            constant=jnp.full(count, self.first, kind),
            lower=jnp.zeros(count, kind),
            hit=jnp.zeros(count, bool),
            masks=stored,
            patterns=stored,
            constants=jnp.zeros((count, self.searches), kind),
            hits=jnp.zeros((count, self.searches), bool),
        )

    def step(
        self, i: jax.Array, state: State, cases: jax.Array, shared: Images
    ) -> State:
        """A step on the mask, its proximal step, a step on the pattern."""
        i = jnp.where(i > 0, i + self._spared, 0)
        search, t = i // self.iterations, i % self.iterations
        state = self._begin(state, (t == 0) & (search > 0))
        power = (2 * t + 1 if self.official else t + 1).astype(state.mask.dtype)
        rate = self.learning_rate

        grad, _ = jax.grad(self._hinges, 0, has_aux=True)(
            state.mask, state.pattern, cases, shared
        )
        penalty = 1 / each(state.constant, grad)
        if not self.official:
            grad += penalty
        move, mask_moments = adam(grad, state.moments[0], power, rate)
        threshold = rate * penalty if self.official else 0.0
        mask = shrink(state.mask + move, threshold)

        grad, hinges = jax.grad(self._hinges, 1, has_aux=True)(
            mask, state.pattern, cases, shared
        )
        move, pattern_moments = adam(
            grad, state.moments[1], power + self.official, rate
        )
        pattern = jnp.clip(state.pattern + move, 0, self.network.scale)

        hit = state.hit | ((hinges <= 0).mean(1) > self.success)

        def store(all_of: jax.Array, last: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_index_in_dim(all_of, last, search, 1)

        return State(
            mask=mask,
            pattern=pattern,
            moments=(mask_moments, pattern_moments),
            constant=state.constant,
            lower=state.lower,
            hit=hit,
            masks=store(state.masks, mask),
            patterns=store(state.patterns, pattern),
            constants=store(state.constants, state.constant),
            hits=store(state.hits, hit),
        )

    def _begin(self, state: State, anew: jax.Array) -> State:
        """Another constant from scratch, if ``anew``."""
        lower = jnp.where(state.hit, state.lower, state.constant)
        # After a failure the official code goes toward the first bound, 6, whatever
        # has succeeded since.
        toward = jnp.where(state.hit, state.lower, GREATEST)
        fresh = state._replace(
            mask=jnp.zeros_like(state.mask),
            pattern=jnp.full_like(state.pattern, START),
            moments=still(state.mask, state.pattern),
            constant=(state.constant + toward) / 2,
            lower=lower,
            hit=jnp.zeros_like(state.hit),
        )
        return chosen(anew, fresh, state)

    def _hinges(
        self, mask: jax.Array, pattern: jax.Array, cases: jax.Array, shared: Images
    ) -> tuple[jax.Array, jax.Array]:
        """Sum of all hinges, and each: ``[K, N]``."""
        x_KxNxHxWxC = perturb(shared.x, mask, pattern)
        logits = self.network.logits(shared.variables, x_KxNxHxWxC)
        label_KxN = jnp.broadcast_to(cases[:, None], logits.shape[:2])
        toward = -margin(logits, label_KxN)
        other = shared.y != label_KxN
        if self.universal:
            y_KxN = jnp.broadcast_to(shared.y, label_KxN.shape)
            away = margin(logits, y_KxN)
            hinges = jnp.maximum(jnp.where(other, away, toward), -TAU)
        else:
            hinges = jnp.where(other, jnp.maximum(toward, -TAU), 0.0)
        return hinges.sum(), hinges
