"""MNTD's convolutional networks (Xu et al., S&P 2021, appendix; official code)."""

import flax.linen as nn
import jax

from bdjax.models.conv import Formulation, conv_relu_pool
from bdjax.models.layers import dense, torch_bias, torch_kernel


class ConvReluPool(nn.Module):
    """Valid convolution, ReLU and 2x2 max-pooling on ``[C, H, W, N]`` activations."""

    features: int
    size: int
    formulation: Formulation

    @nn.compact
    def __call__(self, x_CxHxWxN: jax.Array) -> jax.Array:
        """See :func:`bdjax.models.conv.conv_relu_pool`."""
        channels = x_CxHxWxN.shape[0]
        shape = (self.size, self.size, channels, self.features)
        kernel = self.param("kernel", torch_kernel, shape)
        bias_init = torch_bias(self.size**2 * channels)
        bias = self.param("bias", bias_init, (self.features,))
        return conv_relu_pool(x_CxHxWxN, kernel, bias, formulation=self.formulation)


class MNISTNet(nn.Module):
    """MNTD's MNIST network: conv5x5-16, pool, conv5x5-32, pool, FC-512, FC.

    281,034 parameters for 28x28x1 inputs and ten classes.
    """

    num_classes: int = 10
    formulation: Formulation = "tile"

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        del train  # neither dropout nor batch statistics
        x = x_BxHxWxC.transpose(3, 1, 2, 0)
        x = ConvReluPool(16, 5, self.formulation, name="conv1")(x)
        x = ConvReluPool(32, 5, self.formulation, name="conv2")(x)
        x = x.reshape(-1, x.shape[-1]).T
        x = nn.relu(dense(512, fan_in=x.shape[-1], name="hidden")(x))
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, fan_in=512, name="logits")(x)
