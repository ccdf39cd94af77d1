"""Smallest perturbations toward a label: our formulation of both of DL-TND's problems.

For a label k and a set of images that are not of k::

    min |m|_p   such that (1 - m) x + m d  is classified k,  m in [0, 1], d in the box

with one (m, d) for all images (the universal perturbation: a share of them must go to
k) or one for each. Where DL-TND searches the trade-off constant by restarts, it is
adapted here at every iteration, up while the perturbation succeeds and down while not,
so that the iterate follows the border of success and the smallest successful mask on
the way is kept. The penalty of a mask that is nowhere negative is smooth, so the exact
gradient and a projection replace the proximal step, whose strength Adam would distort.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bdjax.tnd.network import Network
from bdjax.tnd.perturb import Pair, adam, each, perturb, still
from bdjax.tnd.solver import Problem
from bdjax.types import PyTree

_STILL = 40  # iterations without a gain, after which a label is done
_GAIN = 0.99  # a size below this share of the smallest so far is a gain


class Case(NamedTuple):
    """What the problems differ in.

    Attributes:
      label: int32 ``[K]``, the candidate label.
      dense: bool ``[K]``, whether the mask's l2 norm is minimised, which suits faint
        patterns over the whole image; its l1 norm else, for patches.
      start: float32 ``[K, H, W, C]`` in the solver's range, the first pattern.
    """

    label: Any
    dense: Any
    start: Any


class Images(NamedTuple):
    """What all problems share.

    Attributes:
      variables: of the network.
      x: float32 ``[N, H, W, C]`` in the solver's range.
      y: int32 ``[N]``.
    """

    variables: PyTree
    x: Any
    y: Any


class State(NamedTuple):
    """Of K labels and G groups of images: one group, or every image its own.

    Attributes:
      mask: float32 ``[K, G, H, W, 1]``, one value a pixel for all channels, or
        ``[K, G, H, W, C]``.
      pattern: float32 ``[K, G, H, W, C]``.
      moments: of both's Adam.
      weight: float32 ``[K, G]``, of the penalty.
      size: float32 ``[K, G]``, of the smallest successful mask so far; inf without.
      best_mask: that mask.
      best_pattern: and its pattern.
      still: int32 ``[K, G]``, iterations since the size last fell.
    """

    mask: jax.Array
    pattern: jax.Array
    moments: Pair
    weight: jax.Array
    size: jax.Array
    best_mask: jax.Array
    best_pattern: jax.Array
    still: jax.Array


@dataclasses.dataclass(frozen=True)
class MinimalMask(Problem):
    """The smallest perturbation for each case; see :class:`bdjax.tnd.solver.Problem`.

    Attributes:
      network: under test.
      universal: one perturbation for all images, else one for each.
      length: iterations.
      success: share of the images that a universal one must send to the label.
      learning_rate: of mask and pattern.
      pace: factor of the penalty's weight from iteration to iteration.
      early_exit: whether cases that no longer gain stand still.
      channels: values of the mask a pixel, 1 or C.
    """

    network: Network
    universal: bool
    length: int
    success: float
    learning_rate: float
    pace: float = 1.1
    early_exit: bool = True
    channels: int = 1

    def init(self, cases: Case, shared: Images) -> State:
        """A faint veil of the start over the whole image."""
        count = len(cases.label)
        groups = 1 if self.universal else len(shared.x)
        image = shared.x.shape[1:]
        kind = shared.x.dtype
        mask = jnp.full((count, groups, *image[:2], self.channels), 0.05, kind)
        start = jnp.asarray(cases.start, mask.dtype)[:, None]
        pattern = jnp.broadcast_to(start, (count, groups, *image))
        return State(
            mask=mask,
            pattern=pattern,
            moments=still(mask, pattern),
            weight=jnp.full((count, groups), 0.01, kind),
            size=jnp.full((count, groups), jnp.inf, kind),
            best_mask=mask,
            best_pattern=pattern,
            still=jnp.zeros((count, groups), jnp.int32),
        )

    def step(self, i: jax.Array, state: State, cases: Case, shared: Images) -> State:
        """An Adam step on mask and pattern, a projection, and another weight."""
        (_, (ok, size)), (grad_mask, grad_pattern) = jax.value_and_grad(
            self._loss, argnums=(0, 1), has_aux=True
        )(state.mask, state.pattern, state.weight, cases, shared)
        better = ok & (size < state.size)
        gain = ok & (size < _GAIN * state.size)
        power = (i + 1).astype(state.mask.dtype)
        move, mask_moments = adam(
            grad_mask, state.moments[0], power, self.learning_rate, b1=0.5, b2=0.9
        )
        mask = jnp.clip(state.mask + move, 0, 1)
        scale = self.network.scale
        move, pattern_moments = adam(
            grad_pattern, state.moments[1], power, self.learning_rate * scale,
            b1=0.5, b2=0.9,
        )  # fmt: skip
        new = State(
            mask=mask,
            pattern=jnp.clip(state.pattern + move, 0, scale),
            moments=(mask_moments, pattern_moments),
            weight=state.weight * jnp.where(ok, self.pace, 1 / self.pace),
            size=jnp.where(better, size, state.size),
            best_mask=_choose(better, state.mask, state.best_mask),
            best_pattern=_choose(better, state.pattern, state.best_pattern),
            still=jnp.where(gain, 0, state.still + 1),
        )
        # By itself, so that a label's answer does not depend on its batch.
        stop = self._stop(state)
        return jax.tree.map(lambda old, new: _choose(stop, old, new), state, new)

    def done(self, state: State) -> jax.Array:
        """Bool ``[K]``: no group gains any more."""
        return self._stop(state).all(1)

    def _stop(self, state: State) -> jax.Array:
        settled = (state.still >= _STILL) & jnp.isfinite(state.size)
        return settled & self.early_exit

    def _loss(
        self,
        mask: jax.Array,
        pattern: jax.Array,
        weight_KxG: jax.Array,
        cases: Case,
        shared: Images,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """Sum over all problems; which of them succeed, and their masks' sizes."""
        x_KxNxHxWxC = perturb(shared.x, mask, pattern)
        logits = self.network.logits(shared.variables, x_KxNxHxWxC)
        label_KxN = jnp.broadcast_to(cases.label[:, None], logits.shape[:2])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label_KxN)
        hit = logits.argmax(-1) == label_KxN
        other = (shared.y != label_KxN).astype(loss.dtype)
        if self.universal:
            count = jnp.maximum(other.sum(1, keepdims=True), 1)
            loss = (loss * other).sum(1, keepdims=True) / count
            ok = (hit * other).sum(1, keepdims=True) >= self.success * count
        else:
            loss, ok = loss * other, hit | (other == 0)
        size = mask_size(mask, cases.dense)
        return (loss + weight_KxG * size).sum(), (ok, size)


def mask_size(mask: jax.Array, dense_K: jax.Array) -> jax.Array:
    """l1 or l2 norm of masks ``[K, G, H, W, C]``: float32 ``[K, G]``."""
    axes = (-3, -2, -1)
    l1 = mask.sum(axes)
    l2 = jnp.sqrt((mask**2).sum(axes) + 1e-12)
    return jnp.where(dense_K[:, None], l2, l1)


def _choose(condition_KxG: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    return jnp.where(each(condition_KxG, yes), yes, no)
