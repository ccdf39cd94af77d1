"""The figures of a report: which there are, and what they are drawn from."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from bdjax import plots
from bdjax.report import numbers
from bdjax.report.results import CONTROL
from bdjax.report.run import Judged, Run
from bdjax.tasks import get_task
from bdjax.types import UserError

_EACH = 4  # examples with triggers a population; columns of recovered ones an attack

_EXTRA = ("columns", "offset", "scale", "words", "similarity")

Drawn = tuple[str, str, Any]
"""File name without ending, caption, figure."""


def draw(run: Run, found: dict[str, Any]) -> Iterator[Drawn]:
    """Every figure that there is something for, the answer's first."""
    main = [run.judged[name] for name in found["main"]]
    main += [run.judged[CONTROL]] if CONTROL in run.judged else []
    yield from _rocs(run, main, found)
    for judged in main:
        if len(judged.targets().models):
            yield _scores(judged, found)
    yield from _sweeps(found)
    for judged in main:
        yield from _of_artefacts(run, judged)
    yield from _triggers(run)
    yield from _queries(run)
    yield _quality(run)


def _rocs(run: Run, main: list[Judged], found: dict[str, Any]) -> Iterator[Drawn]:
    for attack in found["controls"]:
        curves = {}
        for judged in main:
            targets = judged.targets()
            models = targets.models
            some = targets.take((models.trojaned == 0) | (models.attack == attack))
            if some.models.trojaned.nunique() == 2:
                curves[judged.title] = (some.models.trojaned, some.scores_RxM)
        if curves:
            yield (
                f"roc-{attack}",
                f"ROC on targets with attack {attack}, one thin line a repeat",
                plots.roc_curves(curves, f"Attack {attack}: detection of targets"),
            )


def _scores(judged: Judged, found: dict[str, Any]) -> Drawn:
    models = judged.targets().models
    models = models[np.isfinite(models.score)]
    kinds = {numbers.BENIGN: models[models.trojaned == 0].score}
    for attack in numbers.attacks_of(models):
        kinds[attack] = models[models.attack == attack].score
    rules = found["rates"][judged.name]
    names = [name for name in ("calibrated", numbers.OWN) if name in rules]
    return (
        f"scores-{judged.name}",
        f"Scores of the targets by {judged.title}; 'calibrated' is the threshold that "
        "was set on calibration models, the detector's own comes with it",
        plots.score_histograms(
            {kind: scores for kind, scores in kinds.items() if len(scores)},
            limits={name: rules[name]["threshold"] for name in names},
            title=f"{judged.title}: scores of target models",
        ),
    )


def _sweeps(found: dict[str, Any]) -> Iterator[Drawn]:
    for option, sweep in found["sweeps"].items():
        panels, references = {}, {}
        for attack, fields in sweep["attacks"].items():
            panels[f"attack {attack}"] = {
                sweep["titles"][name]: points for name, points in fields["auc"].items()
            }
            references[f"attack {attack}"] = fields["published"]
        if panels:
            yield (
                f"sweep-{option}",
                f"AUC by {sweep['unit']}; band: one std over repeats",
                plots.sweep_curves(
                    panels,
                    f"Detection AUC by {sweep['unit']}",
                    unit=sweep["unit"],
                    references=references,
                ),
            )
    curves = {
        found["titles"][name]: points
        for name, points in found["quantiles"].items()
        if points
    }
    if curves:
        yield (
            "quantiles",
            "AUC by the quantile of similarities; bars: interval over models",
            plots.sweep_curves(
                {numbers.ALL: curves},
                "AUC by quantile Q of the similarities",
                unit="quantile Q",
            ),
        )


def _of_artefacts(run: Run, judged: Judged) -> Iterator[Drawn]:
    """Similarities by label; recovered triggers beside the true ones."""
    if judged.name == CONTROL:
        return
    if similarity := _similarity(run, judged):
        yield (
            f"similarity-{judged.name}",
            f"{judged.title}: similarity of universal and per-image perturbations, by "
            "label, of a clean and a trojaned network; a box starts at the 25 % "
            "quantile",
            similarity,
        )
    if recovered := _recovered(run, judged):
        yield (
            f"recovered-{judged.name}",
            f"Triggers that {judged.title} recovered, and the true ones. "
            "S: most suspicious label; T: true target",
            recovered,
        )


