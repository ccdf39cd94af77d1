"""MNTD's convolutional networks (Xu et al., S&P 2021, appendix; official code)."""

import flax.linen as nn
import jax

from bdjax.models.conv import Formulation, conv_relu
from bdjax.models.layers import Network, torch_bias, torch_kernel
from bdjax.models.products import Precision


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


class MNISTNet(Network):
    """MNTD's MNIST network: conv5x5-16, pool, conv5x5-32, pool, FC-512, FC.

    281,034 parameters for 28x28x1 inputs and ten classes.
    """

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = ConvReLU(16, 5, *self._how, pool=True, name="conv1")(x_BxHxWxC)
        x = ConvReLU(32, 5, *self._how, pool=True, name="conv2")(x)
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        return nn.relu(self._dense(512, x, "hidden"))


class CIFARNet(Network):
    """MNTD's CIFAR-10 network: conv3x3 32, 32, pool, 64, 64, pool, FC-256 twice, FC.

    Dropout of one half before the last layer. 1,182,762 parameters for 32x32x3 inputs
    and ten classes.
    """

    dropout = 0.5

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = x_BxHxWxC
        for i, features in enumerate((32, 32, 64, 64)):
            how = (*self._how, 1, i % 2 == 1)
            x = ConvReLU(features, 3, *how, name=f"conv{i + 1}")(x)
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        x = nn.relu(self._dense(256, x, "hidden1"))
        return nn.relu(self._dense(256, x, "hidden2"))


class SmallNet(Network):
    """For images from 4 pixels a side on: conv3x3-16, pool, conv3x3-32, pool, FC-64."""

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = ConvReLU(16, 3, *self._how, padding=1, pool=True, name="conv1")(x_BxHxWxC)
        x = ConvReLU(32, 3, *self._how, padding=1, pool=True, name="conv2")(x)
        x = x.reshape(len(x), -1)
        return nn.relu(self._dense(64, x, "hidden"))
