"""Larger networks for small images: VGG16, AlexNet and residual networks.

VGG16 (Simonyan and Zisserman, ICLR 2015), with batch normalisation, and AlexNet
(Krizhevsky et al., NeurIPS 2012) are as is common for CIFAR-10: the first ends in one
dense layer; the second has 3x3 kernels and starts with a stride of 2. Residual networks
(He et al., CVPR 2016) have a 3x3 stem and no pooling.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.conv import Formulation
from bdjax.models.layers import Conv, Network, average_pool, he_kernel, norm
from bdjax.models.pool import max_pool
from bdjax.models.products import Precision


class VGG16(Network):
    """Thirteen 3x3 convolutions in five stages, a mean over places, a dense layer.

    Every stage ends in 2x2 max-pooling, as long as there are two rows and columns.
    """

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = x_BxHxWxC
        stages = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
        for s, (features, layers) in enumerate(stages, 1):
            for i in range(1, layers + 1):
                x = Conv(features, 3, *self._how, name=f"conv{s}_{i}")(x)
                x = nn.relu(norm(train, name=f"norm{s}_{i}")(x))
            if min(x.shape[1:3]) > 1:
                x = max_pool(x)
        return x.mean((1, 2))


class AlexNet(Network):
    """Five 3x3 convolutions, dropout and two dense layers of 4096, a dense layer."""

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = x_BxHxWxC
        for i, features in enumerate((64, 192, 384, 256, 256), 1):
            stride = 2 if i == 1 else 1
            x = Conv(features, 3, *self._how, stride, use_bias=True, name=f"conv{i}")(x)
            x = nn.relu(x)
            if i in (1, 2, 5):
                x = max_pool(x)
        x = x.reshape(len(x), -1)
        for i in (1, 2):
            x = nn.Dropout(0.5, deterministic=not train)(x)
            x = nn.relu(self._dense(4096, x, f"hidden{i}", kernel_init=he_kernel))
        return x


class Residual(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1 as a bottleneck, beside a shortcut."""

    features: int
    stride: int
    bottleneck: bool
    formulation: Formulation
    precision: Precision

    @nn.compact
    def __call__(self, x_NxHxWxC: jax.Array, *, train: bool) -> jax.Array:
        """Activations to activations, ``stride`` times fewer rows and columns."""
        how = self.formulation, self.precision
        # Features, kernel size and stride of each.
        layers = [(self.features, 3, self.stride), (self.features, 3, 1)]
        if self.bottleneck:
            layers = [(self.features, 1, 1), layers[0], (4 * self.features, 1, 1)]
        y = x_NxHxWxC
        for i, (features, size, stride) in enumerate(layers, 1):
            y = nn.relu(y) if i > 1 else y
            y = Conv(features, size, *how, stride, name=f"conv{i}")(y)
            y = norm(train, name=f"norm{i}")(y)
        x = x_NxHxWxC
        if x.shape != y.shape:
            x = Conv(y.shape[3], 1, *how, self.stride, name="shortcut")(x)
            x = norm(train, name="shortcut_norm")(x)
        return nn.relu(x + y)


class ResNet(Network):
    """A stem, stages of residual blocks, a mean over places, a dense layer.

    The first block of every stage but the first halves height and width.

    Attributes:
      blocks: number of blocks of each stage.
      widths: features of each stage; with bottlenecks it gives four times as many.
      bottleneck: whether blocks are bottlenecks.
      stem_stride: of the first convolution.
    """

    blocks: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    bottleneck: bool = False
    stem_stride: int = 1

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        stem = Conv(self.widths[0], 3, *self._how, self.stem_stride, name="stem")
        x = stem(x_BxHxWxC)
        x = nn.relu(norm(train, name="stem_norm")(x))
        for s, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for b in range(blocks):
                stride = 2 if s > 0 and b == 0 else 1
                name = f"stage{s + 1}_block{b + 1}"
                block = Residual(width, stride, self.bottleneck, *self._how, name=name)
                x = block(x, train=train)
        return x.mean((1, 2))


def _activate(x: jax.Array, train: bool, name: str) -> jax.Array:
    return nn.leaky_relu(norm(train, epsilon=1e-3, name=name)(x), 0.1)


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


class PreActResNet(Network):
    """The pre-activation residual network that DL-TND was tried on (official code).

    Same shape as TensorFlow's CIFAR-10 ResNet: filters 16, 16, 32, 64 and five units in
    each of three stages, 32 layers, leaky ReLU of slope 0.1; 68.9 million multiply-adds
    an image, padding included.
    """

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = Conv(16, 3, *self._how, name="stem")(x_BxHxWxC)
        for stage, features in enumerate((16, 32, 64), 1):
            for unit in range(1, 6):
                stride = 2 if stage > 1 and unit == 1 else 1
                name, first = f"stage{stage}_unit{unit}", stage == unit == 1
                block = PreActivation(features, stride, first, *self._how, name=name)
                x = block(x, train=train)
        return _activate(x, train, "last_norm").mean((1, 2))
