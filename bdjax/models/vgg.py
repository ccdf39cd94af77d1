"""VGG16 with batch normalisation and AlexNet, both for small images.

Both as they are common for CIFAR-10: VGG16 (Simonyan and Zisserman, ICLR 2015) ends in
one dense layer; AlexNet (Krizhevsky et al., NeurIPS 2012) has 3x3 kernels and starts
with a stride of 2.
"""

import flax.linen as nn
import jax

from bdjax.models.blocks import Conv, he_kernel, norm
from bdjax.models.conv import Formulation
from bdjax.models.layers import dense
from bdjax.models.pool import max_pool
from bdjax.models.products import Precision


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions in five stages, a mean over places, a dense layer.

    Every stage ends in 2x2 max-pooling, as long as there are two rows and columns.
    """

    num_classes: int = 10
    formulation: Formulation = "auto"
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        how, x = (self.formulation, self.precision), x_BxHxWxC
        stages = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
        for s, (features, layers) in enumerate(stages, 1):
            for i in range(1, layers + 1):
                x = Conv(features, 3, *how, name=f"conv{s}_{i}")(x)
                x = nn.relu(norm(train, name=f"norm{s}_{i}")(x))
            if min(x.shape[1:3]) > 1:
                x = max_pool(x)
        x = x.mean((1, 2))
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, 512, self.precision, name="logits")(x)


class AlexNet(nn.Module):
    """Five 3x3 convolutions, dropout and two dense layers of 4096, a dense layer."""

    num_classes: int = 10
    formulation: Formulation = "auto"
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array, *, train: bool = False) -> jax.Array:
        """Images float ``[B, H, W, C]`` in [0, 1] to logits float ``[B, classes]``."""
        how, x = (self.formulation, self.precision), x_BxHxWxC
        for i, features in enumerate((64, 192, 384, 256, 256), 1):
            stride = 2 if i == 1 else 1
            x = Conv(features, 3, *how, stride, use_bias=True, name=f"conv{i}")(x)
            x = nn.relu(x)
            if i in (1, 2, 5):
                x = max_pool(x)
        x = x.reshape(len(x), -1)
        for i in (1, 2):
            x = nn.Dropout(0.5, deterministic=not train)(x)
            x = dense(
                4096, x.shape[1], self.precision, name=f"hidden{i}",
                kernel_init=he_kernel,
            )(x)  # fmt: skip
            x = nn.relu(x)
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, 4096, self.precision, name="logits")(x)
