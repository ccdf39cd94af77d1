"""MNTD on CIFAR-10.

``python -m launch.mntd --config=configs/mntd_cifar10.py --config.data.path=FILE.npz``;
the npz has ``x_train, y_train[, x_test, y_test]``. Or ``--config.data.source=tfds``.

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

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    """The reduced experiment; ``full`` is the paper's, ``smoke`` ends in a minute."""
    config = common.mntd("cifar10")
    config.data = common.data("npz", defender=1000, attacker=9000, test=500)
    config.population = common.population(shadows=64, validation=16, targets=16)
    config.shadow = common.train(steps=100, diversity=0.5, precision="bfloat16")
    config.target = common.train(steps=100, precision="bfloat16")
    common.apply(arg, config, full=_full, official=common.official, smoke=common.smoke)
    return config


def _full(config: ConfigDict) -> None:
    config.data.update(source="tfds", attacker=25_000, test=10_000)
    common.full(config, shadow_epochs=100, target_epochs=4)
