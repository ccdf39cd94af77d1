"""The figures of a report: which there are, and what they are drawn from."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from bdjax import plots
from bdjax.report import evidence, numbers, words
from bdjax.report.run import CONTROL, Judged, Run
from bdjax.tasks import get_task
from bdjax.types import UserError

_EACH = 4  # models of a population whose triggers are drawn
_EXTRA = ("columns", "offset", "scale", "words", "similarity", "value_range")

Drawn = tuple[str, str, Any]
"""File name without ending, caption, figure."""


def draw(run: Run, found: dict[str, Any]) -> Iterator[Drawn]:
    """Every figure that there is something for, the answer's first."""
    main = [run.judged[name] for name in found["main"]]
    control = [run.judged[CONTROL]] if CONTROL in run.judged else []
    for attack in found["controls"]:
        curves = {}
        for judged in (*main, *control):
            some = judged.targets(attack)
            if some.models.trojaned.nunique() == 2:
                curves[judged.title] = (some.models.trojaned, some.scores_RxM)
        if curves:
            figure = plots.roc_curves(curves, f"Attack {attack}: detection of targets")
            caption = f"ROC on targets with attack {attack}, one thin line a repeat"
            yield f"roc-{attack}", caption, figure
    for judged in (*main, *control):
        if len(judged.targets().models):
            yield _scores(judged, found)
    yield from _sweeps(found)
    for judged in main:
        if judged.name not in found["derived"]:
            yield from _similarity(run, judged)
            yield from _recovered(run, judged)
    yield from _triggers(run)
    yield from _queries(run)
    yield from _quality(run)


def _scores(judged: Judged, found: dict[str, Any]) -> Drawn:
    models = judged.targets().models
    models = models[np.isfinite(models.score)]
    rules = found["rates"][judged.name]
    names = [name for name in ("calibrated", numbers.OWN) if name in rules]
    figure = plots.score_histograms(
        {str(kind): some.score for kind, some in models.groupby("attack", sort=False)},
        limits={name: rules[name]["threshold"] for name in names},
        title=f"{judged.title}: scores of target models",
    )
    said = {
        "calibrated": "; 'calibrated' is the threshold set on calibration models",
        numbers.OWN: "; the detector's own threshold comes with it",
    }
    caption = f"Scores of the targets by {judged.title}"
    caption += "".join(said[name] for name in names)
    return f"scores-{judged.name}", caption, figure


def _sweeps(found: dict[str, Any]) -> Iterator[Drawn]:
    for option, sweep in found["sweeps"].items():
        unit, titles, attacks = (sweep[k] for k in ("unit", "titles", "attacks"))
        panels = {
            attack: {titles[name]: points for name, points in fields["auc"].items()}
            for attack, fields in attacks.items()
        }
        if panels:
            paper = {attack: fields["published"] for attack, fields in attacks.items()}
            figure = plots.sweep_curves(
                panels, f"Detection AUC by {unit}", unit=unit, references=paper
            )
            caption = f"AUC by {unit}; bars: interval, band: one std over repeats"
            yield f"sweep-{option}", caption, figure
    curves = {found["titles"][k]: v for k, v in found["quantiles"].items() if v}
    if curves:
        title = "AUC by quantile Q of the similarities"
        figure = plots.sweep_curves({numbers.ALL: curves}, title, unit="quantile Q")
        caption = f"{title}; bars: interval over models; {words.QUANTILES}"
        yield "quantiles", caption, figure


def _similarity(run: Run, judged: Judged) -> Iterator[Drawn]:
    """The paper's: a clean network and the first trojaned one with a target."""
    models = judged.targets().models
    clean = models[models.trojaned == 0].head(1)
    trojaned = models[(models.trojaned == 1) & (models.target >= 0)].head(1)
    shown, targets = {}, {}
    for model in (*clean.itertuples(), *trojaned.itertuples()):
        values = evidence.similarity(run, judged, model)
        if values is None:
            return
        name = "clean network"
        if model.trojaned:
            name = f"{model.attack}, target {model.target:.0f}"
            targets[name] = int(model.target)
        shown[name] = values
    if shown:
        title = f"{judged.title}: similarity by candidate label"
        figure = plots.similarity_distributions(shown, title, targets=targets)
        caption = (
            f"{judged.title}: similarity of universal and per-image perturbations, by "
            "label, of a clean and a trojaned network; a box starts at the 25 % "
            "quantile"
        )
        yield f"similarity-{judged.name}", caption, figure


