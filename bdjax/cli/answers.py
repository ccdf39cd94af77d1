"""Where a scan's report goes, what the process ends with, and when it must."""

import argparse
import dataclasses
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn, Self

from rich.console import Console

from bdjax import telemetry
from bdjax.cli import interrupts
from bdjax.cli.arguments import UsageError
from bdjax.cli.scan_arguments import USAGE
from bdjax.scanning import render
from bdjax.scanning.record import WAITING
from bdjax.scanning.render import text, words
from bdjax.scanning.report import Judgement, Report
from bdjax.types import UserError
from bdjax.verdicts import Conclusion

_GRACE = 0.1  # of the budget, for the step in which it ends
_LEAST_GRACE = 3.0
_LAST_SECONDS = 20.0  # to write what is known, should the process have to end


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the user wants to have of a report.

    Attributes:
      files: to write, and the format of each.
      printed: format of what is printed.
      fails: conclusions, by value, that end in a status other than 0.
      quiet: no more than a line of text.
    """

    files: tuple[tuple[Path, str], ...]
    printed: str
    fails: tuple[str, ...]
    quiet: bool = False

    @classmethod
    def asked(cls, options: argparse.Namespace) -> Self:
        """The one that options are for.

        Raises:
          UsageError: a file's name does not say what to write, nor does an option.
          UserError: a file cannot be written.
        """
        files = tuple((path, _format(path, options)) for path in map(Path, options.out))
        for path, _ in files:
            check(path)
        asked = options.format or "text"
        printed = "text" if asked in {form for _, form in files} else asked
        return cls(files, printed, options.fail_on, options.quiet)

    def write(self, report: Report) -> None:
        """Writes the files.

        Raises:
          OSError: one cannot be written.
        """
        for path, form in self.files:
            path.write_text(render.render(report, form), encoding="utf-8")

    def show(self, report: Report) -> None:
        """Prints the report, or a line of it."""
        if self.printed != "text":
            print(render.render(report, self.printed), end="")
        elif self.quiet:
            why = report.reasons[0] if report.reasons else words.power(report)
            why = f": {why}" if why else ""
            print(f"{report.source}: {words.headline(report)}{why}")
        else:
            text.show(report, Console())
            for path, _ in self.files:
                print(f"Written: {path}")
        sys.stdout.flush()

    def status(self, report: Report) -> int:
        """What to exit with."""
        failures = {Conclusion.TROJANED: 1, Conclusion.INCONCLUSIVE: 2}
        if report.conclusion.value not in self.fails:
            return 0
        return failures.get(report.conclusion, 0)


def _format(path: Path, options: argparse.Namespace) -> str:
    """What is written to a file: what its name says, else what the option does."""
    try:
        return render.format_of(path)
    except UserError as error:
        if options.format:
            return options.format
        raise UsageError(f"--out: {error}, or give --format", USAGE) from error


def check(path: Path) -> None:
    """Refuses, before any work, a file that could not be written after it.

    Raises:
      UserError: it is a directory, or may not be written.
      OSError: its directory cannot be made.
    """
    if path.is_dir():
        raise UserError(f"--out {path} is a directory; give a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"--out {path} cannot be written; check its rights")


class Watch:
    """Holds what a scan knows so far, and gives it should the process have to end.

    Compiling, a server or a solver's step cannot be broken off from inside: here a
    thread ends the process where the budget is well past, as do Ctrl-C and SIGTERM.
    """

    def __init__(self, answer: Answer, budget: float | None, started: float):
        """Keeps to the budget, if there is one, since then (``time.monotonic``)."""
        self._answer, self._started = answer, started
        self._report: Report | None = None
        self._told: set[str] = set()
        self._ends = self._left = False
        self._turn = threading.Lock()
        self._budget = math.inf if budget is None else budget
        grace = max(_LEAST_GRACE, _GRACE * self._budget)
        left = started + self._budget + grace - time.monotonic()
        self._timer = threading.Timer(max(left, 0.0), self._over)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        interrupts.on_end(self._end)
        if math.isfinite(self._budget):
            self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        with self._turn:
            self._left = True
        if self._ends:
            interrupts.once()  # never returns: that thread ends the process

    def tell(self, report: Report) -> None:
        """Keeps the report so far, and says what is new in it."""
        lines = [_opening(report)] if self._report is None else []
        self._report = report
        for judgement in report.judgements:
            if judgement.finding is None:
                continue
            # Once more where other images changed it.
            found = f"{judgement.name} {judgement.finding.score}"
            if found not in self._told:
                self._told.add(found)
                lines.append(_line(report, judgement))
        if not self._answer.quiet:
            for line in lines:
                print(line, file=sys.stderr, flush=True)

    def _over(self) -> None:
        with self._turn:
            if self._left:  # the scan came to its end meanwhile
                return
            self._ends = True
        interrupts.once()
        why = f"the budget of {self._budget:g} s ran out amid a step"
        try:
            self._end(why, 0)
        finally:
            os._exit(2)

    def _end(self, why: str, status: int) -> NoReturn:
        """Gives what is known, and ends the process; status 0 leaves it to that."""
        self._ends = True
        report = self._report
        if report is None:
            interrupts.leave(f"error: {why} before anything was known", 2)
        cause = f"the scan was {why}" if status else why
        report = _stopped(report, cause, time.monotonic() - self._started)
        found = self._answer.status(report)
        if found != 1:
            found = found or status  # asked to end, it has come to no end

        def give() -> None:
            telemetry.stop()
            try:
                self._answer.write(report)
            finally:
                self._answer.show(report)

        line = f"{why}; what was known by then is in the report"
        interrupts.leave(line, found, before=give, seconds=_LAST_SECONDS)


def _stopped(report: Report, why: str, seconds: float) -> Report:
    """The report so far as that of a scan that was ended."""
    stopped = dataclasses.replace(
        report,
        seconds=seconds,
        peak_mib=telemetry.peak_memory_bytes() / 2**20,
        judgements=tuple(
            dataclasses.replace(j, skipped=why) if j.skipped == WAITING else j
            for j in report.judgements
        ),
    )
    if report.conclusion is Conclusion.TROJANED:
        more = f"{why}; detectors that come later were not asked"
        return dataclasses.replace(stopped, notes=(*report.notes, more))
    reasons = (why, *report.preflight.reasons)
    unsure = Conclusion.INCONCLUSIVE
    return dataclasses.replace(stopped, conclusion=unsure, reasons=reasons)


def _opening(report: Report) -> str:
    reading = report.preflight.reading
    fits = {c.name: words.share(c.accuracy) for c in report.preflight.candidates}
    right = f": {fits[reading]} of the images right" if fits.get(reading) else ""
    return f"{report.source} ({report.kind}), asked as {reading}{right}"


def _line(report: Report, judgement: Judgement) -> str:
    took = words.duration(judgement.seconds)
    return f"{judgement.title}: {words.answer(report, judgement)} ({took})"
