"""Small networks of images, tables, series and spoken words: MNTD's and others.

MNTD's are of Xu et al. (S&P 2021, appendix; official code). The other image networks,
on which thresholds are measured, are as various as users' own. One a habit of the
field: tanh and average pooling (LeCun et al. 1998), normalisation of the input inside
the network, batch normalisation with dropout, a global mean with GELU, depthwise
convolutions (Howard et al. 2017), strides in place of pooling, a stack of 3x3 (Simonyan
and Zisserman 2015), no convolution at all. Sized for a CPU.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.layers import Conv, ConvReLU, Network, average_pool, norm
from bdjax.models.lstm import LSTM
from bdjax.models.mel import mel_frames
from bdjax.models.pool import max_pool


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


class LeNet(Network):
    """LeNet-5: 5x5 convolutions, tanh and average pooling twice, dense 120 and 84."""

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = x_BxHxWxC
        for i, features in enumerate((6, 16), 1):
            x = Conv(features, 5, *self._how, use_bias=True, name=f"conv{i}")(x)
            x = average_pool(nn.tanh(x), 2)
        x = x.reshape(len(x), -1)
        for i, width in enumerate((120, 84), 1):
            x = nn.tanh(self._dense(width, x, f"hidden{i}"))
        return x


class NormNet(Network):
    """Mean and deviation taken off inside; batch norm, average pooling, dropout."""

    dropout = 0.4

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = (x_BxHxWxC - 0.3) / 0.3
        for i, features in enumerate((16, 32, 32), 1):
            x = Conv(features, 3, *self._how, name=f"conv{i}")(x)
            x = nn.relu(norm(train, name=f"norm{i}")(x))
            x = max_pool(x) if i < 3 else average_pool(x, 2)
        x = nn.Dropout(0.3, deterministic=not train)(x.reshape(len(x), -1))
        return nn.relu(self._dense(64, x, "hidden"))


class GlobalNet(Network):
    """GELU after every 3x3 convolution, of which two have strides; a global mean."""

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = x_BxHxWxC
        for i, (features, stride) in enumerate(((16, 2), (32, 2), (64, 1)), 1):
            layer = Conv(
                features, 3, *self._how, stride, use_bias=True, name=f"conv{i}"
            )
            x = nn.gelu(layer(x))
        return x.mean((1, 2))


class DepthwiseNet(Network):
    """A strided stem, then depthwise 3x3 and 1x1 convolutions with batch norm."""

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = Conv(16, 3, *self._how, 2, name="stem")(x_BxHxWxC)
        x = nn.relu(norm(train, name="stem_norm")(x))
        for i, features in enumerate((32, 64, 64), 1):
            shape = (3, 3, x.shape[3])
            kernel = self.param(f"depthwise{i}", nn.initializers.normal(1 / 3), shape)
            x = nn.relu(norm(train, name=f"depth_norm{i}")(_depthwise(x, kernel)))
            x = Conv(features, 1, *self._how, name=f"pointwise{i}")(x)
            x = nn.relu(norm(train, name=f"point_norm{i}")(x))
            x = max_pool(x) if i == 1 else x
        return x.mean((1, 2))


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


class StridedNet(Network):
    """Leaky ReLU and strides of 2, no pooling, dropout before the last layer."""

    dropout = 0.5

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = x_BxHxWxC
        for i, features in enumerate((16, 32, 64), 1):
            layer = Conv(features, 3, *self._how, 2, use_bias=True, name=f"conv{i}")
            x = nn.leaky_relu(layer(x), 0.1)
        x = x.reshape(len(x), -1)
        return nn.leaky_relu(self._dense(128, x, "hidden"), 0.1)


class SlimVGG(Network):
    """Two stages of two 3x3 convolutions with batch norm and pooling, dense 128."""

    dropout = 0.5

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = max_pool(x_BxHxWxC)
        for stage, features in enumerate((16, 32), 1):
            for i in (1, 2):
                name = f"{stage}_{i}"
                x = Conv(features, 3, *self._how, name=f"conv{name}")(x)
                x = nn.relu(norm(train, name=f"norm{name}")(x))
            x = max_pool(x)
        x = x.reshape(len(x), -1)
        return nn.relu(self._dense(128, x, "hidden"))


class DropoutMLP(Network):
    """No convolution: 256 and 128 ReLUs, batch norm after the first, dropout."""

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = x_BxHxWxC.reshape(len(x_BxHxWxC), -1)
        x = self._dense(256, x, "hidden1")
        x = nn.relu(norm(train, name="norm")(x))
        x = nn.Dropout(0.3, deterministic=not train)(x)
        return nn.relu(self._dense(128, x, "hidden2"))


class WideNet(Network):
    """A 7x7 and a 3x3 convolution, both pooled, and no dense layer but the last."""

    def _penultimate(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
        x = ConvReLU(12, 7, *self._how, pool=True, name="conv1")(x_BxHxWxC)
        x = ConvReLU(24, 3, *self._how, pool=True, name="conv2")(x)
        return x.reshape(len(x), -1)


class MLP(Network):
    """Two hidden layers of 64 ReLUs; of vectors float ``[B, ...]`` in [0, 1]."""

    def _penultimate(self, x_BxD: jax.Array, train: bool) -> jax.Array:
        x = x_BxD.reshape(len(x_BxD), -1)
        for name in ("hidden1", "hidden2"):
            x = nn.relu(self._dense(64, x, name))
        return x


class SeriesLSTM(Network):
    """An LSTM of 32 cells, and FC on what it says at the last time step.

    Of series float ``[B, T]`` or ``[B, T, C]``.
    """

    def _penultimate(self, x_BxT: jax.Array, train: bool) -> jax.Array:
        x = x_BxT.reshape(*x_BxT.shape[:2], -1)
        return LSTM(32, self.precision, name="lstm")(x)[:, -1]


class SpeechLSTM(Network):
    """MNTD's: mel bands, two LSTM layers of 100 cells, attention over time, FC.

    Of waves float ``[B, 16000]`` in [-1, 1], or of what :attr:`front` makes of them,
    float ``[B, T, 40]``. 138,711 parameters for ten classes.
    """

    # Read by ``from_linen``.
    front = staticmethod(mel_frames)

    def _penultimate(self, x_BxN: jax.Array, train: bool) -> jax.Array:
        x = mel_frames(x_BxN) if x_BxN.ndim == 2 else x_BxN
        for name in ("lstm1", "lstm2"):
            x = LSTM(100, self.precision, name=name)(x)
        weight = self._dense(1, x, "attention")
        return (x * jax.nn.softmax(weight, axis=1)).sum(axis=1)
