"""DL-TND and DF-TND end to end: a population, and verdicts on each of its models."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

from bdjax import storage, telemetry
from bdjax.data import Dataset
from bdjax.experiments import populations, rundir
from bdjax.experiments.found import Case, Found, derive
from bdjax.experiments.populations import Wanted
from bdjax.experiments.tnd_config import BENIGN, VARIANTS, TNDConfig
from bdjax.experiments.verdicts import Detective, JudgeError
from bdjax.models import Model
from bdjax.population import Population
from bdjax.tasks import get_task
from bdjax.types import UserError

CALIBRATION, TARGET = "calibration", "target"

Verdicts = dict[Case, dict[str, list[Found | None]]]
"""By case and population; of the population's first models, in order.

None is of a network that could not be judged.
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Everything that an experiment found out, before it is put in words.

    Attributes:
      config: what was asked.
      populations: by name, diverged models left out.
      verdicts: by case; the cases of ``config.detectors`` at ``config.per_class``
        first, then those of the sweep.
      dataset: the data.
      images: float32 ``[N, H, W, C]``, the defender's, at ``config.per_class``.
      labels: int32 ``[N]``.
      test_N: int, rows of the data that accuracy and ASR are measured on.
      notes: what a reader must know, one sentence each.
    """

    config: TNDConfig
    populations: dict[str, Population]
    verdicts: Verdicts
    dataset: Dataset
    images: np.ndarray
    labels: np.ndarray
    test_N: np.ndarray
    notes: list[str]


def run(
    config: TNDConfig,
    workdir: Path,
    *,
    clock: telemetry.Clock,
    console: Console,
) -> Outcome | None:
    """Runs the experiment, or what is left of it, in ``workdir``.

    Under ``jax.distributed`` all processes train; the first one goes on to the
    detectors, and the others get None.

    Raises:
      UserError: the configuration or data are at fault, or the directory belongs to
        another experiment.
    """
    task = get_task(config.task)
    wanted, model = specs(config), network(config)
    config.execution.local_devices()  # or UserError
    config.solving.local_devices()
    with clock.phase("data"):
        dataset, splits = populations.load_data(config)
        images = {
            count: clean_images(dataset, splits.defender, count)
            for count in {config.per_class, *config.sweep_per_class}
        }
    # Only now, so that a mistake in the data does not bind the directory to it.
    if storage.is_first():
        rundir.claim(workdir, config.semantic())
    detective = Detective(config, workdir, model, task, images)
    if storage.is_first():
        for case in computed(cases(config)):
            detective.claim(case)
    with populations.open_metrics(workdir) as metrics:
        metrics.write("start", config=dataclasses.asdict(config))
        with clock.phase("population"):
            populations.train(
                config, wanted, dataset, splits, workdir, metrics, console=console,
                attackers=(CALIBRATION, TARGET),
            )  # fmt: skip
            if not storage.is_first():
                return None
            trained = populations.load(workdir, wanted)
        trained, notes = populations.drop_diverged(trained)
        with clock.phase("detectors"):
            verdicts, unjudged = detect(config, trained, detective, metrics)
        notes += unjudged
        for note in notes:
            console.print(f"[yellow]note:[/] {note}")
    return Outcome(
        config,
        trained,
        verdicts,
        dataset,
        *images[config.per_class],
        splits.test,
        notes,
    )


def network(config: TNDConfig) -> Model:
    """The network that all models are.

    Raises:
      UserError: there is no such task or architecture.
    """
    task = get_task(config.task)
    return task.network(config.architecture, config.formulation)


def specs(config: TNDConfig) -> list[Wanted]:
    """Every population of the experiment, and the ids of its models.

    Raises:
      UserError: an attack or a recipe is at fault.
    """
    counts = config.population
    recipe = config.train.recipe(config.data.attacker)
    kinds = [
        (CALIBRATION, {BENIGN: counts.calibration} | counts.calibration_counts),
        (TARGET, {BENIGN: counts.targets} | counts.target_counts),
    ]
    wanted = []
    for role, models in kinds:
        for attack, count in models.items():
            spec = populations.make_spec(config, role, attack, recipe, counts.locations)
            wanted.append((spec, range(count)))
    return wanted


def clean_images(
    dataset: Dataset, rows: np.ndarray, per_class: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first ``per_class`` rows of every class: images in [0, 1], and labels.

    Raises:
      UserError: there are not as many.
    """
    chosen = []
    for label in range(dataset.num_classes):
        here = rows[dataset.y[rows] == label]
        if len(here) < per_class:
            raise UserError(
                f"the defender's {len(rows)} rows hold {len(here)} of class {label}, "
                f"fewer than {per_class} clean images a class; raise data.defender"
            )
        chosen.append(here[:per_class])
    index = np.concatenate(chosen)
    x = dataset.x[index]
    return (x / np.float32(255) if x.dtype == np.uint8 else x), dataset.y[index]


