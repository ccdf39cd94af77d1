"""MNTD on full MNIST at the paper's recipe (Xu et al., S&P 2021): 2048 + 2048 shadows.

Needs the 60,000 digits: from tensorflow-datasets, or
``--zoo.data.source=npz --zoo.data.path=mnist.npz``. Not measured at full size.
"""

from bdjax.experiments import presets
from bdjax.experiments.config import DataConfig, Experiment
from bdjax.experiments.overrides import change
from bdjax.population import Recipe


def get_config(arguments: str = "") -> Experiment:
    """The full recipe.

    ``official`` turns every parity option on: overlapping draws, patches that miss
    the last row and column, unclipped queries, answers as logits, longer training of
    poisoned models.
    ``smoke`` ends within a minute.
    """
    experiment = presets.mntd(
        "mnist",
        DataConfig("tfds", defender=1200, attacker=30_000, test=10_000),
        shadows=2048,
        validation=256,
        targets=256,
        # TF32 where there is such a thing; bfloat16, which is coarser, costs nothing on
        # the 5,000 digits (docs/populations.md).
        shadow=Recipe(epochs=100, precision="tf32"),
        target=Recipe(epochs=4, precision="tf32"),
    )
    return presets.apply(arguments, experiment, official=presets.official, smoke=_smoke)


def _smoke(experiment: Experiment) -> Experiment:
    fewer = {"zoo.data.defender": 200, "zoo.data.attacker": 400}
    return presets.smoke(change(experiment, fewer))
