"""DL-TND on CIFAR-10, by architecture: ``bdjax run dltnd_cifar10:resnet18``.

Needs ``--zoo.data.path=cifar10.npz`` with 18,000 training images or more; the test
rows are the file's own where it has some. For an accelerator, but for ``thin``, a thin
ResNet, and ``small``, MNTD's MNIST CNN, which are cut down to end within half an hour
on two CPU cores.

``:thin`` on the first 18,000 training images, with scores as they were before labels
counted in units of a network's own spread (docs/verdicts.md): AUC of ours 1.000 (patch,
3 targets) and 1.000 (blend, 3) against 4 benign ones, DF-TND 1.000 and 0.750; seed 0,
839 s on two x86-64 CPU cores, 30 s a model. On an accelerator: not measured yet.
"""

import functools

from bdjax.experiments import presets
from bdjax.experiments.config import DataConfig, Experiment
from bdjax.experiments.overrides import change
from bdjax.population import Recipe

# Learning rate of SGD with momentum; without normalisation a smaller one.
RATES = {
    "resnet18": 0.1,
    "resnet50": 0.1,
    "preact_resnet": 0.1,
    "vgg16": 0.05,
    "alexnet": 0.01,
}
DATA = DataConfig("npz", defender=1000, attacker=15_000, test=1000)


def get_config(arguments: str = "") -> Experiment:
    """An argument each of ``RATES``; ``thin``, ``small``, ``smoke``. Else ``resnet18``.

    ``ablation`` adds other masks and starts, the paper's and the official code, on some
    models of every population.
    """
    known = {name: functools.partial(_architecture, name=name) for name in RATES}
    return presets.apply(
        arguments, _architecture(name="resnet18"), **known, thin=_thin, small=_small,
        smoke=_smoke, ablation=presets.ablation,
    )  # fmt: skip


def _architecture(before: Experiment | None = None, *, name: str) -> Experiment:
    del before
    experiment = presets.tnd(
        "cifar10",
        DATA,
        calibration={"benign": 9, "patch": 5, "blend": 4},
        targets={"benign": 12, "patch": 12, "blend": 12, "all_to_all": 6},
        recipe=Recipe(
            epochs=30,
            batch_size=128,
            learning_rate=RATES[name],
            optimizer="sgd",
            weight_decay=5e-4,
            schedule="cosine",
            augment="crop_flip",
            precision="bfloat16",
        ),
        network=name,
    )
    changes = {
        "detectors": presets.with_images(experiment.detectors, (1, 2)),
        "solver.precision": "tf32",
        "solving.label_batch": 10,  # 500 images at once, which bounds memory
    }
    return change(experiment, changes)


def _thin(experiment: Experiment) -> Experiment:
    del experiment
    recipe = Recipe(
        steps=800, learning_rate=3e-3, schedule="cosine", augment="crop_flip"
    )
    return _reduced("thin_resnet", recipe)


def _small(experiment: Experiment) -> Experiment:
    del experiment
    reduced = _reduced("mntd_mnist_cnn", Recipe(steps=1000, precision="bfloat16"))
    return change(reduced, {"solver.precision": "bfloat16"})


def _reduced(network: str, recipe: Recipe) -> Experiment:
    """What two CPU cores do in half an hour."""
    return presets.tnd(
        "cifar10", DATA, calibration={"benign": 3, "patch": 2, "blend": 1},
        targets={"benign": 4, "patch": 3, "blend": 3}, recipe=recipe, network=network,
    )  # fmt: skip


def _smoke(experiment: Experiment) -> Experiment:
    fewer = {"zoo.data.defender": 200, "zoo.data.attacker": 1000}
    return presets.tnd_smoke(change(experiment, fewer), steps=3)