def _recovered(run: Run, judged: Judged) -> Iterator[Drawn]:
    """Of a benign target and some of every attack."""
    columns: list[tuple[np.ndarray, ...]] = []
    labels: list[str] = []
    for model, shown, i in run.shown(judged.targets().models, _EACH - 1):
        found = run.found(judged.name, model.population, model.id)
        trigger = evidence.top_trigger(found, model.top_label)
        benign = not model.trojaned
        if trigger is None or "mask" not in shown or (benign and labels):
            continue
        image = shown["x_triggered"][i]
        columns.append((image, shown["mask"][i, ..., None], *trigger))
        aim = f", T {model.target:.0f}" if model.target >= 0 else ""
        labels.append(f"{model.attack} {model.id:.0f}\nS {model.top_label:.0f}{aim}")
    if labels:
        x, truths, masks, patterns = map(np.stack, zip(*columns, strict=True))
        ends = _extra(run, {}).get("value_range", (0.0, 1.0))
        title = f"{judged.title}: recovered triggers"
        figure = plots.recovered_triggers(
            x, truths, masks, patterns, labels, title, value_range=ends
        )
        caption = (
            f"Triggers that {judged.title} recovered, and the true ones. "
            "S: most suspicious label; T: true target"
        )
        yield f"recovered-{judged.name}", caption, figure


def _triggers(run: Run) -> Iterator[Drawn]:
    """Examples beside what the targets' attackers make of them."""
    models = run.models[(run.models.role == "target") & (run.models.trojaned == 1)]
    pairs, labels, extra = [], [], {}
    for model, shown, i in run.shown(models, _EACH):
        pairs.append((shown["x_clean"][i], shown["x_triggered"][i]))
        aim = f" → {model.target:.0f}" if model.target >= 0 else ""
        labels.append(f"{model.attack} {model.id:.0f}{aim}\nASR {model.asr:.2f}")
        extra = _extra(run, shown)
    if labels:
        clean, triggered = map(np.stack, zip(*pairs, strict=True))
        draw_ = plots.EXAMPLES[_modality(run, clean)].triggers
        figure = draw_(clean, triggered, labels, "Triggers of target models", **extra)
        caption = "Clean test examples and the same with triggers of targets"
        yield "triggers", caption, figure


def _queries(run: Run) -> Iterator[Drawn]:
    for judged in run.judged.values():
        shown = run.arrays(judged.name, "shown")
        if "queries" not in shown:
            continue
        queries, modality = shown["queries"], _modality(run, shown["queries"])
        if modality == "text":  # vectors, which say nothing but by their nearest words
            if "words" not in shown:
                continue
            queries = shown.pop("words").tolist()
            shown["similarity"] = shown["word_similarities"]
        draw_ = plots.EXAMPLES[modality].queries
        tuned = not judged.name.startswith("mntd_no_tuning")
        title = "Learned queries" if tuned else "Queries"
        figure = draw_(queries, title, **_extra(run, shown))
        yield f"queries-{judged.name}", f"The query set of {judged.title}", figure


def _modality(run: Run, examples: np.ndarray) -> str:
    """That of the task; of an unknown task, by the shape of its examples."""
    try:
        return get_task(run.task).modality.name
    except UserError:
        return {2: "tables", 3: "series"}.get(examples.ndim, "images")


def _extra(run: Run, shown: dict[str, Any]) -> dict[str, Any]:
    """What figures of examples are drawn by, besides the examples."""
    found: dict[str, Any] = {}
    with contextlib.suppress(UserError):
        found["value_range"] = get_task(run.task).value_range
    return found | {k: shown[k] for k in _EXTRA if k in shown}


def _quality(run: Run) -> Iterator[Drawn]:
    kinds = {
        str(name).replace("-", "\n", 1): {
            "accuracy": some.accuracy,
            "ASR": some.asr if some.asr.notna().all() else None,
        }
        for name, some in run.models.groupby("population", sort=False)
        if some.accuracy.notna().all()
    }
    if kinds:
        figure = plots.quality_distributions(kinds, "Quality of the models")
        yield "quality", "Clean accuracy and attack success rate", figure
