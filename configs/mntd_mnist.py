"""MNTD on full MNIST at the paper's recipe (Xu et al., S&P 2021): 2048 + 2048 shadows.

Needs the 60,000 digits: from tensorflow-datasets, or
``--config.data.source=npz --config.data.path=mnist.npz``. Not measured at full size.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    """The full recipe.

    ``official`` turns every parity option on: overlapping draws, patches that miss
    the last row and column, unclipped queries, answers as logits, longer training of
    poisoned models.
    ``smoke`` ends within a minute.
    """
    config = common.mntd("mnist")
    config.data = common.data("tfds", defender=1200, attacker=30_000, test=10_000)
    config.population = common.population(shadows=2048, validation=256, targets=256)
    # TF32 where there is such a thing; bfloat16, which is coarser, costs nothing on
    # the 5,000 digits (README).
    config.shadow = common.train(epochs=100, precision="tf32")
    config.target = common.train(epochs=4, precision="tf32")
    common.apply(arg, config, official=common.official, smoke=_smoke)
    return config


def _smoke(config: ConfigDict) -> None:
    config.data.update(defender=200, attacker=400)
    common.smoke(config)
