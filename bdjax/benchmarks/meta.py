"""Meta-training: ``mntd.fit`` and the loop that PyTorch's user writes."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import mntd, prng, tree
from bdjax.benchmarks.layout import torch_arrays, torch_images
from bdjax.benchmarks.population import TASK, networks
from bdjax.benchmarks.timing import Contender, Sample, Section
from bdjax.benchmarks.torch_worker import Pools
from bdjax.mntd.classifier import MetaClassifier
from bdjax.types import PRNGKey, Variables


@dataclasses.dataclass(frozen=True)
class Size:
    """How much work a timed run is.

    Attributes:
      shadows: models to pass over, a step each.
      passes: over the shadows, timed.
      repeats: timed runs of each contender.
    """

    shadows: int = 32
    passes: int = 4
    repeats: int = 5


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

    def run(self) -> Sample:
        """Fits; a unit is a step of one repeat. The first epoch is not timed."""
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


def start(settings: mntd.FitConfig, key: PRNGKey) -> mntd.Meta:
    """Where the repeat with this key starts in ``mntd.fit``."""
    spec = query_spec()
    noise = jax.random.normal(
        prng.stream(key, "queries"), (settings.queries, *spec.shape)
    )
    answers = jnp.zeros(settings.queries * TASK.num_classes)
    classifier = MetaClassifier(settings.hidden).init(
        prng.stream(key, "classifier"), answers
    )
    queries = jnp.asarray(spec.mean) + jnp.asarray(spec.std) * noise
    return mntd.Meta(queries=queries, classifier=classifier)


def torch_job(settings: mntd.FitConfig, begin: mntd.Meta) -> dict[str, Any]:
    """Arguments of the PyTorch job that say what ``begin`` and ``settings`` do."""
    layers = begin.classifier["params"]
    classifier = {}
    for i, name in enumerate(("hidden", "score")):
        classifier[f"{2 * i}.weight"] = np.array(layers[name]["kernel"]).T.copy()
        classifier[f"{2 * i}.bias"] = np.array(layers[name]["bias"])
    return {
        "queries": torch_images(np.asarray(begin.queries)),
        "classifier": classifier,
        "learning_rate": settings.learning_rate,
    }


def section(size: Size, pools: Pools) -> Section:
    """Meta-training, timed."""
    queries = config(epochs=1, repeats=1).queries
    return Section(
        name="meta-training",
        title=f"Meta-training (a step: {queries} queries to a shadow and back, Adam)",
        unit="step",
        contenders=_contenders(size, pools),
        repeats=size.repeats,
        rate=("steps/s", 1),
    )


def _contenders(size: Size, pools: Pools) -> list[Contender]:
    shadows = random_shadows(size.shadows)
    settings = config(epochs=1, repeats=1)
    arguments = torch_job(settings, start(settings, prng.root(0)))
    on_host = jax.device_get(shadows)
    arguments |= {
        "shadows": [torch_arrays(tree.index(on_host, i)) for i in range(size.shadows)],
        "labels_M": labels(size.shadows),
        "passes": size.passes,
    }
    return [
        Bdjax(size, shadows, mntd.FitConfig().repeats),
        Bdjax(size, shadows, 1),
        pools.contender("from disk", "meta", directory=pools.scratch, **arguments),
        pools.contender("in memory", "meta", **arguments),
        pools.contender("in memory", "meta", per_core=True, **arguments),
    ]
