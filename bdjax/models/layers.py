"""Layers as PyTorch initialises them, on which MNTD's accuracies rest."""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.conv import Formulation
from bdjax.models.products import Precision, matmul
from bdjax.types import PRNGKey

# PyTorch's default for kernels: uniform in +-1/sqrt(fan_in).
torch_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def torch_bias(fan_in: int) -> nn.initializers.Initializer:
    """PyTorch's default for biases: uniform in +-1/sqrt(fan_in) of their kernel."""
    bound = fan_in**-0.5

    def init(key: PRNGKey, shape: Sequence[int], dtype: Any = None) -> jax.Array:
        return jax.random.uniform(key, shape, dtype or jnp.float32, -bound, bound)

    return init


def dense(
    features: int,
    fan_in: int,
    precision: Precision = "float32",
    *,
    name: str,
    **options: Any,
) -> nn.Dense:
    """A dense layer with PyTorch's default initialisation; ``options`` override it."""
    torch = {"kernel_init": torch_kernel, "bias_init": torch_bias(fan_in)}

    def dot_general(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
        y = matmul(x.reshape(-1, fan_in), kernel, precision)
        return y.reshape(*x.shape[:-1], features)

    return nn.Dense(features, name=name, dot_general=dot_general, **(torch | options))


class Network(nn.Module):
    """What the networks of the zoo share: their fields, and how they end.

    Each says by ``_penultimate(x, train)`` what its last layer reads, float ``[B, D]``.

    Attributes:
      num_classes: number of logits.
      formulation: how convolutions are computed, see :mod:`bdjax.models.conv`.
      precision: of products, see :mod:`bdjax.models.products`.
      dropout: share of the penultimate activations that training drops.
    """

    num_classes: int = 10
    formulation: Formulation = "auto"
    precision: Precision = "float32"
    dropout: ClassVar[float] = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Inputs float ``[B, ...]`` to logits float ``[B, classes]``.

        Images are ``[B, H, W, C]`` in [0, 1].
        """
        x = self._penultimate(x, train)
        self.sow("intermediates", "features", x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return self._dense(self.num_classes, x, "logits")

    def _penultimate(self, x: jax.Array, train: bool) -> jax.Array:
        raise NotImplementedError

    def _dense(
        self, features: int, x: jax.Array, name: str, **options: Any
    ) -> jax.Array:
        layer = dense(features, x.shape[-1], self.precision, name=name, **options)
        return layer(x)

    @property
    def _how(self) -> tuple[Formulation, Precision]:
        return self.formulation, self.precision
