"""MNTD on your own data, without a line of code.

``bdjax run mntd_npz --zoo.data.path=FILE.npz``; the npz has ``x_train, y_train[,
x_test, y_test]``. Examples are images (``[N, H, W, C]`` or ``[N, H, W]``, bytes or
floats in [0, 1]), feature vectors (floats ``[N, D]``, any unit) or series (floats ``[N,
T, C]``); labels are 0, 1, ... K - 1. Floats ``[N, S, S]`` are taken for grey images; to
say otherwise, give the task's whole name, such as ``--zoo.task=npz:24x24:2`` for series
of 24 steps and 24 channels.

The network follows from the shape (``bdjax/tasks/npz.py``), or give
``--zoo.groups.networks``. Sizes of 0: the defender gets a quarter of the training rows,
the attacker half; accuracy and ASR are measured on the test split, or on the last
quarter, 2,000 rows at most. Rare classes are kept in the draw: the defender has a row
of every class (``--zoo.data.split=disjoint`` draws without regard to classes).

Look at the report's accuracies and ASRs first: training has to last long enough for
models to be good and for attacks to take hold (``--zoo.groups.recipes.steps``, or
``--zoo.groups.defender.recipes.steps`` and ``--zoo.groups.attacker.recipes.steps``).
"""

from bdjax.experiments import presets
from bdjax.experiments.config import DataConfig, Experiment
from bdjax.population import Recipe


def get_config(arguments: str = "") -> Experiment:
    """A run of minutes for small examples; ``full`` has the paper's populations."""
    experiment = presets.mntd(
        "npz",
        DataConfig("npz", defender=0, attacker=0, test=0, split="every_class"),
        shadows=64,
        validation=16,
        targets=24,
        shadow=Recipe(steps=300, diversity=0.5),
        target=Recipe(steps=300),
    )
    return presets.apply(
        arguments, experiment, full=_full, official=presets.official,
        smoke=presets.smoke,
    )  # fmt: skip


def _full(experiment: Experiment) -> Experiment:
    return presets.full(experiment, shadow_epochs=100, target_epochs=50)
