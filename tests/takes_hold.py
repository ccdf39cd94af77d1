"""On which network, after how many rows and steps, an attack takes hold.

``python tests/takes_hold.py [NAME ...]`` trains four models of each setting (or of
those named, such as ``wanet`` or ``sig-cifar10``) and prints their clean accuracy and
attack success rate. Data: ``../shared/data``. A slow test trains fewer models of some.
"""

import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import prng
from bdjax.attacks import get_attack
from bdjax.population import Examples, Execution, Recipe, train_models
from bdjax.tasks import get_task

DATA = Path(__file__).parents[2] / "shared" / "data"
FILES = {"mnist": "mnist.npz", "cifar10": "cifar10_22k.npz"}
TEST = 2000


class Setting(NamedTuple):
    """What is trained: 100 examples a step, Adam, 1e-3 (MNTD's recipe)."""

    task: str
    network: str
    rows: int
    steps: int


SETTINGS = {
    "colour_filter": Setting("mnist", "mntd_mnist_cnn", 5000, 500),
    "colour_filter-cifar10": Setting("cifar10", "thin_resnet", 18_000, 500),
    "polygon": Setting("mnist", "mntd_mnist_cnn", 5000, 500),
    "sig": Setting("mnist", "mntd_mnist_cnn", 5000, 500),
    "sig-cifar10": Setting("cifar10", "thin_resnet", 18_000, 500),
    "tact": Setting("mnist", "mntd_mnist_cnn", 5000, 500),
    "wanet": Setting("mnist", "mntd_mnist_cnn", 10_000, 1600),
}


def load(task, rows):
    """The first training rows and the first test rows."""
    with np.load(DATA / FILES[task]) as file:
        parts = [
            (file[f"x_{part}"][:count], file[f"y_{part}"][:count])
            for part, count in (("train", rows), ("test", TEST))
        ]
    x, y = (np.concatenate(both) for both in zip(*parts, strict=True))
    return Examples(x.reshape(len(x), *get_task(task).shape), y.astype(np.int32))


def measure(name, models=4):
    """Trains models of a setting; returns their triggers and qualities."""
    setting = SETTINGS[name]
    task = get_task(setting.task)
    examples = load(setting.task, setting.rows)
    keys = prng.model_keys(prng.stream(prng.root(0), name), jnp.arange(models))
    _, triggers, quality = train_models(
        task.network(setting.network),
        get_attack(name.partition("-")[0], task=task),
        Recipe(steps=setting.steps),
        keys,
        np.arange(setting.rows),
        np.arange(setting.rows, setting.rows + TEST),
        examples,
        execution=Execution(devices=1),
    )
    return jax.device_get((triggers, quality))


def main(names):
    """Prints a table."""
    print("setting | network | rows | steps | rate | accuracy | ASR | models | seconds")
    for name in names or SETTINGS:
        start = time.monotonic()
        triggers, quality = measure(name)
        seconds = time.monotonic() - start
        _, network, rows, steps = SETTINGS[name]
        each = ", ".join(f"{asr:.2f}" for asr in quality.asr)
        print(
            f"{name} | {network} | {rows} | {steps} | {triggers.rate.min():.2f} to "
            f"{triggers.rate.max():.2f} | {quality.accuracy.mean():.3f} | "
            f"{quality.asr.mean():.2f} | {each} | {seconds:.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
