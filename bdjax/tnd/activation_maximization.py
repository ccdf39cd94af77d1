"""DF-TND by the gradient itself: our solver of the data-free problem.

The problem of :mod:`bdjax.tnd.sign_ascent` with three changes. Mask and pattern take
Adam steps and the pattern stays in the pixel box. The weights take multiplicative (or
projected) steps along the gradient, so that those of the neurons that answer most
grow at the expense of the others, as fast as ``weight_rate`` says. Activations are
measured in units of their mean on the seeds and the penalty by image, so that its
weight means the same for any network and number of images.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from bdjax.tnd import simplex
from bdjax.tnd.perturb import Pair, adam, chosen, perturb, still
from bdjax.tnd.sign_ascent import Seeds, Staged, over_images
from bdjax.types import PyTree

FAINT = 0.05  # of every entry of the mask at first: at 0 the pattern had no gradient


class State(NamedTuple):
    """Of R runs and G masks: one shared by the images, or every image its own.

    Attributes:
      mask: float32 ``[R, G, H, W, C]`` in [0, 1].
      pattern: likewise.
      weights: float32 ``[R, D]``.
      moments: of both's Adam.
      unit: float32 ``[R]``, mean activation of the seeds.
    """

    mask: jax.Array
    pattern: jax.Array
    weights: jax.Array
    moments: Pair
    unit: jax.Array


@dataclasses.dataclass(frozen=True)
class ActivationMaximization(Staged):
    """The gradient's version.

    Attributes:
      learning_rate: of mask and pattern.
      weight_rate: greatest exponent (mirror) or step (Euclidean) of a weight.
      geometry: of the simplex.
      shared_mask: one mask and pattern for all images from the start.
    """

    learning_rate: float
    weight_rate: float
    geometry: Literal["mirror", "euclidean"]
    shared_mask: bool

    def init(self, cases: Seeds, shared: PyTree) -> State:
        """A faint grey veil, the given weights."""
        x = cases.x[:, :1] if self.shared_mask else cases.x
        mask, pattern = jnp.full_like(x, FAINT), jnp.full_like(x, 0.5)
        # Activations of either sign, such as logits, have no mean to speak of.
        unit = jnp.abs(self.network.activations(shared, cases.x)).mean((1, 2))
        return State(
            mask=mask,
            pattern=pattern,
            weights=jnp.asarray(cases.weights),
            moments=still(mask, pattern),
            unit=jnp.maximum(unit, 1e-12),
        )

    def step(self, i: jax.Array, state: State, cases: Seeds, shared: PyTree) -> State:
        """One step uphill of all three, each brought back to where it must lie."""
        again = state._replace(
            mask=over_images(state.mask),
            pattern=over_images(state.pattern),
            moments=still(state.mask, state.pattern),
        )
        state = chosen((i == self.iterations) & (self.second > 0), again, state)
        grads = jax.grad(self._loss, (0, 1, 2))(
            state.mask, state.pattern, state.weights, state.unit, cases, shared
        )
        # The moments restart with the second stage, as does their correction.
        t = jnp.where(i < self.iterations, i, i - self.iterations)
        power = (t + 1).astype(jnp.float32)
        rate = self.learning_rate
        move, mask_moments = adam(grads[0], state.moments[0], power, rate)
        mask = jnp.clip(state.mask + move, 0, 1)
        move, pattern_moments = adam(grads[1], state.moments[1], power, rate)
        return State(
            mask=mask,
            pattern=jnp.clip(state.pattern + move, 0, 1),
            weights=self._weigh(state.weights, -grads[2]),
            moments=(mask_moments, pattern_moments),
            unit=state.unit,
        )

    def _weigh(self, weights: jax.Array, uphill: jax.Array) -> jax.Array:
        greatest = jnp.abs(uphill).max(-1, keepdims=True)
        move = self.weight_rate * uphill / jnp.maximum(greatest, 1e-30)
        if self.geometry == "mirror":
            return simplex.mirror(weights, move)
        return simplex.euclidean(weights + move)

    def _loss(
        self,
        mask: jax.Array,
        pattern: jax.Array,
        weights: jax.Array,
        unit: jax.Array,
        cases: Seeds,
        shared: PyTree,
    ) -> jax.Array:
        """Sum over the runs, to be lowered."""
        r_RxNxD = self.network.activations(shared, perturb(cases.x, mask, pattern))
        excited = jnp.einsum("rnd,rd->rn", r_RxNxD, weights).mean(1) / unit
        size = jnp.abs(mask).sum((-3, -2, -1)).mean(1)
        return (self.sparsity * size - excited).sum()
