"""What named configurations are made of: groups of models, detectors, changes.

A change takes an experiment and gives another one, such as :func:`smoke`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bdjax import checks
from bdjax.experiments.config import BENIGN, DataConfig, Experiment, Group, Zoo
from bdjax.experiments.overrides import change
from bdjax.mntd import FitConfig
from bdjax.population import Recipe
from bdjax.types import UserError

MNTD = ("mntd", "mntd_no_tuning", "mntd_one_class")
TND = (
    *("dl_tnd", "dl_tnd_sparse", "dl_tnd_dense", "dl_tnd_images"),
    *("dl_tnd_similarity", "df_tnd"),
)
ABLATION = (
    *("dl_tnd_features", "dl_tnd_channel", "dl_tnd_restarts", "dl_tnd_paper"),
    *("dl_tnd_official", "df_tnd_official"),
)
SMALLEST = 8  # shadows of a sweep's first fit

Change = Callable[[Experiment], Experiment]


def mntd(
    task: str,
    data: DataConfig,
    *,
    shadows: int,
    validation: int,
    targets: int,
    shadow: Recipe,
    target: Recipe,
    attacks: tuple[str, ...] = ("M", "B"),
    fit: FitConfig | None = None,
) -> Experiment:
    """An experiment of MNTD: as many trojaned models as benign ones in each group.

    Args:
      task: key in ``bdjax.tasks.TASKS``.
      data: source and split.
      shadows: benign shadow models.
      validation: benign shadows to choose by.
      targets: benign models to be told from those of each attack.
      shadow: training of shadows and validation.
      target: training of targets.
      attacks: on targets.
      fit: the meta-classifier; MNTD's if None.
    """
    groups = (
        Group("shadow", (BENIGN, "jumbo"), (shadows,), (shadow,)),
        Group("validation", (BENIGN, "jumbo"), (validation,), (shadow,)),
        Group("target", (BENIGN, *attacks), (targets,), (target,)),
    )
    zoo = Zoo(task, data, groups)
    return Experiment(zoo, MNTD, fit=fit or FitConfig(), failed_attacks="counted")


def tnd(
    task: str,
    data: DataConfig,
    *,
    calibration: Mapping[str, int],
    targets: Mapping[str, int],
    recipe: Recipe,
    network: str = "",
) -> Experiment:
    """An experiment of DL-TND and DF-TND, which need no shadows.

    Args:
      task: key in ``bdjax.tasks.TASKS``.
      data: source and split.
      calibration: models that thresholds are set on, by attack.
      targets: models to tell apart, likewise; ``"benign"`` among both.
      recipe: training of all models.
      network: of all models; the task's if empty.
    """
    groups = [
        Group(role, tuple(counts), tuple(counts.values()), (recipe,), (network,))
        for role, counts in (("calibration", calibration), ("target", targets))
    ]
    return Experiment(Zoo(task, data, tuple(groups)), TND)


def with_images(names: Sequence[str], counts: Sequence[int]) -> tuple[str, ...]:
    """Detectors, and DL-TND's re-scored ones again with other numbers of images."""
    swept = [name for name in names if name in TND and name.startswith("dl_tnd")]
    return (*names, *(f"{name}:per_class={n}" for n in counts for name in swept))


def full(experiment: Experiment, shadow_epochs: int, target_epochs: int) -> Experiment:
    """The paper's scale: 2048 + 2048 shadows, 256 targets of each kind, TF32.

    And its fit, where a file has one for fewer shadows.
    """
    changes = {
        "zoo.groups.shadow.models": (2048,),
        "zoo.groups.validation.models": (256,),
        "zoo.groups.target.models": (256,),
        "zoo.groups.recipes.precision": "tf32",
        "zoo.groups.recipes.diversity": 0.0,
        "zoo.groups.recipes.steps": 0,
        "zoo.groups.defender.recipes.epochs": shadow_epochs,
        "zoo.groups.attacker.recipes.epochs": target_epochs,
        "fit": FitConfig(),
    }
    return change(experiment, changes)


def official(experiment: Experiment) -> Experiment:
    """Every parity option: what MNTD's published code does and bdjax does not."""
    return change(
        experiment,
        {
            "zoo.data.split": "official",
            "zoo.locations": "official",
            "zoo.groups.recipes.poisoned_length": "official",
            "zoo.groups.defender.recipes.diversity": 0.0,
            "fit": FitConfig(clip=False, answers="logits", query_dropout=True),
        },
    )


