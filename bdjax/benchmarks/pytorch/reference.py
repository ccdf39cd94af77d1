"""The same work in PyTorch, written as its user would, with every doubt in its favour.

Poisoned data are made up front and lie in memory; a batch is an index into them, with
neither ``DataLoader`` nor copies from the host; Adam is the fused one. Imports torch,
so only the workers (:mod:`bdjax.benchmarks.pytorch.worker`) and tests import this.
"""

import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bdjax.benchmarks.pytorch.networks import network

CHANNELS_LAST = torch.channels_last
Weights = Mapping[str, np.ndarray]


def device() -> torch.device:
    """The GPU if PyTorch has one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def state_dict(weights: Weights) -> dict[str, torch.Tensor]:
    """Arrays of :func:`bdjax.benchmarks.pytorch.jobs.torch_arrays` as tensors."""
    return {name: torch.from_numpy(array) for name, array in weights.items()}


def train(
    net: Callable[[torch.Tensor], torch.Tensor],
    x_N: torch.Tensor,
    y_N: torch.Tensor,
    row_SxB: torch.Tensor,
    *,
    learning_rate: float,
    parameters: Sequence[nn.Parameter],
    bfloat16: bool = False,
    end: float = math.inf,
) -> torch.Tensor:
    """An Adam step a row of ``row_SxB``; returns the losses before each, ``[S]``.

    There is one step at least, and none begins after ``end``.
    """
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    losses = []
    mixed = torch.autocast(device().type, dtype=torch.bfloat16, enabled=bfloat16)
    for row_B in row_SxB:
        with mixed:
            logits = net(x_N[row_B])
        loss = nn.functional.cross_entropy(logits.float(), y_N[row_B])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if time.perf_counter() >= end:
            break
    return torch.stack(losses)


class Train:
    """Training of one model, then another, and so on."""

    def __init__(
        self,
        x_N: np.ndarray,
        y_N: np.ndarray,
        *,
        steps: int,
        batch_size: int,
        learning_rate: float,
        compiled_into: str = "",
        bfloat16: bool = False,
        task: str = "mnist",
        constants: Weights | None = None,
    ):
        """Makes the network; compiles it if there is a directory for the programs.

        ``constants`` are those of its arrays that are not trained.
        """
        self._bfloat16 = bfloat16
        # Faster on a CPU than the defaults, as is fused Adam.
        self._x = torch.from_numpy(x_N).to(device())
        if self._x.ndim == 4:
            self._x = self._x.to(memory_format=CHANNELS_LAST)
        self._y = torch.from_numpy(y_N).to(device())
        self._steps, self._batch_size = steps, batch_size
        self._learning_rate = learning_rate
        self._net = network(task)
        self._net.load_state_dict(state_dict(constants or {}), strict=False)
        self._net.to(device())
        for parameter in self._net.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.to(memory_format=CHANNELS_LAST)
        self._forward: Callable[..., torch.Tensor] = self._net
        if compiled_into:
            # A new directory in every benchmark: no program of an earlier one helps.
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = compiled_into
            self._forward = torch.compile(self._net)

    def run(self, limit: float = math.inf) -> tuple[float, float]:
        """Trains a model; a unit is a step."""
        for layer in self._net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.LSTM):
                layer.reset_parameters()
        start = _now()
        losses = train(
            self._forward,
            self._x,
            self._y,
            shuffled(len(self._x), self._steps, self._batch_size).to(device()),
            learning_rate=self._learning_rate,
            parameters=list(self._net.parameters()),
            bfloat16=self._bfloat16,
            end=start + limit,
        )
        return _now() - start, len(losses)


class Population(Train):
    """A population, trained model after model and saved, a file a model."""

    def run(self, models: float = 1) -> tuple[float, float]:
        """Trains so many models; a unit is one of them."""
        start = _now()
        with tempfile.TemporaryDirectory(prefix="bdjax-bench-") as directory:
            for i in range(int(models)):
                super().run()
                torch.save(self._net.state_dict(), Path(directory) / f"{i}.pt")
        return _now() - start, models


class TrainVmap:
    """Training of several models at once under ``torch.func.vmap``."""

    def __init__(
        self, x_N: np.ndarray, y_N: np.ndarray, *, models: int, accelerator_models: int,
        steps: int, batch_size: int, learning_rate: float,
    ):  # fmt: skip
        """As for :class:`Train`; ``models`` at once, more on an accelerator."""
        self._x, self._y = (torch.from_numpy(a).to(device()) for a in (x_N, y_N))
        self._models = accelerator_models if device().type == "cuda" else models
        self._shape, self._learning_rate = (steps, batch_size), learning_rate

    def run(self, limit: float) -> tuple[float, float]:
        """Trains the models; a unit is a step of one model."""
        nets = [network().to(device()) for _ in range(self._models)]
        parameters, _ = torch.func.stack_module_state(nets)
        optimizer = torch.optim.Adam(
            parameters.values(), lr=self._learning_rate, fused=True
        )

        def loss_fn(parameters, x, y):
            logits = torch.func.functional_call(nets[0], parameters, (x,))
            return nn.functional.cross_entropy(logits, y)

        grad = torch.func.vmap(torch.func.grad(loss_fn))
        rows = [shuffled(len(self._x), *self._shape) for _ in nets]
        start, steps = _now(), 0
        for row_MxB in torch.stack(rows, dim=1).to(device()):
            detached = {name: p.detach() for name, p in parameters.items()}
            grads = grad(detached, self._x[row_MxB], self._y[row_MxB])
            for name, parameter in parameters.items():
                parameter.grad = grads[name]
            optimizer.step()
            steps += self._models
            if _now() - start >= limit:
                break
        return _now() - start, steps


def shuffled(examples: int, steps: int, batch_size: int) -> torch.Tensor:
    """Reshuffled epochs, joined end to end: int64 ``[steps, batch_size]``."""
    epochs = -(-steps * batch_size // examples)
    order = torch.cat([torch.randperm(examples) for _ in range(epochs)])
    return order[: steps * batch_size].reshape(steps, batch_size)


class Meta:
    """Meta-training: queries and classifier, one shadow model an Adam step."""

    def __init__(
        self,
        shadows: Sequence[Weights],
        labels_M: np.ndarray,
        queries: np.ndarray,
        classifier: Weights,
        *,
        learning_rate: float,
        passes: int,
        directory: str = "",
    ):
        """Keeps the shadows in memory, or in ``directory`` if there is one."""
        self._labels = torch.from_numpy(labels_M).float().to(device())
        self._queries = torch.tensor(queries, device=device(), requires_grad=True)
        answers, hidden = classifier["0.weight"].shape[::-1]
        self._classifier = nn.Sequential(
            nn.Linear(answers, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )
        self._classifier.load_state_dict(state_dict(classifier))
        self._classifier.to(device())
        self._optimizer = torch.optim.Adam(
            [self._queries, *self._classifier.parameters()],
            lr=learning_rate,
            fused=True,
        )
        self._passes = passes
        # The official code computes gradients of the shadows' weights too, unused.
        self._nets = [network().requires_grad_(False).to(device()) for _ in shadows]
        for net, shadow in zip(self._nets, shadows, strict=True):
            net.load_state_dict(state_dict(shadow))
        self._directory = directory
        for i, net in enumerate(self._nets if directory else []):
            torch.save(net.state_dict(), self._path(i))

    def run(self, limit: float) -> tuple[float, float]:
        """Passes over the shadows in random order; a unit is a step."""
        start, steps = _now(), 0
        while steps < self._passes * len(self._nets):
            self.steps(order := torch.randperm(len(self._nets)).tolist())
            steps += len(order)
            if _now() - start >= limit:
                break
        return _now() - start, steps

    def steps(self, order: Sequence[int]) -> None:
        """One Adam step on each of the shadows ``order``."""
        for i in order:
            score = self.score(i)
            loss = nn.functional.binary_cross_entropy_with_logits(
                score, self._labels[i]
            )
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()

    def score(self, i: int) -> torch.Tensor:
        """The classifier's score of shadow ``i``; float scalar."""
        net = self._nets[i]
        if self._directory:
            net.load_state_dict(torch.load(self._path(i), map_location=device()))
        return self._classifier(net(self._queries).reshape(-1)).squeeze()

    def _path(self, i: int) -> Path:
        return Path(self._directory) / f"{i}.pt"


class Matmul:
    """Products of square float32 matrices."""

    def __init__(self, *, size: int, products: int):
        """Makes the matrices."""
        self._a = torch.rand(size, size, device=device())
        self._b = torch.rand(size, size, device=device()) / size
        self._products = products

    def run(self, limit: float) -> tuple[float, float]:
        """Multiplies; a unit is a product."""
        del limit
        start, a = _now(), self._a
        for _ in range(self._products):
            a = a @ self._b
        return _now() - start, self._products


# A job is made once, outside the timing; ``run(limit)`` does it, or as much of it as
# takes ``limit`` seconds, and returns the seconds and the units of work done in them.
JOBS: dict[str, type] = {
    "train": Train,
    "train_vmap": TrainVmap,
    "meta": Meta,
    "population": Population,
    "matmul": Matmul,
}


def _now() -> float:
    if device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
