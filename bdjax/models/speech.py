"""MNTD's network for spoken words (Xu et al., S&P 2021; official code)."""

import flax.linen as nn
import jax

from bdjax.models.conv import Formulation
from bdjax.models.layers import dense
from bdjax.models.lstm import LSTM
from bdjax.models.mel import mel_frames
from bdjax.models.products import Precision


class SpeechLSTM(nn.Module):
    """Mel bands, two LSTM layers of 100 cells, attention over time, FC.

    138,711 parameters for ten classes.
    """

    num_classes: int = 10
    formulation: Formulation = "auto"
    precision: Precision = "float32"
    cells: int = 100

    # Read by ``from_linen``.
    front = staticmethod(mel_frames)

    @nn.compact
    def __call__(self, x_BxN: jax.Array, *, train: bool = False) -> jax.Array:
        """Waves float ``[B, 16000]`` in [-1, 1] to logits float ``[B, classes]``.

        Or what :attr:`front` makes of waves, float ``[B, T, 40]``.
        """
        del train  # neither dropout nor batch statistics
        x = mel_frames(x_BxN) if x_BxN.ndim == 2 else x_BxN
        for name in ("lstm1", "lstm2"):
            x = LSTM(self.cells, self.precision, name=name)(x)
        weight = dense(1, self.cells, self.precision, name="attention")(x)
        x = (x * jax.nn.softmax(weight, axis=1)).sum(axis=1)
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, self.cells, self.precision, name="logits")(x)
