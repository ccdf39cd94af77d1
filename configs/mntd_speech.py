"""MNTD on spoken words.

``bdjax run mntd_speech --zoo.data.path=FILE.npz``; the npz has ``wave, offset, y[,
is_test, rate]``, see :mod:`bdjax.data.waves`. Where it does not say its sampling rate,
add ``--zoo.data.rate=8000``. ``:full`` reads what the paper did: ``speech_commands`` of
tensorflow-datasets.

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

from bdjax.experiments import presets
from bdjax.experiments.config import DataConfig, Experiment
from bdjax.experiments.overrides import change
from bdjax.population import Recipe


def get_config(arguments: str = "") -> Experiment:
    """The reduced experiment; ``full`` is the paper's, ``smoke`` ends in a minute."""
    experiment = presets.mntd(
        "speech",
        DataConfig("waves", defender=450, attacker=2000, test=300),
        shadows=64,
        validation=16,
        targets=24,
        shadow=Recipe(
            steps=300, learning_rate=3e-3, precision="bfloat16", diversity=0.5
        ),
        target=Recipe(steps=250, learning_rate=3e-3, precision="bfloat16"),
    )
    return presets.apply(
        arguments, experiment, full=_full, official=presets.official,
        smoke=presets.smoke,
    )  # fmt: skip


def _full(experiment: Experiment) -> Experiment:
    # 2 and 50 % of the ten words' 30,769 clips.
    data = DataConfig("tfds", defender=615, attacker=15_384, test=4000)
    changes = {"zoo.data": data, "zoo.groups.recipes.learning_rate": 1e-3}
    return presets.full(change(experiment, changes), shadow_epochs=100, target_epochs=4)
