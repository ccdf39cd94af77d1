"""Residual networks for small images (He et al., CVPR 2016): 3x3 stem, no pooling."""

import flax.linen as nn
import jax

from bdjax.models.blocks import Conv, norm
from bdjax.models.conv import Formulation
from bdjax.models.layers import dense
from bdjax.models.products import Precision


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


class ResNet(nn.Module):
    """A stem, stages of residual blocks, a mean over places, a dense layer.

    The first block of every stage but the first halves height and width.

    Attributes:
      blocks: number of blocks of each stage.
      widths: features of each stage; with bottlenecks it gives four times as many.
      bottleneck: whether blocks are bottlenecks.
      stem_stride: of the first convolution.
      num_classes: number of logits.
      formulation: how convolutions are computed.
      precision: of matrix products.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck: bool = False
    stem_stride: int = 1
    num_classes: int = 10
    formulation: Formulation = "auto"
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        how = self.formulation, self.precision
        stem = Conv(self.widths[0], 3, *how, self.stem_stride, name="stem")
        x = stem(x_BxHxWxC)
        x = nn.relu(norm(train, name="stem_norm")(x))
        for s, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for b in range(blocks):
                stride = 2 if s > 0 and b == 0 else 1
                name = f"stage{s + 1}_block{b + 1}"
                block = Residual(width, stride, self.bottleneck, *how, name=name)
                x = block(x, train=train)
        x = x.mean((1, 2))
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, x.shape[1], self.precision, name="logits")(x)
