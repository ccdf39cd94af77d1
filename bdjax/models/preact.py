"""The pre-activation residual network that DL-TND was tried on (official code).

Same shape as TensorFlow's CIFAR-10 ResNet: filters 16, 16, 32, 64 and five units in
each of three stages, 32 layers, leaky ReLU of slope 0.1; 68.9 million multiply-adds an
image, padding included.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.blocks import Conv, average_pool, norm
from bdjax.models.conv import Formulation
from bdjax.models.layers import dense
from bdjax.models.products import Precision

SLOPE, EPSILON = 0.1, 1e-3


def _activate(x: jax.Array, train: bool, name: str) -> jax.Array:
    x = norm(train, epsilon=EPSILON, name=name)(x)
    return nn.leaky_relu(x, SLOPE)


class PreActivation(nn.Module):
    """Two 3x3 convolutions, each behind its normalisation and leaky ReLU.

    The shortcut has no weights: means over squares where the block strides, zeros for
    features that come new. In the very first block it starts behind the activation.
    """

    features: int
    stride: int
    first: bool
    formulation: Formulation
    precision: Precision

    @nn.compact
    def __call__(self, x_NxHxWxC: jax.Array, *, train: bool) -> jax.Array:
        """Activations to activations, ``stride`` times fewer rows and columns."""
        how = self.formulation, self.precision
        y = _activate(x_NxHxWxC, train, "norm1")
        x = y if self.first else x_NxHxWxC
        y = Conv(self.features, 3, *how, self.stride, name="conv1")(y)
        y = _activate(y, train, "norm2")
        y = Conv(self.features, 3, *how, name="conv2")(y)
        if self.stride > 1:
            x = average_pool(x, self.stride)
        new = self.features - x.shape[3]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
        return x + y


class PreActResNet(nn.Module):
    """See the module."""

    num_classes: int = 10
    formulation: Formulation = "auto"
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        how = self.formulation, self.precision
        x = Conv(16, 3, *how, name="stem")(x_BxHxWxC)
        for stage, features in enumerate((16, 32, 64), 1):
            for unit in range(1, 6):
                stride = 2 if stage > 1 and unit == 1 else 1
                name, first = f"stage{stage}_unit{unit}", stage == unit == 1
                block = PreActivation(features, stride, first, *how, name=name)
                x = block(x, train=train)
        x = _activate(x, train, "last_norm").mean((1, 2))
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, 64, self.precision, name="logits")(x)
