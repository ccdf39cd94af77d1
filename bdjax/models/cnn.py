"""MNTD's convolutional networks (Xu et al., S&P 2021, appendix; official code)."""

import flax.linen as nn
import jax

from bdjax.models.conv import Formulation, conv_relu
from bdjax.models.layers import dense, torch_bias, torch_kernel
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


class MNISTNet(nn.Module):
    """MNTD's MNIST network: conv5x5-16, pool, conv5x5-32, pool, FC-512, FC.

    281,034 parameters for 28x28x1 inputs and ten classes.
    """

    num_classes: int = 10
    formulation: Formulation = "auto"
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        del train  # neither dropout nor batch statistics
        how = self.formulation, self.precision
        x = ConvReLU(16, 5, *how, pool=True, name="conv1")(x_BxHxWxC)
        x = ConvReLU(32, 5, *how, pool=True, name="conv2")(x)
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        x = nn.relu(dense(512, x.shape[-1], self.precision, name="hidden")(x))
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, 512, self.precision, name="logits")(x)


class CIFARNet(nn.Module):
    """MNTD's CIFAR-10 network: conv3x3 32, 32, pool, 64, 64, pool, FC-256 twice, FC.

    Dropout of one half before the last layer. 1,182,762 parameters for 32x32x3 inputs
    and ten classes.
    """

    num_classes: int = 10
    formulation: Formulation = "auto"
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        how = self.formulation, self.precision
        x = x_BxHxWxC
        for i, features in enumerate((32, 32, 64, 64)):
            name = f"conv{i + 1}"
            x = ConvReLU(features, 3, *how, padding=1, pool=i % 2 == 1, name=name)(x)
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        x = nn.relu(dense(256, x.shape[-1], self.precision, name="hidden1")(x))
        x = nn.relu(dense(256, 256, self.precision, name="hidden2")(x))
        self.sow("intermediates", "features", x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return dense(self.num_classes, 256, self.precision, name="logits")(x)


class SmallNet(nn.Module):
    """For images from 4 pixels a side on: conv3x3-16, pool, conv3x3-32, pool, FC-64."""

    num_classes: int = 10
    formulation: Formulation = "auto"
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        del train  # neither dropout nor batch statistics
        how = self.formulation, self.precision
        x = ConvReLU(16, 3, *how, padding=1, pool=True, name="conv1")(x_BxHxWxC)
        x = ConvReLU(32, 3, *how, padding=1, pool=True, name="conv2")(x)
        x = x.reshape(len(x), -1)
        x = nn.relu(dense(64, x.shape[-1], self.precision, name="hidden")(x))
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, 64, self.precision, name="logits")(x)
