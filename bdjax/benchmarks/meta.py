"""Meta-training: ``mntd.fit`` and the loop that PyTorch's user writes."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import mntd, prng, tree
from bdjax.benchmarks.population import TASK, networks
from bdjax.benchmarks.timing import ABSENT, Sample, Section
from bdjax.types import Variables


@dataclasses.dataclass(frozen=True)
class Size:
    """How much work a timed run is.

    Attributes:
      shadows: models to pass over, a step each.
      passes: over the shadows, timed.
      repeats: timed runs of each contender at most; 0 for as many as fit.
    """

    shadows: int = 32
    passes: int = 4
    repeats: int = 0


QUICK = Size(shadows=16, passes=2, repeats=3)


class Bdjax:
    """Epochs of ``mntd.fit``, several repeats under one ``vmap``.

    An epoch ends on the scores of two validation shadows, which is in the time.
    """

    def __init__(self, size: Size, shadows: Variables, repeats: int):
        """Fits ``repeats`` meta-classifiers a run."""
        self.name = f"bdjax, {repeats} repeat{'s' if repeats > 1 else ''}"
        self.device = f"1 x {jax.default_backend()}"
        self._shadows, self._labels_M = shadows, labels(size.shadows)
        self._config = config(epochs=1 + size.passes, repeats=repeats)

    def run(self, seconds: float) -> Sample:
        """Fits; a unit is a step of one repeat. The first epoch is not timed."""
        del seconds
        model, _ = networks()
        ends: list[float] = []
        mntd.fit(
            [mntd.Networks(model.apply, self._shadows)],
            self._labels_M,
            [mntd.Networks(model.apply, tree.index(self._shadows, slice(2)))],
            self._labels_M[:2],
            spec=query_spec(),
            config=self._config,
            key=prng.root(0),
            callback=lambda epoch, auc: ends.append(time.perf_counter()),
        )
        steps = (len(ends) - 1) * len(self._labels_M) * self._config.repeats
        return Sample(ends[-1] - ends[0], steps)


def config(*, epochs: int, repeats: int) -> mntd.FitConfig:
    """The paper's fit: raw logits, queries that are never clipped."""
    return mntd.FitConfig(epochs=epochs, repeats=repeats, clip=False, answers="logits")


def query_spec() -> mntd.QuerySpec:
    """The task's official queries."""
    mean, std = TASK.query_init["official"]
    return mntd.QuerySpec(TASK.shape, TASK.value_range, mean, std)


def labels(shadows: int) -> np.ndarray:
    """Benign and trojaned by turns."""
    return np.arange(shadows) % 2


def random_shadows(count: int) -> Variables:
    """Stacked models with random weights, which cost what trained ones do."""
    model, _ = networks()
    keys = prng.model_keys(prng.root(0), jnp.arange(count))
    return jax.jit(jax.vmap(model.init))(keys)


def section(size: Size, rivals: Any = None) -> Section:
    """Meta-training, timed."""
    queries = config(epochs=1, repeats=1).queries
    shadows = random_shadows(size.shadows)
    return Section(
        name="meta-training",
        title=f"Meta-training (a step: {queries} queries to a shadow and back, Adam)",
        unit="step",
        contenders=[
            Bdjax(size, shadows, mntd.FitConfig().repeats),
            Bdjax(size, shadows, 1),
            *(rivals.meta(size, shadows) if rivals else ABSENT),
        ],
        repeats=size.repeats,
        rate=("steps/s", 1),
    )
