"""The figures of an experiment's report."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from bdjax import plots
from bdjax.attacks import describe_target, get_attack
from bdjax.experiments.exhibits import EXHIBITS, Exhibit
from bdjax.experiments.mntd import Outcome
from bdjax.population import Examples
from bdjax.population.examples import take
from bdjax.tasks import get_task

VARIANT_NAMES = {
    "jumbo": "jumbo MNTD",
    "no_tuning": "without query tuning",
    "one_class": "one-class",
}


def draw(outcome: Outcome, folder: Path) -> dict[str, Path]:
    """Draws every figure; caption -> file."""
    folder.mkdir(exist_ok=True)
    detector = outcome.detector
    exhibit = EXHIBITS[get_task(outcome.config.task).modality.name]
    figures = {
        "Scores that the saved detector gives to the targets; the line is its "
        "threshold, set on validation shadows": plots.score_histograms(
            saved_scores(outcome),
            limits={"threshold": detector.threshold},
            zone=(detector.calibration.grey, detector.threshold),
            title="Detector scores of target models",
        ),
        "The saved detector's query set": exhibit.queries(detector, outcome.dataset),
        "Clean test examples and the same with triggers of target models": (
            _trigger_figure(outcome, exhibit)
        ),
        "Clean accuracy and attack success rate": plots.quality_distributions(
            {
                name.replace("-", "\n"): {
                    "accuracy": p.quality.accuracy,
                    "ASR": p.quality.asr if p.is_trojaned else None,
                }
                for name, p in outcome.populations.items()
            },
            title="Quality of the models",
        ),
    }
    for attack in outcome.config.population.target_attacks:
        curves = {
            VARIANT_NAMES[variant]: labelled_scores(scores, attack)
            for variant, scores in outcome.scores.items()
        }
        caption = f"ROC on targets with attack {attack}, one thin line a repeat"
        figures[caption] = plots.roc_curves(
            curves, f"Attack {attack}: detection of targets"
        )
    names = ["scores", "queries", "triggers", "quality"]
    names += [f"roc-{a}" for a in outcome.config.population.target_attacks]
    return {
        caption: plots.save(figure, folder / f"{name}.png")
        for name, (caption, figure) in zip(names, figures.items(), strict=True)
    }


def _trigger_figure(outcome: Outcome, exhibit: Exhibit, each: int = 4) -> Any:
    """A few test examples beside what the targets' attackers make of them."""
    config, dataset = outcome.config, outcome.dataset
    clean: list[np.ndarray] = []
    triggered: list[np.ndarray] = []
    labels: list[str] = []
    for kind in config.population.target_attacks:
        population = outcome.populations[f"target-{kind}"]
        attack = get_attack(kind, task=get_task(config.task))
        for i in range(min(each, len(population))):
            row = outcome.test_N[len(clean) % len(outcome.test_N)]
            x, _ = take(
                Examples(dataset.x[row][None], dataset.y[row][None]), np.zeros(1, int)
            )
            trigger = jax.tree.map(lambda leaf, i=i: leaf[i], population.triggers)
            clean.append(np.asarray(x)[0])
            triggered.append(np.asarray(attack.apply(trigger, x))[0])
            asr, target = population.quality.asr[i], describe_target(trigger)
            labels.append(f"{kind} {population.ids_M[i]} → {target}\nASR {asr:.2f}")
    return exhibit.triggers(np.stack(clean), np.stack(triggered), labels, dataset)


def labelled_scores(
    scores: dict[str, np.ndarray], attack: str
) -> tuple[np.ndarray, np.ndarray]:
    """Labels ``[N]`` and scores ``[R, N]`` of benign and so attacked targets."""
    benign, trojaned = scores["benign"], scores[attack]
    labels = np.repeat([0, 1], [benign.shape[1], trojaned.shape[1]])
    return labels, np.concatenate([benign, trojaned], axis=1)


def saved_scores(outcome: Outcome) -> dict[str, np.ndarray]:
    """The targets' scores by the one repeat that became the saved detector."""
    return {k: s[outcome.detector.repeat] for k, s in outcome.scores["jumbo"].items()}
