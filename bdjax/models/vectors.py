"""Networks for tables and short series, of our own making."""

import flax.linen as nn
import jax

from bdjax.models.conv import Formulation
from bdjax.models.layers import dense
from bdjax.models.lstm import LSTM
from bdjax.models.products import Precision


class MLP(nn.Module):
    """Two hidden layers of 64 ReLUs."""

    num_classes: int = 2
    formulation: Formulation = "auto"
    precision: Precision = "float32"
    width: int = 64

    @nn.compact
    def __call__(self, x_BxD: jax.Array, *, train: bool = False) -> jax.Array:
        """Vectors float ``[B, ...]`` in [0, 1] to logits float ``[B, classes]``."""
        del train  # neither dropout nor batch statistics
        x = x_BxD.reshape(len(x_BxD), -1)
        for name in ("hidden1", "hidden2"):
            x = nn.relu(dense(self.width, x.shape[-1], self.precision, name=name)(x))
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, self.width, self.precision, name="logits")(x)


class SeriesLSTM(nn.Module):
    """An LSTM of 32 cells, and FC on what it says at the last time step."""

    num_classes: int = 2
    formulation: Formulation = "auto"
    precision: Precision = "float32"
    cells: int = 32

    @nn.compact
    def __call__(self, x_BxT: jax.Array, *, train: bool = False) -> jax.Array:
        """Series float ``[B, T]`` or ``[B, T, C]`` to logits float ``[B, classes]``."""
        del train  # neither dropout nor batch statistics
        x = x_BxT.reshape(*x_BxT.shape[:2], -1)
        x = LSTM(self.cells, self.precision, name="lstm")(x)[:, -1]
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, self.cells, self.precision, name="logits")(x)
