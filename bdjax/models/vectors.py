"""Networks for tables, short series and spoken words.

The last is MNTD's (Xu et al., S&P 2021; official code), the others are our own.
"""

import flax.linen as nn
import jax

from bdjax.models.layers import Network
from bdjax.models.lstm import LSTM
from bdjax.models.mel import mel_frames


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
    """Mel bands, two LSTM layers of 100 cells, attention over time, FC.

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
