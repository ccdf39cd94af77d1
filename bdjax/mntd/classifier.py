"""The meta-classifier: a network's answers to the query set -> one score."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from bdjax.models.layers import dense
from bdjax.types import PyTree


class MetaClassifier(nn.Module):
    """FC, ReLU, FC to one score (Xu et al., S&P 2021, section V).

    The official one-class classifier's output layer has no bias and starts at
    N(0, 1e-6); the binary one is PyTorch's default throughout.
    """

    hidden: int
    one_class: bool = False

    @nn.compact
    def __call__(self, answers: jax.Array) -> jax.Array:
        """Logits of all queries, joined, float ``[..., Q * C]``, to float ``[...]``."""
        hidden = dense(self.hidden, fan_in=answers.shape[-1], name="hidden")
        options: dict[str, Any] = {}
        if self.one_class:
            options = {"use_bias": False, "kernel_init": nn.initializers.normal(1e-3)}
        score = dense(1, fan_in=self.hidden, name="score", **options)
        x = score(nn.relu(hidden(answers)))
        return x[..., 0]


class Meta(NamedTuple):
    """What a fit optimises; a pytree that stacks along repeats.

    Attributes:
      queries: float32 ``[Q, H, W, C]``, the query set.
      classifier: variables of :class:`MetaClassifier`.
    """

    queries: jax.Array | np.ndarray
    classifier: PyTree
