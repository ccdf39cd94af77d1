"""Writes a report: JSON, Markdown, one self-contained HTML file, figures."""

import base64
import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

from bdjax import plots, storage
from bdjax.report import figures, results, words
from bdjax.report.run import Run, read


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run found.

    Attributes:
      best: a sentence on the detector of the greatest AUC; "" without any.
      findings: sentences: what was found, and whether to trust it.
      answer: the tables that answer, AUCs and verdicts, in Markdown.
      details: all others, likewise.
      results: everything, as ``results.json`` has it.
    """

    best: str
    findings: list[str]
    answer: str
    details: str
    results: dict[str, Any]


class Figure(NamedTuple):
    """One that is on disk."""

    caption: str
    path: str
    data: str  # base64
    wide: bool


class Cell(NamedTuple):
    """Of the table of models."""

    text: str
    key: str  # what it is sorted by: a number, or text
    mark: str = ""


def write(directory: str | Path) -> Report:
    """Computes and writes the report of a run directory, in place of an older one.

    Args:
      directory: of a run whose detectors have been asked.

    Raises:
      UserError: it is no run, a file is missing or damaged, or it cannot be written.
    """
    run = read(directory)
    found = results.compute(run)
    answer, details = (
        words.render("tables.md", found=found, wanted=wanted).strip() + "\n"
        for wanted in ("answer", "details")
    )
    report = Report(found["best"], found["findings"], answer, details, _plain(found))
    storage.write_json(run.directory / "results.json", report.results)
    drawn = []
    for name, caption, figure in figures.draw(run, found):
        path = plots.save(figure, run.directory / "figures" / f"{name}.png")
        data = base64.b64encode(path.read_bytes()).decode()
        width, height = figure.get_size_inches()
        wide = bool(width > 1.9 * height)
        drawn.append(Figure(caption, f"figures/{name}.png", data, wide))
    columns, rows = models_table(run)
    for name in ("report.md", "report.html"):
        text = words.render(
            name, found=found, heading=f"Detectors on {run.task or 'a zoo'}",
            best=report.best, answer=answer, details=details, figures=drawn,
            columns=columns, rows=rows, machine=machine_line(run),
        )  # fmt: skip
        (run.directory / name).write_text(text, encoding="utf-8")
    return report


def show(report: Report, console: Console) -> None:
    """Prints tables and findings."""
    console.print(Markdown(f"{report.answer}\n{report.details}"))
    for line in report.findings:
        console.print(f"- {line}.", markup=False, highlight=False)


def machine_line(run: Run) -> str:
    """Where and how long, as far as experiment.json says; "" if it does not."""
    facts, parts = run.facts, []
    if "device" in facts:
        parts.append(f"Device: {facts['device']}.")
    if seconds := facts.get("wall_seconds"):
        phases = ", ".join(f"{k} {v:.0f} s" for k, v in seconds.items())
        parts.append(f"Wall time: {phases}.")
    if memory := facts.get("peak_memory_bytes"):
        parts.append(f"Peak memory: {memory / 2**30:.1f} GiB.")
    return " ".join(parts)


def models_table(run: Run) -> tuple[list[str], list[list[Cell]]]:
    """Headings and a row a model: who it is, and what each detector said of it."""
    names = [
        *("population", "id", "role", "attack", "architecture", "recipe", "target"),
        *("trigger_kind", "trigger_size", "poisoning_rate", "accuracy", "asr", "loss"),
    ]
    names = [n for n in names if run.models[n].replace("", np.nan).notna().any()]
    said = {
        judged.title: {
            (model.population, model.id): _verdict(model)
            for models in (judged.models, judged.unjudged)
            for model in models.itertuples()
        }
        for judged in run.judged.values()
    }
    rows = []
    for model in run.models.itertuples():
        row = [_cell(getattr(model, name)) for name in names]
        if not model.holds:
            failed = Cell(f"{model.attack} (failed)", str(model.attack), "failed")
            row[names.index("attack")] = failed
        key = model.population, model.id
        rows.append([*row, *(each.get(key, Cell("", "")) for each in said.values())])
    return [name.replace("_", " ") for name in names] + list(said), rows


def _cell(value: Any) -> Cell:
    if isinstance(value, str):
        return Cell(value, value)
    if math.isnan(value):
        return Cell("", "")
    return Cell(f"{value:.0f}" if value == int(value) else f"{value:.3g}", repr(value))


def _verdict(model: Any) -> Cell:
    """Score, conclusion and the label that is named."""
    if math.isnan(model.score):
        return Cell("not judged", "", "inconclusive")
    text = " ".join(filter(None, [f"{model.score:.3g}", model.conclusion]))
    if model.named_target >= 0:
        text += f" → {model.named_target:.0f}"
    key = repr(model.score).replace("inf", "Infinity")  # as JavaScript has it
    return Cell(text, key, model.conclusion)


def _plain(value: Any) -> Any:
    """As JSON has it: no NaN and no infinity, which are null."""
    if isinstance(value, dict):
        texts = (f"{k:g}" if isinstance(k, float) else str(k) for k in value)
        return dict(zip(texts, map(_plain, value.values()), strict=True))
    if dataclasses.is_dataclass(value):
        return _plain(vars(value))
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
