"""MNTD on spoken words.

``python -m launch.mntd --config=configs/mntd_speech.py --config.data.path=FILE.npz``;
the npz has ``wave, offset, y[, is_test, rate]``, see :mod:`bdjax.data.waves`. Where it
does not say its sampling rate, add ``--config.data.rate=8000``. ``:full`` reads what
the paper did: ``speech_commands`` of tensorflow-datasets.

Reduced to what two CPU cores do in half an hour: 64 + 64 shadows of 150 to 300
steps (the paper: 2048 + 2048 of 615) on 450 clips, at three times the paper's learning
rate, products in bfloat16.

Result on the free-spoken-digit data set (two x86-64 CPU cores, seed 0, 24 targets of
each kind, mean ± std of five repeats [95 % over models]; the paper's Table III, on
speech_commands at full scale: M 99.90 %, B 99.83 %):

* jumbo M 1.000 ± .001 [.88, 1.00], B 1.000 ± .000 [.88, 1.00]
* without tuning M .942 ± .010, B .928 ± .038; one-class M .898 ± .036, B .861 ± .038
* accuracy .87 (shadows), .93 (targets), .78 (M), .92 (B); ASR 1.00; accuracy alone
  M .917, B .747
* 1,696 s beside other work
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    """The reduced experiment; ``full`` is the paper's, ``smoke`` ends in a minute."""
    config = common.mntd("speech")
    config.data = common.data("waves", defender=450, attacker=2000, test=300)
    config.population = common.population(shadows=64, validation=16, targets=24)
    quick = {"learning_rate": 3e-3, "precision": "bfloat16"}
    config.shadow = common.train(steps=300, diversity=0.5, **quick)
    config.target = common.train(steps=250, **quick)
    common.apply(arg, config, full=_full, official=common.official, smoke=common.smoke)
    return config


def _full(config: ConfigDict) -> None:
    # 2 and 50 % of the ten words' 30,769 clips.
    config.data.update(source="tfds", defender=615, attacker=15_384, test=4000)
    common.full(config, shadow_epochs=100, target_epochs=4)
    config.shadow.learning_rate = config.target.learning_rate = 1e-3
