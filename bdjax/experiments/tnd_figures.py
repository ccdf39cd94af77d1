"""The figures of a DL-TND and DF-TND report."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from bdjax import plots, tree
from bdjax.attacks import describe_target
from bdjax.experiments import tnd_scores
from bdjax.experiments.found import Case
from bdjax.experiments.tnd import TARGET, Outcome
from bdjax.experiments.tnd_config import BENIGN, VARIANTS
from bdjax.tasks import get_task
from bdjax.tnd.config import PUBLISHED

_EACH = 3  # columns of recovered triggers an attack


def draw(outcome: Outcome, folder: Path) -> dict[str, Path]:
    """Draws every figure; caption -> file."""
    folder.mkdir(exist_ok=True)
    figures: dict[str, tuple[str, Any]] = {}
    for case in tnd_scores.main_cases(outcome):
        title = VARIANTS[case.variant].title
        figures[f"scores-{case.variant}"] = (
            f"Scores of the targets by {title}; 'calibrated' is the threshold that was "
            "set on calibration models; the detector's own is drawn if it has one",
            _score_figure(outcome, case),
        )
        if VARIANTS[case.variant].of:
            continue
        if tnd_scores.has_similarities(outcome, case):
            figures[f"similarity-{case.variant}"] = (
                f"{title}: similarity of universal and per-image perturbations, by "
                "label, of a clean and a trojaned network; a box starts at the 25 % "
                "quantile",
                _similarity_figure(outcome, case),
            )
        figures[f"recovered-{case.variant}"] = (
            f"Triggers that {title} recovered, and the true ones. "
            "S: most suspicious label; T: true target",
            _recovered_figure(outcome, case),
        )
    if sweep := _sweep_figure(outcome):
        figures["sweeps"] = ("AUC by percentile Q and by clean images a class", sweep)
    figures["quality"] = (
        "Clean accuracy and attack success rate",
        plots.quality_distributions(
            {
                name.replace("-", "\n", 1): {
                    "accuracy": p.quality.accuracy,
                    "ASR": p.quality.asr if p.is_trojaned else None,
                }
                for name, p in outcome.populations.items()
            },
            title="Quality of the models",
        ),
    )
    return {
        caption: plots.save(figure, folder / f"{name}.png")
        for name, (caption, figure) in figures.items()
        if figure is not None
    }


def _score_figure(outcome: Outcome, case: Case) -> Any:
    names = [f"{TARGET}-{BENIGN}", *tnd_scores.names_of(outcome, TARGET)]
    scores = {
        name.removeprefix(f"{TARGET}-"): values
        for name in names
        if len(values := tnd_scores.scores(outcome, case, name))
    }
    (rule, limit), *_ = tnd_scores.thresholds(outcome, case).items()
    grey, own = tnd_scores.built_in(outcome, case)
    return plots.score_histograms(
        scores,
        limits={rule: limit, "detector's own": own},
        zone=(grey, own),
        title=f"{VARIANTS[case.variant].title}: scores of target models",
    )


def _similarity_figure(outcome: Outcome, case: Case) -> Any:
    """The paper's: a clean network and the first trojaned one with a target."""
    ((_, clean), *_) = tnd_scores.judged(outcome, case, f"{TARGET}-{BENIGN}")
    shown = {"clean network": clean.similarity}
    targets: dict[str, int] = {}
    for name in tnd_scores.names_of(outcome, TARGET):
        triggers = outcome.populations[name].triggers
        for i, found in tnd_scores.judged(outcome, case, name)[:1]:
            target = int(np.asarray(triggers.target)[i])
            if target >= 0 and not targets:
                title = f"{name.removeprefix(f'{TARGET}-')}, target {target}"
                shown[title], targets[title] = found.similarity, target
    return plots.similarity_distributions(
        shown,
        f"{VARIANTS[case.variant].title}: similarity by candidate label",
        targets=targets,
        threshold=PUBLISHED["similarity"],
    )


def _recovered_figure(outcome: Outcome, case: Case) -> Any:
    """A benign target and some of every attack."""
    columns: list[tuple[np.ndarray, ...]] = []
    labels: list[str] = []
    for name in (f"{TARGET}-{BENIGN}", *tnd_scores.names_of(outcome, TARGET)):
        population = outcome.populations[name]
        attack = population.attack
        each = _EACH if population.is_trojaned else 1
        for i, found in tnd_scores.judged(outcome, case, name)[:each]:
            trigger = tree.index(population.triggers, i)
            # An image that is not of the target's class.
            others = np.flatnonzero(outcome.labels != int(trigger.target))
            x = outcome.images[others[len(columns) % len(others)]][None]
            if population.is_trojaned:
                x = np.asarray(attack.apply(jax.tree.map(np.asarray, trigger), x))
            mask = trigger.form.mask * (1 if population.is_trojaned else 0)
            columns.append((x[0], mask, found.mask, found.pattern))
            true = f", T {describe_target(trigger)}" if population.is_trojaned else ""
            labels.append(f"{attack.name} {population.ids_M[i]}\nS {found.label}{true}")
    triggered, true_masks, masks, patterns = map(np.stack, zip(*columns, strict=True))
    return plots.recovered_triggers(
        triggered,
        true_masks,
        masks,
        patterns,
        labels,
        f"{VARIANTS[case.variant].title}: recovered triggers",
        value_range=get_task(outcome.config.task).value_range,
    )


def _sweep_figure(outcome: Outcome) -> Any:
    panels: dict[str, dict[str, dict[float, Any]]] = {}
    if by_quantile := tnd_scores.quantile_sweep(outcome):
        panels["percentile Q"] = {
            f"similarity of {VARIANTS[k].title}": points
            for k, points in by_quantile.items()
        }
    by_variant = tnd_scores.image_sweep(outcome)
    if "bdjax" in by_variant:
        panels["clean images a class"] = {
            f"bdjax, {attack}": {float(n): found for n, found in points.items()}
            for attack, points in by_variant["bdjax"].items()
        }
    if not panels:
        return None
    return plots.sweep_curves(panels, "AUC by setting")
