"""MNTD on your own data, without a line of code.

``python -m launch.mntd --config=configs/mntd_npz.py --config.data.path=FILE.npz``; the
npz has ``x_train, y_train[, x_test, y_test]``. Examples are images (``[N, H, W, C]`` or
``[N, H, W]``, bytes or floats in [0, 1]), feature vectors (floats ``[N, D]``, any unit)
or series (floats ``[N, T, C]``); labels are 0, 1, ... K - 1. Floats ``[N, S, S]`` are
taken for grey images; to say otherwise, give the task's whole name, such as
``--config.task=npz:24x24:2`` for series of 24 steps and 24 channels.

The network follows from the shape (``bdjax/tasks/npz.py``), or give
``--config.architecture``. Sizes of 0: the defender gets a quarter of the training rows,
the attacker half; accuracy and ASR are measured on the test split, or on the last
quarter, 2,000 rows at most. Rare classes are kept in the draw: the defender has a row
of every class (``--config.data.split=disjoint`` draws without regard to classes).

Look at the report's accuracies and ASRs first: training has to last long enough for
models to be good and for attacks to take hold (``--config.shadow.steps``,
``--config.target.steps``).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    """A run of minutes for small examples; ``full`` has the paper's populations."""
    config = common.mntd("npz")
    config.data = common.data(
        "npz", defender=0, attacker=0, test=0, split="every_class"
    )
    config.population = common.population(shadows=64, validation=16, targets=24)
    config.shadow = common.train(steps=300, diversity=0.5)
    config.target = common.train(steps=300)
    common.apply(arg, config, full=_full, official=common.official, smoke=_smoke)
    return config


def _full(config: ConfigDict) -> None:
    common.full(config, shadow_epochs=100, target_epochs=50)


def _smoke(config: ConfigDict) -> None:
    common.smoke(config)
    config.data.test = 0
