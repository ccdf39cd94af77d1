"""Writes a report: JSON, Markdown, one self-contained HTML file, figures."""

import base64
import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from rich.console import Console
from rich.markdown import Markdown, TableElement
from rich.table import Table

from bdjax import plots, storage
from bdjax.evaluation.tables import keep_first
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


class _Table(TableElement):
    """For a terminal: names whole, reasons cut."""

    def __rich_console__(self, console, options):
        for row in self.body.rows if self.body else ():
            for cell in row.cells[1:]:
                cell.content.truncate(40, overflow="ellipsis")
        for table in super().__rich_console__(console, options):
            yield keep_first(cast(Table, table))


class _Terminal(Markdown):
    elements = Markdown.elements | {"table_open": _Table}


class Figure(NamedTuple):
    """One that is on disk."""

    caption: str
    path: str
    data: str  # base64
    wide: bool


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
    for name in ("report.md", "report.html"):
        text = words.render(
            name, found=found, heading=f"Detectors on {run.task or 'a zoo'}",
            answer=answer, details=details, figures=drawn, columns=_columns(run),
            models=run.models.itertuples(), said=_said(run),
        )  # fmt: skip
        (run.directory / name).write_text(text, encoding="utf-8")
    return report


def show(report: Report, console: Console) -> None:
    """Prints the answer, all tables, and findings."""
    if report.best:
        console.print(f"{report.best}.", markup=False, highlight=False)
    console.print(_Terminal(f"{report.answer}\n{report.details}"))
    for line in report.findings:
        console.print(f"- {line}.", markup=False, highlight=False)


def _columns(run: Run) -> list[str]:
    """Of the table of models: those that anything is known in."""
    names = (
        *("population", "id", "role", "attack", "architecture", "recipe", "target"),
        *("trigger_kind", "trigger_size", "poisoning_rate", "accuracy", "asr", "loss"),
    )
    known = run.models.replace("", np.nan).notna().any()
    return [name for name in names if known[name]]


def _said(run: Run) -> dict[str, dict[Any, Any]]:
    """By title of the detector and model: the row of what it said."""
    return {
        judged.title: {(m.population, m.id): m for m in judged.every.itertuples()}
        for judged in run.judged.values()
    }


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
