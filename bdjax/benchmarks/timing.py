"""Contenders, and how several are timed so that a drifting machine is fair to all."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Protocol

LEAST = 3  # timed runs, where that many are asked for
WORST = 160  # characters of an error message that a table shows


@dataclasses.dataclass(frozen=True)
class Sample:
    """One timed run.

    Attributes:
      seconds: how long it took.
      units: units of work that got done in that time, over the whole machine.
    """

    seconds: float
    units: float


class Contender(Protocol):
    """One way of doing a piece of work.

    Attributes:
      name: what the table calls it.
      device: where it runs, such as ``"2 x cpu"``; known after the first run.
    """

    name: str
    device: str

    def run(self) -> Sample:
        """Does the work once. The first run may have to compile or load things."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one contender.

    Attributes:
      name: what the table calls it.
      device: where it ran.
      first_seconds: the first run beyond a steady one: mostly compilation. NaN where
        nothing ran.
      ms: milliseconds a unit of work, one a repeat; empty where nothing ran.
      reason: why it did not run; empty where it did.
    """

    name: str
    device: str
    first_seconds: float
    ms: tuple[float, ...]
    reason: str = ""

    @property
    def median(self) -> float:
        """Milliseconds a unit, median over repeats; NaN where nothing ran."""
        return statistics.median(self.ms) if self.ms else float("nan")

    @property
    def is_torch(self) -> bool:
        """Whether this is PyTorch's row, which ours are compared with."""
        return self.name.startswith("PyTorch")


@dataclasses.dataclass(frozen=True)
class Section:
    """One piece of work and who does it.

    Attributes:
      name: key in the report.
      title: of its table.
      unit: of work, such as ``"step"``.
      contenders: ours first.
      repeats: timed runs of each.
      patience: seconds after which :data:`LEAST` timed runs of each will do.
      flop: useful arithmetic of a unit; 0 where it is not stated.
      rate: what to state a rate of, and how many units one of it is.
    """

    name: str
    title: str
    unit: str
    contenders: Sequence[Contender]
    repeats: int
    patience: float = 80.0
    flop: int = 0
    rate: tuple[str, int] | None = None

    @property
    def turns(self) -> int:
        """How often :func:`measure` advances."""
        return len(self.contenders) * (1 + self.repeats)


class DidNotRunError(Exception):
    """A contender cannot run here; the message says why."""


@dataclasses.dataclass
class Absent:
    """A contender that is known not to run, with the reason for its row."""

    name: str
    reason: str
    device: str = "-"

    def run(self) -> Sample:
        """Raises :class:`DidNotRunError`."""
        raise DidNotRunError(self.reason)


def measure(section: Section, advance: Callable[[], None] = lambda: None) -> list[Row]:
    """Times every contender, in turns: A B C, A B C, ...

    Turns spread whatever slows the machine down for a while over all contenders. The
    first run of each, which compiles, is timed apart. A contender that fails loses its
    place and its row says why; the others go on. On a slow machine there are fewer
    turns.

    Args:
      section: whom to time, and how often.
      advance: called ``section.turns`` times on the way.
    """
    lanes = [_Lane(contender) for contender in section.contenders]
    began = time.perf_counter()
    for turn in range(1 + section.repeats):
        enough = turn > LEAST and time.perf_counter() - began > section.patience
        for lane in lanes:
            if not enough:
                lane.go()
            advance()
    return [lane.row() for lane in lanes]


class _Lane:
    """One contender's runs."""

    def __init__(self, contender: Contender):
        self._contender = contender
        self._first = float("nan")
        self._samples: list[Sample] = []
        self._reason = ""

    def go(self) -> None:
        """One more run, unless one failed."""
        if self._reason:
            return
        start = time.perf_counter()
        try:
            sample = self._contender.run()
        except Exception as error:  # whatever it is, it belongs in the row
            self._reason = _reason(error)
        else:
            if math.isnan(self._first):
                self._first = time.perf_counter() - start
            else:
                self._samples.append(sample)

    def row(self) -> Row:
        """What was measured."""
        contender, samples = self._contender, self._samples
        if self._reason:
            nothing = float("nan")
            return Row(contender.name, contender.device, nothing, (), self._reason)
        beyond = self._first - statistics.median(s.seconds for s in samples)
        ms = tuple(1000 * s.seconds / s.units for s in samples)
        return Row(contender.name, contender.device, max(0.0, beyond), ms)


def _reason(error: Exception) -> str:
    if isinstance(error, DidNotRunError):
        return str(error)
    lines = str(error).strip().splitlines() or [""]
    text = f"did not run: {type(error).__name__}: {lines[0]}"
    return text if len(text) <= WORST else text[: WORST - 3] + "..."