def ablation(experiment: Experiment) -> Experiment:
    """Adds DL-TND's other formulations, on some models of every population."""
    detectors = (*experiment.detectors, *ABLATION)
    slow = experiment.slow_models or 4
    return change(experiment, {"detectors": detectors, "slow_models": slow})


def smoke(experiment: Experiment, steps: int = 5) -> Experiment:
    """Few models, steps and iterations: proves that all parts run, and no more."""
    models = {"shadow": 4, "validation": 2, "calibration": 2, "target": 2}
    changes: dict[str, Any] = {
        "zoo.data.test": min(experiment.zoo.data.test, 100),
        "zoo.groups.recipes.steps": steps,
        "zoo.groups.recipes.epochs": 0,
        "fit.epochs": 2,
        "fit.repeats": 2,
        "per_class": 2,
        "slow_models": 1,
        "solver.iterations": 3,
        "solver.searches": 2,
        "execution.chunk_size": 2,
    }
    for i, group in enumerate(experiment.zoo.groups):
        changes[f"zoo.groups.{i}.models"] = (models[group.role],)
    if experiment.failed_attacks == "left out":
        changes["min_asr"] = 0.0  # no attack takes hold so soon
    return change(experiment, changes)


def tnd_smoke(experiment: Experiment, steps: int = 40) -> Experiment:
    """The same with models of some length, and one number of images beside."""
    base = [name for name in experiment.detectors if "per_class=" not in name]
    swept = len(base) < len(experiment.detectors)
    detectors = with_images(base, (1,)) if swept else tuple(base)
    return change(smoke(experiment, steps), {"detectors": detectors})


def sweep(
    experiment: Experiment,
    sizes: Sequence[int] = (),
    names: Sequence[str] = ("mntd", "mntd_no_tuning"),
    *,
    equal_steps: bool = False,
) -> Experiment:
    """Adds fits to fewer shadows: what more of them, and query tuning, bring.

    Args:
      experiment: with shadows.
      sizes: shadow models of a fit, half of them benign; empty for 8, 16, 32, ... and
        all there are.
      names: detectors to fit.
      equal_steps: give every fit as many Adam steps as the largest one. Otherwise all
        pass over their shadows equally often, as in the paper, and a small fit is a
        short one, too.

    Raises:
      UserError: a size is odd or more than there are shadows, or something is named
        twice.
    """
    most = 2 * min(experiment.zoo.count("shadow"))
    for size in sizes:
        if size < 2 or size % 2:
            raise UserError(
                f"size {size} is not half benign, half trojaned; take an even number "
                "from 2 on"
            )
        if size > most:
            raise UserError(
                f"size {size} is more than the {most} shadow models there are; take "
                "fewer, or train more"
            )
    for what, values in (("sizes", sizes), ("detectors", names)):
        if len(set(values)) < len(values):
            raise UserError(f"{what} are {list(values)}; name each once")
    doubled = [size for i in range(20) if (size := SMALLEST << i) < most]
    more = ",equal_steps=true" if equal_steps else ""
    swept = [
        name if size == most else f"{name}:shadows={size}{more}"
        for name in names
        for size in sizes or (*doubled, most)
    ]
    detectors = tuple(dict.fromkeys((*experiment.detectors, *swept)))
    if detectors == experiment.detectors:
        raise UserError(
            f"a sweep of {most} shadow models adds no fit to the run's own; give "
            "smaller sizes, such as --sizes=4, or train more shadows"
        )
    return change(experiment, {"detectors": detectors})


def apply(arguments: str, experiment: Experiment, **changes: Change) -> Experiment:
    """Applies the comma-separated changes that ``NAME:arguments`` names.

    In the order of ``changes``, whatever that of ``arguments`` is: those of the data
    come before those of the scale, which build on them.

    Raises:
      UserError: an argument that this configuration does not know.
    """
    named = [name for name in (arguments or "").split(",") if name]
    if unknown := [name for name in named if name not in changes]:
        raise UserError(
            f"unknown argument {unknown[0]!r} after the colon; "
            f"{checks.there_are(changes, unknown[0])}"
        )
    for name, changed in changes.items():
        if name in named:
            experiment = changed(experiment)
    return experiment
