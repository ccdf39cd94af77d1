"""MNTD on CIFAR-10.

``bdjax run mntd_cifar10 --zoo.data.path=FILE.npz``; the npz has ``x_train, y_train[,
x_test, y_test]``. Or ``--zoo.data.source=tfds``.

Reduced to what two CPU cores do in half an hour: 64 + 64 shadows of 50 to 100 steps
(the paper: 2048 + 2048 of 1,000) on 1,000 examples, products in bfloat16.

Result (two x86-64 CPU cores, seed 0, 16 targets of each kind, mean ± std of five
repeats [95 % over models]; the paper's Table III at full scale: M 91.95 %, B 95.45 %):

* jumbo M .927 ± .016 [.70, .99], B .907 ± .029 [.68, .99]
* without tuning M .856 ± .043, B .633 ± .167; one-class M .818 ± .034, B .744 ± .066
* accuracy .27 (shadows), .29 (targets), .22 (M), .15 (B); ASR .94 and .93; accuracy
  alone M .842, B .947
* 1,264 s: training 1,152, meta-training 105
"""

from bdjax.experiments import presets
from bdjax.experiments.config import DataConfig, Experiment
from bdjax.experiments.overrides import change
from bdjax.population import Recipe


def get_config(arguments: str = "") -> Experiment:
    """The reduced experiment; ``full`` is the paper's, ``smoke`` ends in a minute."""
    experiment = presets.mntd(
        "cifar10",
        DataConfig("npz", defender=1000, attacker=9000, test=500),
        shadows=64,
        validation=16,
        targets=16,
        shadow=Recipe(steps=100, diversity=0.5, precision="bfloat16"),
        target=Recipe(steps=100, precision="bfloat16"),
    )
    return presets.apply(
        arguments, experiment, full=_full, official=presets.official,
        smoke=presets.smoke,
    )  # fmt: skip


def _full(experiment: Experiment) -> Experiment:
    data = DataConfig("tfds", defender=1000, attacker=25_000, test=10_000)
    experiment = change(experiment, {"zoo.data": data})
    return presets.full(experiment, shadow_epochs=100, target_epochs=4)