def _similarity(run: Run, judged: Judged) -> Any:
    """The paper's: a clean network and the first trojaned one with a target."""
    models = judged.targets().models
    shown, targets = {}, {}
    for some in (
        models[models.trojaned == 0],
        models[(models.trojaned == 1) & (models.target >= 0)],
    ):
        for model in some.head(1).itertuples():
            values = numbers.similarity(run, judged, model)
            if values is None:
                return None
            name = "clean network"
            if model.trojaned:
                name = f"{model.attack}, target {model.target:.0f}"
                targets[name] = int(model.target)
            shown[name] = values
    title = f"{judged.title}: similarity by candidate label"
    return (
        plots.similarity_distributions(shown, title, targets=targets) if shown else None
    )


def _recovered(run: Run, judged: Judged) -> Any:
    """Of a benign target and some of every attack."""
    columns, labels = [], []
    models = judged.targets().models
    for name, some in models.groupby("population", sort=False):
        shown = run.arrays("populations", str(name))
        ids = [*shown.get("ids", ())]
        for model in some[some.id.isin(ids)].head(_EACH - 1).itertuples():
            i = ids.index(model.id)
            found = run.found(judged.name, str(name), model.id)
            trigger = numbers.top_trigger(found, model.top_label)
            truth = numbers.true_mask(shown, i)
            if trigger is None or truth is None:
                continue
            truth = truth[..., None] * (model.trojaned == 1)
            columns.append((shown["x_triggered"][i], truth, *trigger))
            top = "-" if np.isnan(model.top_label) else f"{model.top_label:.0f}"
            aim = f", T {model.target:.0f}" if model.target >= 0 else ""
            labels.append(f"{model.attack} {model.id:.0f}\nS {top}{aim}")
            if not model.trojaned:
                break
    if not columns:
        return None
    images, truths, masks, patterns = (
        np.stack(each) for each in zip(*columns, strict=True)
    )
    channels = 3 if images.shape[-1] >= 3 else 1
    masks = masks[..., :channels] if masks.shape[-1] > 1 else masks
    ends = float(min(images.min(), 0)), float(max(images.max(), 1))
    return plots.recovered_triggers(
        images[..., :channels], truths, masks, patterns[..., :channels], labels,
        f"{judged.title}: recovered triggers", value_range=ends,
    )  # fmt: skip


def _triggers(run: Run) -> Iterator[Drawn]:
    """Examples beside what the targets' attackers make of them."""
    models = run.models[(run.models.role == "target") & (run.models.trojaned == 1)]
    clean, triggered, labels = [], [], []
    shown: dict[str, Any] = {}
    for name, some in models.groupby("population", sort=False):
        shown = run.arrays("populations", str(name)) or shown
        ids = [*shown.get("ids", ())]
        for model in some[some.id.isin(ids)].head(_EACH).itertuples():
            clean.append(shown["x_clean"][ids.index(model.id)])
            triggered.append(shown["x_triggered"][ids.index(model.id)])
            aim = f" → {model.target:.0f}" if model.target >= 0 else ""
            labels.append(f"{model.attack} {model.id:.0f}{aim}\nASR {model.asr:.2f}")
    if labels:
        x, y = np.stack(clean), np.stack(triggered)
        modality = _modality(run, x)
        yield (
            "triggers",
            "Clean test examples and the same with triggers of targets",
            plots.TRIGGERS[modality](
                x, y, labels, "Triggers of target models", **_extra(run, shown)
            ),
        )


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
        yield (
            f"queries-{judged.name}",
            f"The query set of {judged.title}",
            plots.QUERIES[modality](queries, "Learned queries", **_extra(run, shown)),
        )


def _modality(run: Run, examples: np.ndarray) -> str:
    """How examples look: the task's modality; of an unknown task, by their shape."""
    try:
        return get_task(run.task).modality.name
    except UserError:
        return {2: "tables", 3: "series"}.get(examples.ndim, "images")


def _extra(run: Run, shown: dict[str, Any]) -> dict[str, Any]:
    """What figures of examples are drawn by, besides the examples."""
    found = {k: shown[k] for k in _EXTRA if k in shown}
    with contextlib.suppress(UserError):
        found["value_range"] = get_task(run.task).value_range
    return found


def _quality(run: Run) -> Drawn:
    kinds = {
        str(name).replace("-", "\n", 1): {
            "accuracy": some.accuracy,
            "ASR": some.asr if some.asr.notna().all() else None,
        }
        for name, some in run.models.groupby("population", sort=False)
        if some.accuracy.notna().all()
    }
    if not kinds:
        raise UserError(f"{run.directory}: no population has accuracies; run again")
    return (
        "quality",
        "Clean accuracy and attack success rate",
        plots.quality_distributions(kinds, "Quality of the models"),
    )
