"""Small image networks as various as users' own: what thresholds are measured on.

One a habit of the field: tanh and average pooling (LeCun et al. 1998), normalisation of
the input inside the network, batch normalisation with dropout, a global mean with GELU,
depthwise convolutions (Howard et al. 2017), strides in place of pooling, a stack of 3x3
(Simonyan and Zisserman 2015), no convolution at all. Sized for a CPU.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.blocks import Conv, average_pool, norm
from bdjax.models.cnn import ConvReLU
from bdjax.models.conv import Formulation
from bdjax.models.layers import dense
from bdjax.models.pool import max_pool
from bdjax.models.products import Precision


class Varied(nn.Module):
    """What these networks share: their fields, and how they end."""

    num_classes: int = 10
    formulation: Formulation = "auto"
    precision: Precision = "float32"

    @property
    def how(self) -> tuple[Formulation, Precision]:
        """Of convolutions."""
        return self.formulation, self.precision

    def answer(self, x_BxD: jax.Array, train: bool, dropout: float = 0.0) -> jax.Array:
        """Logits of the penultimate activations, which are recorded."""
        self.sow("intermediates", "features", x_BxD)
        x = nn.Dropout(dropout, deterministic=not train)(x_BxD)
        return dense(self.num_classes, x.shape[-1], self.precision, name="logits")(x)


class LeNet(Varied):
    """LeNet-5: 5x5 convolutions, tanh and average pooling twice, dense 120 and 84."""

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        x = x_BxHxWxC
        for i, features in enumerate((6, 16), 1):
            x = Conv(features, 5, *self.how, use_bias=True, name=f"conv{i}")(x)
            x = average_pool(nn.tanh(x), 2)
        x = x.reshape(len(x), -1)
        for i, width in enumerate((120, 84), 1):
            x = nn.tanh(dense(width, x.shape[1], self.precision, name=f"hidden{i}")(x))
        return self.answer(x, train)


class NormNet(Varied):
    """Mean and deviation taken off inside; batch norm, average pooling, dropout."""

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        x = (x_BxHxWxC - 0.3) / 0.3
        for i, features in enumerate((16, 32, 32), 1):
            x = Conv(features, 3, *self.how, name=f"conv{i}")(x)
            x = nn.relu(norm(train, name=f"norm{i}")(x))
            x = max_pool(x) if i < 3 else average_pool(x, 2)
        x = nn.Dropout(0.3, deterministic=not train)(x.reshape(len(x), -1))
        x = nn.relu(dense(64, x.shape[1], self.precision, name="hidden")(x))
        return self.answer(x, train, dropout=0.4)


class GlobalNet(Varied):
    """GELU after every 3x3 convolution, of which two have strides; a global mean."""

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        x = x_BxHxWxC
        for i, (features, stride) in enumerate(((16, 2), (32, 2), (64, 1)), 1):
            layer = Conv(features, 3, *self.how, stride, use_bias=True, name=f"conv{i}")
            x = nn.gelu(layer(x))
        return self.answer(x.mean((1, 2)), train)


class DepthwiseNet(Varied):
    """A strided stem, then depthwise 3x3 and 1x1 convolutions with batch norm."""

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        x = Conv(16, 3, *self.how, 2, name="stem")(x_BxHxWxC)
        x = nn.relu(norm(train, name="stem_norm")(x))
        for i, features in enumerate((32, 64, 64), 1):
            shape = (3, 3, x.shape[3])
            kernel = self.param(f"depthwise{i}", nn.initializers.normal(1 / 3), shape)
            x = nn.relu(norm(train, name=f"depth_norm{i}")(_depthwise(x, kernel)))
            x = Conv(features, 1, *self.how, name=f"pointwise{i}")(x)
            x = nn.relu(norm(train, name=f"point_norm{i}")(x))
            x = max_pool(x) if i == 1 else x
        return self.answer(x.mean((1, 2)), train)


def _depthwise(x_NxHxWxC: jax.Array, kernel_3x3xC: jax.Array) -> jax.Array:
    """A 3x3 convolution of every channel by itself, as nine products."""
    # Elementwise: a grouped convolution's gradient is slow in XLA's loops.
    height, width = x_NxHxWxC.shape[1:3]
    x = jnp.pad(x_NxHxWxC, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [(i, j) for i in range(3) for j in range(3)]
    return sum(
        (x[:, i : i + height, j : j + width] * kernel_3x3xC[i, j] for i, j in shifts),
        jnp.zeros_like(x_NxHxWxC),
    )


class StridedNet(Varied):
    """Leaky ReLU and strides of 2, no pooling, dropout before the last layer."""

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        x = x_BxHxWxC
        for i, features in enumerate((16, 32, 64), 1):
            layer = Conv(features, 3, *self.how, 2, use_bias=True, name=f"conv{i}")
            x = nn.leaky_relu(layer(x), 0.1)
        x = x.reshape(len(x), -1)
        x = nn.leaky_relu(dense(128, x.shape[1], self.precision, name="hidden")(x), 0.1)
        return self.answer(x, train, dropout=0.5)


class SlimVGG(Varied):
    """Two stages of two 3x3 convolutions with batch norm and pooling, dense 128."""

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        x = max_pool(x_BxHxWxC)
        for stage, features in enumerate((16, 32), 1):
            for i in (1, 2):
                name = f"{stage}_{i}"
                x = Conv(features, 3, *self.how, name=f"conv{name}")(x)
                x = nn.relu(norm(train, name=f"norm{name}")(x))
            x = max_pool(x)
        x = x.reshape(len(x), -1)
        x = nn.relu(dense(128, x.shape[1], self.precision, name="hidden")(x))
        return self.answer(x, train, dropout=0.5)


class DropoutMLP(Varied):
    """No convolution: 256 and 128 ReLUs, batch norm after the first, dropout."""

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        x = x_BxHxWxC.reshape(len(x_BxHxWxC), -1)
        x = dense(256, x.shape[1], self.precision, name="hidden1")(x)
        x = nn.relu(norm(train, name="norm")(x))
        x = nn.Dropout(0.3, deterministic=not train)(x)
        x = nn.relu(dense(128, 256, self.precision, name="hidden2")(x))
        return self.answer(x, train)


class WideNet(Varied):
    """A 7x7 and a 3x3 convolution, both pooled, and no dense layer but the last."""

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        x = ConvReLU(12, 7, *self.how, pool=True, name="conv1")(x_BxHxWxC)
        x = ConvReLU(24, 3, *self.how, pool=True, name="conv2")(x)
        return self.answer(x.reshape(len(x), -1), train)
