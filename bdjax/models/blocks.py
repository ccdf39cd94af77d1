"""What the larger image networks are built of."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.conv import Formulation, conv
from bdjax.models.products import Precision

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
