"""Layers as PyTorch initialises them, on which MNTD's accuracies rest."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

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
