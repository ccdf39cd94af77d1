"""DL-TND on CIFAR-10, by architecture: ``--config=configs/dltnd_cifar10.py:resnet18``.

Needs ``--config.data.path=cifar10.npz`` with 18,000 training images or more; the test
rows are the file's own where it has some. For an accelerator, but for ``thin``, a thin
ResNet, and ``small``, MNTD's MNIST CNN, which are cut down to end within half an hour
on two CPU cores.

``:thin`` on the first 18,000 training images, with scores as they were before labels
counted in units of a network's own spread (docs/verdicts.md): AUC of ours 1.000 (patch,
3 targets) and 1.000 (blend, 3) against 4 benign ones, DF-TND 1.000 and 0.750; seed 0,
839 s on two x86-64 CPU cores, 30 s a model. On an accelerator: not measured yet.
"""

import functools

from ml_collections import ConfigDict

from configs import common

# Learning rate of SGD with momentum; without normalisation a smaller one.
RATES = {
    "resnet18": 0.1,
    "resnet50": 0.1,
    "preact_resnet": 0.1,
    "vgg16": 0.05,
    "alexnet": 0.01,
}


def get_config(arg: str = "") -> ConfigDict:
    """An argument each of ``RATES``; ``thin``, ``small``, ``smoke``. Else ``resnet18``.

    ``ablation`` adds other masks and starts, the paper's and the official code, on some
    models of every population.
    """
    config = common.tnd("cifar10")
    config.data = common.data("npz", defender=1000, attacker=15_000, test=1000)
    config.population = common.tnd_population(
        calibration=9,
        targets=12,
        target_attacks=("patch", "blend", "all_to_all"),
        attacked=(12, 12, 6),
    )
    config.train = common.train(
        epochs=30,
        batch_size=128,
        optimizer="sgd",
        weight_decay=5e-4,
        schedule="cosine",
        augment="crop_flip",
        precision="bfloat16",
    )
    config.solver.precision = "tf32"
    config.solving.label_batch = 10  # 500 images at once, which bounds memory
    config.sweep_per_class = (1, 2)
    _architecture(config, "resnet18")
    known = {name: functools.partial(_architecture, name=name) for name in RATES}
    common.apply(
        arg, config, **known, thin=_thin, small=_small, smoke=_smoke,
        ablation=common.tnd_ablation,
    )  # fmt: skip
    return config


def _architecture(config: ConfigDict, name: str) -> None:
    config.architecture, config.train.learning_rate = name, RATES[name]


def _thin(config: ConfigDict) -> None:
    _reduce(config, "thin_resnet")
    config.train = common.train(
        steps=800, learning_rate=3e-3, schedule="cosine", augment="crop_flip"
    )
    config.solver.precision = "float32"


def _small(config: ConfigDict) -> None:
    _reduce(config, "mntd_mnist_cnn")
    config.train = common.train(steps=1000, precision="bfloat16")
    config.solver.precision = "bfloat16"


def _reduce(config: ConfigDict, architecture: str) -> None:
    """To what two CPU cores do in half an hour."""
    config.architecture, config.solving.label_batch = architecture, 0
    config.population.update(
        calibration=3, targets=4, target_attacks=("patch", "blend"), attacked=(3, 3)
    )
    config.sweep_per_class = ()


def _smoke(config: ConfigDict) -> None:
    common.tnd_smoke(config)
    config.data.update(defender=200, attacker=1000)
    config.train.update(steps=3, epochs=0)
