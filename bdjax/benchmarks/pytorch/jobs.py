"""PyTorch as a user would start it here: contenders, and their arguments.

Imports no torch itself.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import mntd, prng, tree
from bdjax.benchmarks import meta, population
from bdjax.benchmarks.pytorch.worker import Pool, Torch, noted
from bdjax.benchmarks.timing import Absent, Contender, DidNotRunError
from bdjax.data import Dataset
from bdjax.mntd.classifier import MetaClassifier
from bdjax.models import mel
from bdjax.population import Examples, Recipe
from bdjax.population.examples import take
from bdjax.types import PRNGKey, Variables

CONSTANTS = {"speech": lambda: {"bank": mel.filter_bank(), "window": mel.hann()}}
"""Arrays that PyTorch's network has and does not train, by task."""


class Processes:
    """Rivals: one process with all threads, and single-threaded ones, one a core."""

    def __init__(self, whole: Pool, cores: Pool, scratch: str):
        """``scratch`` is a directory that goes with the processes."""
        self._whole, self._cores, self._scratch = whole, cores, scratch

    @property
    def version(self) -> str | None:
        """PyTorch's; None if it never ran."""
        return self._whole.version or None

    def matmul(self, side: int, products: int) -> list[Contender]:
        """Products of square matrices."""
        return self._both("matmul", "matmul", size=side, products=products)

    def training(self, size: population.Size) -> list[Contender]:
        """One model after another, or some at once; what compiles for long is last."""
        job = training_job(Recipe(steps=size.steps), size.task)
        rows = [
            *self._both("eager", "train", **job),
            *self._both("eager, bfloat16", "train", **job, bfloat16=True),
        ]
        if size.vmap_models:
            few = {k: v for k, v in job.items() if k not in ("task", "constants")}
            few |= {
                "models": size.vmap_models,
                "accelerator_models": size.accelerator_models,
                "steps": size.vmap_steps,
            }
            rows.append(Torch("PyTorch vmap", self._whole, "train_vmap", **few))
        name = "PyTorch compile"
        if not size.compiled:
            return [*rows, Absent(name, "left out: compiles for long")]
        job |= {"compiled_into": self._scratch}
        return [*rows, Torch(name, self._whole, "train", **job)]

    def meta(self, size: meta.Size, shadows: Variables) -> list[Contender]:
        """An Adam step a shadow, which is read from disk or in memory."""
        settings, stacked = meta.config(epochs=1, repeats=1), jax.device_get(shadows)
        job = meta_job(settings, meta_start(settings, prng.root(0))) | {
            "shadows": [
                torch_arrays(tree.index(stacked, i)) for i in range(size.shadows)
            ],
            "labels_M": meta.labels(size.shadows),
            "passes": size.passes,
        }
        disk = job | {"directory": self._scratch}
        return [
            Torch("PyTorch from disk", self._whole, "meta", **disk),
            *self._both("in memory", "meta", **job),
        ]

    def population(self, models: int, steps: int) -> float:
        """Seconds for so many models, trained and stored; 0 where that does not run."""
        job = training_job(Recipe(steps=steps))
        try:
            self._whole.ask("make", "population", "population", job)
            [(seconds, _)] = self._whole.ask("run", "population", models)
        except DidNotRunError:
            return 0.0
        return seconds

    def _both(self, name: str, job: str, **arguments: Any) -> list[Contender]:
        name = f"PyTorch {name}"
        return [
            Torch(name, self._whole, job, **arguments),
            Torch(f"{name}, per core", self._cores, job, **arguments),
        ]


@contextlib.contextmanager
def start(cores: int) -> Iterator[Processes]:
    """Starts PyTorch's processes, and ends them after."""
    with (
        tempfile.TemporaryDirectory(prefix="bdjax-bench-") as scratch,
        noted(scratch),
        contextlib.closing(Pool(1, cores)) as whole,
        contextlib.closing(Pool(cores, 1)) as single,
    ):
        for pool in (whole, single):
            with contextlib.suppress(DidNotRunError):  # its rows will say so
                pool.hello()
        yield Processes(whole, single, scratch)


def poisoned_arrays(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """One attacker's training set, triggered copies appended, as PyTorch wants it.

    Returns:
      float32 ``[N, C, H, W]`` of images, else ``[N, *shape]``; and int64 ``[N]``.
    """
    _, attack = population.networks(task=dataset.name)
    trigger = jax.jit(attack.sample)(prng.stream(prng.root(0), "trigger"))
    rows = population.shuffled_rows(dataset)[: population.EXAMPLES]
    clean, label = take(Examples(dataset.x, dataset.y), rows)
    copies = int(trigger.rate * len(rows))
    x = np.concatenate([clean, attack.apply(trigger, clean[:copies])])
    y = np.concatenate([label, attack.relabel(trigger, label[:copies])])
    return torch_inputs(x), y.astype(np.int64)


def training_job(recipe: Recipe, task: str = "mnist") -> dict[str, Any]:
    """Arguments of ``reference.Train``."""
    x, y = poisoned_arrays(population.load_images(task))
    return {
        "x_N": x,
        "y_N": y,
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "task": task,
        "constants": CONSTANTS.get(task, dict)(),
    }


def meta_start(settings: mntd.FitConfig, key: PRNGKey) -> mntd.Meta:
    """Where the repeat with this key starts in ``mntd.fit``."""
    spec = meta.query_spec()
    noise = jax.random.normal(
        prng.stream(key, "queries"), (settings.queries, *spec.shape)
    )
    answers = jnp.zeros(settings.queries * population.TASK.num_classes)
    classifier = MetaClassifier(settings.hidden).init(
        prng.stream(key, "classifier"), answers
    )
    queries = jnp.asarray(spec.mean) + jnp.asarray(spec.std) * noise
    return mntd.Meta(queries=queries, classifier=classifier)


def meta_job(settings: mntd.FitConfig, begin: mntd.Meta) -> dict[str, Any]:
    """Arguments of ``reference.Meta`` that say what ``begin`` and ``settings`` do."""
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


def torch_arrays(variables: Variables) -> dict[str, np.ndarray]:
    """A state dict for :func:`bdjax.benchmarks.pytorch.networks.network`.

    Kernels ``[K, K, C, F]`` become ``[F, C, K, K]`` and ``[in, out]`` becomes
    ``[out, in]``. Both networks flatten their activations in the order channel, row,
    column.

    Args:
      variables: one model's, of ``mntd_mnist_cnn``.
    """
    params, arrays = variables["params"], {}
    for name in ("conv1", "conv2", "hidden", "logits"):
        axes = (3, 2, 0, 1) if name.startswith("conv") else (1, 0)
        kernel = np.asarray(params[name]["kernel"]).transpose(axes)
        arrays[f"{name}.weight"] = np.ascontiguousarray(kernel)
        arrays[f"{name}.bias"] = np.array(params[name]["bias"])
    return arrays


def torch_inputs(x_B: np.ndarray) -> np.ndarray:
    """Images channels first, anything else as it is."""
    return torch_images(x_B) if x_B.ndim == 4 else x_B


def torch_images(x_BxHxWxC: np.ndarray) -> np.ndarray:
    """Channels last to channels first: float32 ``[B, C, H, W]``."""
    return np.ascontiguousarray(np.moveaxis(x_BxHxWxC, -1, 1), np.float32)
