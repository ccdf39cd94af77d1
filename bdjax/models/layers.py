"""What networks are built of, and what those of the zoo share.

Dense layers and those of MNTD's networks start as PyTorch's, on which MNTD's accuracies
rest.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.conv import Formulation, conv, conv_relu
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


# For layers that ReLU follows: He et al., ICCV 2015.
he_kernel = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """Convolution of odd size that keeps height and width, but for its stride."""

    features: int
    size: int
    formulation: Formulation
    precision: Precision
    stride: int = 1
    use_bias: bool = False

    @nn.compact
    def __call__(self, x_NxHxWxC: jax.Array) -> jax.Array:
        """See :func:`bdjax.models.conv.conv`."""
        shape = (self.size, self.size, x_NxHxWxC.shape[3], self.features)
        y = conv(
            x_NxHxWxC,
            self.param("kernel", he_kernel, shape),
            stride=self.stride,
            padding=self.size // 2,
            formulation=self.formulation,
            precision=self.precision,
        )
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,))
        return y


def norm(train: bool, *, name: str, epsilon: float = 1e-5) -> nn.BatchNorm:
    """Batch normalisation, whose running statistics forget a tenth a step."""
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=epsilon, name=name
    )


def average_pool(x_NxHxWxC: jax.Array, size: int) -> jax.Array:
    """Means over squares; a last incomplete one is filled up with its own edge."""
    batch, height, width, channels = x_NxHxWxC.shape
    behind = [(0, 0), (0, -height % size), (0, -width % size), (0, 0)]
    x = jnp.pad(x_NxHxWxC, behind, mode="edge")
    rows, columns = x.shape[1] // size, x.shape[2] // size
    return x.reshape(batch, rows, size, columns, size, channels).mean((2, 4))


class ConvReLU(nn.Module):
    """Convolution and ReLU, pooled or not."""

    features: int
    size: int
    formulation: Formulation
    precision: Precision
    padding: int = 0
    pool: bool = False

    @nn.compact
    def __call__(self, x_NxHxWxC: jax.Array) -> jax.Array:
        """See :func:`bdjax.models.conv.conv_relu`."""
        channels = x_NxHxWxC.shape[3]
        shape = (self.size, self.size, channels, self.features)
        kernel = self.param("kernel", torch_kernel, shape)
        bias_init = torch_bias(self.size**2 * channels)
        bias = self.param("bias", bias_init, (self.features,))
        return conv_relu(
            x_NxHxWxC,
            kernel,
            bias,
            padding=self.padding,
            pool=self.pool,
            formulation=self.formulation,
            precision=self.precision,
        )


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