def cases(config: TNDConfig) -> list[Case]:
    """Every detector and setting that verdicts are wanted of."""
    found = [
        Case(v, 0 if VARIANTS[v].data_free else config.per_class)
        for v in config.detectors
    ]
    # Rescoring costs nothing.
    swept = [v for v in config.detectors if "bdjax" in (v, VARIANTS[v].of)]
    found += [Case(v, count) for count in config.sweep_per_class for v in swept]
    return list(dict.fromkeys(found))


def computed(wanted: list[Case]) -> list[Case]:
    """The cases that must be solved for the ones that are wanted."""
    solved = [Case(VARIANTS[c.variant].of or c.variant, c.per_class) for c in wanted]
    return list(dict.fromkeys(solved))


def models_judged(config: TNDConfig, case: Case, population: Population) -> int:
    """How many of a population's models a case is tried on: its first ones."""
    cap = config.slow_models if VARIANTS[case.variant].is_slow else 0
    return min(cap or len(population), len(population))


def detect(
    config: TNDConfig,
    trained: Mapping[str, Population],
    detective: Detective,
    metrics: telemetry.MetricsWriter,
) -> tuple[Verdicts, list[str]]:
    """One verdict a model and case, with progress; those on disk are read.

    Returns:
      The verdicts, and a note for each case and population of which some networks
      could not be judged.

    Raises:
      UserError: none of the benign networks of a role can be judged, or a verdict
        cannot be read or written.
    """
    wanted = cases(config)
    jobs = [
        (case, population, i)
        for case in computed(wanted)
        for population in trained.values()
        for i in range(models_judged(config, case, population))
    ]
    solved: Verdicts = {}
    failed: dict[tuple[Case, str], list[str]] = {}
    with telemetry.progress("judging", total=len(jobs), unit="models") as bar:
        for case, population, i in jobs:
            here = solved.setdefault(case, {}).setdefault(population.name, [])
            found = detective.load(case, population, i)
            if found:
                bar.advance(1, now=f"{case.name} (on disk)")
                here.append(found)
                continue
            try:
                found = detective.find(case, population, i)
            except JudgeError as error:
                bar.advance(1, now=f"{case.name} {population.name}: not judged")
                failed.setdefault((case, population.name), []).append(str(error))
                here.append(None)
                if models_judged(config, case, population) == len(here):
                    _require_benign(population, here, error)
                continue
            bar.advance(1, now=f"{case.name} {population.name}", score=found.score)
            metrics.write(
                "verdict", case=case.name, population=population.name,
                id=int(population.ids_M[i]), score=found.score,
                conclusion=found.conclusion.value, label=found.label,
                seconds=found.seconds,
            )  # fmt: skip
            here.append(found)
    notes = [
        f"{len(errors)} of {len(solved[case][name])} networks of {name} could not be "
        f"judged and are left out ({errors[0]})"
        for (case, name), errors in failed.items()
    ]
    return {case: _derived(config, case, solved) for case in wanted}, notes


def _require_benign(
    population: Population, found: list[Found | None], error: JudgeError
) -> None:
    """Ends what has nothing to compare with, or is set up wrongly."""
    if not population.is_trojaned and not any(found):
        raise UserError(f"no network of {population.name} can be judged: {error}")


def _derived(
    config: TNDConfig, case: Case, solved: Verdicts
) -> dict[str, list[Found | None]]:
    variant = case.variant
    if not (base := VARIANTS[variant].of):
        return solved[case]
    return {
        name: [found and derive(found, config, variant) for found in some]
        for name, some in solved[Case(base, case.per_class)].items()
    }
