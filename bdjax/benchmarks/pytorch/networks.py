"""MNTD's networks in PyTorch, as its user would write them.

Imports torch, so only :mod:`bdjax.benchmarks.pytorch.reference` imports this.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn


def network(task: str = "mnist") -> nn.Module:
    """MNTD's network for a task of :data:`NETWORKS`; layers are named as bdjax's."""
    return NETWORKS[task]()


def _cifar_network() -> nn.Sequential:
    layers: list[tuple[str, nn.Module]] = []
    for i, (c, f) in enumerate([(3, 32), (32, 32), (32, 64), (64, 64)], 1):
        layers += [(f"conv{i}", nn.Conv2d(c, f, 3, padding=1)), (f"relu{i}", nn.ReLU())]
        if i % 2 == 0:
            layers.append((f"pool{i}", nn.MaxPool2d(2)))
    layers += [
        ("flatten", nn.Flatten()),
        ("hidden1", nn.Linear(4096, 256)),
        ("relu5", nn.ReLU()),
        ("hidden2", nn.Linear(256, 256)),
        ("relu6", nn.ReLU()),
        ("dropout", nn.Dropout(0.5)),
        ("logits", nn.Linear(256, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


def _mnist_network() -> nn.Sequential:
    layers = [
        ("conv1", nn.Conv2d(1, 16, 5)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(16, 32, 5)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("hidden", nn.Linear(512, 512)),
        ("relu3", nn.ReLU()),
        ("logits", nn.Linear(512, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


class _SpeechNetwork(nn.Module):
    """Mel bands, two LSTM layers, attention over time; takes waves ``[B, 16000]``.

    Its filters and window are given with the job, as they are bdjax's.
    """

    bank: torch.Tensor
    window: torch.Tensor

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(40, 100, num_layers=2, batch_first=True)
        self.attention = nn.Linear(100, 1)
        self.logits = nn.Linear(100, 10)
        self.register_buffer("bank", torch.zeros(40, 1025))
        self.register_buffer("window", torch.zeros(2048))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(x, 2048, 512, window=self.window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        bands = (self.bank @ power).clamp_min(1e-10)
        frames = (10 * bands.log10() + 50) / 50
        hidden, _ = self.lstm(frames.transpose(1, 2))
        weight = self.attention(hidden).softmax(dim=1)
        return self.logits((weight * hidden).sum(dim=1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mnist": _mnist_network,
    "cifar10": _cifar_network,
    "speech": _SpeechNetwork,
}
"""Name of a task -> its network's builder."""
