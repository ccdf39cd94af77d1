"""Writes a report: JSON, Markdown, one self-contained HTML file, figures."""

import base64
import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from rich.console import Console

from bdjax import plots, storage
from bdjax.evaluation import Table
from bdjax.report import figures, findings, results, tables
from bdjax.report.run import Run, read

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("bdjax.report"),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run found.

    Attributes:
      findings: sentences without a full stop: what was found, whether to trust it.
      answer: the tables that answer: AUCs and verdicts.
      details: all others.
      results: everything, as ``results.json`` has it.
    """

    findings: list[str]
    answer: list[Table]
    details: list[Table]
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
    report = Report(
        found["findings"], tables.answer(found), tables.details(found), _plain(found)
    )
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
        text = _TEMPLATES.get_template(name).render(
            report=report, found=found, figures=drawn, heading=findings.HEADING,
            columns=columns, rows=rows, machine=machine_line(run),
        )  # fmt: skip
        (run.directory / name).write_text(text, encoding="utf-8")
    return report


def show(report: Report, console: Console) -> None:
    """Prints tables and findings, as plain text."""
    for table in (*report.answer, *report.details):
        console.print(table.to_rich())
    console.print(f"{findings.HEADING}:", style="bold", highlight=False)
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
    names = ["population", "id", "role", "attack", "target", "trigger_kind"]
    names += ["trigger_size", "poisoning_rate", "accuracy", "asr", "loss"]
    if run.models[["architecture", "recipe"]].drop_duplicates().shape[0] > 1:
        names[4:4] = ["architecture", "recipe"]
    names = [n for n in names if run.models[n].replace("", np.nan).notna().any()]
    said: dict[str, dict[Any, Cell]] = {}
    for judged in run.judged.values():
        cells = said[judged.title] = {}
        for models in (judged.models, judged.unjudged):
            for model in models.itertuples():
                cells[model.population, model.id] = _verdict(model)
    rows = []
    for model in run.models.itertuples():
        row = [_cell(getattr(model, name)) for name in names]
        if not model.holds:
            row[names.index("attack")] = Cell(
                f"{model.attack} (failed)", model.attack, "failed"
            )
        key = model.population, model.id
        row += [cells.get(key, Cell("", "")) for cells in said.values()]
        rows.append(row)
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
        return {
            f"{k:g}" if isinstance(k, float) else str(k): _plain(v)
            for k, v in value.items()
        }
    if dataclasses.is_dataclass(value):
        return _plain(vars(value))
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
