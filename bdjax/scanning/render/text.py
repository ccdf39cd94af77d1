"""A report for a terminal, or a pipe: 80 columns, no colour where none is wanted."""

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

import rich.console
import rich.table
import rich.text

from bdjax.scanning.render import words
from bdjax.verdicts import Conclusion

if TYPE_CHECKING:
    from bdjax.scanning.report import Judgement, Report

_STYLES = {
    Conclusion.TROJANED: "bold red",
    Conclusion.NOT_FLAGGED: "bold green",
    Conclusion.INCONCLUSIVE: "bold yellow",
}
_READINGS = 4  # that are told, of those that were tried


def to_text(report: "Report", width: int = 80) -> str:
    """What :func:`show` prints, without colour and blanks at lines' ends.

    Args:
      report: of a scan.
      width: columns; words that are longer than that are cut in two.
    """
    file = io.StringIO()
    console = rich.console.Console(
        file=file,
        width=width,
        color_system=None,
        force_terminal=False,
        legacy_windows=False,
    )
    _print(report, console)
    lines = (line.rstrip() for line in file.getvalue().splitlines())
    return "\n".join(lines) + "\n"


def show(report: "Report", console: rich.console.Console) -> None:
    """Prints the answer, what it rests on, and each detector's part."""
    if console.is_terminal:
        _print(report, console)
    else:
        console.file.write(to_text(report, console.width))


def _print(report: "Report", console: rich.console.Console) -> None:
    style = _STYLES[report.conclusion]
    head = words.headline(report)
    shout = report.conclusion.value.capitalize()
    console.print(rich.text.Text(head.replace(shout, shout.upper(), 1), style=style))
    console.print(rich.text.Text(_network(report), style="dim"))
    console.print()
    console.print(_summary(report))
    if report.judgements:
        console.print()
        console.print(_detectors(report))
    told = [f"{j.title}: {why}" for j in report.judgements for why in words.why(j)]
    if told:
        console.print()
        _list(console, told)
    if notes := words.notes(report):
        console.print("\nNotes")
        _list(console, notes)


def _network(report: "Report") -> str:
    known = [report.kind, *(f"{name} {value}" for name, value in report.facts.items())]
    return f"{report.source}: {'; '.join(known)}"


def _summary(report: "Report") -> rich.table.Table:
    grid = rich.table.Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")

    def row(name: str, text: str) -> None:
        if text:
            grid.add_row(rich.text.Text(name, style="bold"), rich.text.Text(text))

    unsure = report.conclusion is Conclusion.INCONCLUSIVE
    row("Why" if unsure else "How sure", " ".join(words.sureness(report)))
    lead = words.lead(report)
    if lead and lead.calibration and lead.calibration.references:
        row("False alarms", f"{lead.title}: {lead.calibration.basis}.")
    row("Asked as", _asked(report))
    row("Took", f"{words.effort(report)}.")
    return grid


def _asked(report: "Report") -> str:
    """The reading, whether it fits, and what else was tried."""
    preflight = report.preflight
    if not preflight.reading:
        return ""
    origin = "as stated" if preflight.stated else "found by trying"
    if not preflight.candidates:
        origin = "as stated" if preflight.stated else "assumed"
    fits = {c.name: _fit(c.accuracy, c.confidence) for c in preflight.candidates}
    text = f"{preflight.reading} ({origin})"
    if fit := fits.pop(preflight.reading, ""):
        of = f" of {preflight.images} images" if preflight.images else ""
        text += f": {fit.replace(' right', of + ' right', 1)}"
    others = [f"{name} ({fit})" for name, fit in fits.items() if fit][:_READINGS]
    told = [f"{text}."]
    if others:
        told.append(f"Others tried: {'; '.join(others)}.")
    own = [reason for reason in preflight.reasons if reason not in report.reasons]
    told += [words.sentence(reason) for reason in own]
    return " ".join(told)


def _fit(accuracy: float, confidence: float) -> str:
    right, sure = words.share(accuracy), words.share(confidence)
    parts = [f"{right} right" if right else "", f"{sure} sure" if sure else ""]
    return ", ".join(part for part in parts if part)


def _detectors(report: "Report") -> rich.table.Table:
    table = rich.table.Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Detector", overflow="fold")
    table.add_column("Answer", overflow="fold")
    for name in ("Score", "Threshold", "p", "Time"):
        table.add_column(name, justify="right", no_wrap=True)
    for judgement in report.judgements:
        table.add_row(*_row(report, judgement))
    return table


def _row(report: "Report", judgement: "Judgement") -> list[rich.text.Text]:
    finding, conclusion = judgement.finding, judgement.conclusion
    style = "dim" if conclusion is None else _STYLES[conclusion]
    cells = ["", "", "", ""]
    if finding is not None:
        cells = [
            words.figure(finding.score),
            words.figure(words.threshold(judgement)),
            words.chance(judgement.p_value),
            words.duration(judgement.seconds),
        ]
    return [
        rich.text.Text(judgement.title),
        rich.text.Text(words.answer(report, judgement), style=style),
        *map(rich.text.Text, cells),
    ]


def _list(console: rich.console.Console, lines: Iterable[str]) -> None:
    for line in lines:
        item = rich.table.Table.grid(padding=(0, 1))
        item.add_row("-", rich.text.Text(words.sentence(line), overflow="fold"))
        console.print(item)
