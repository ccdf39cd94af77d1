"""Contenders, and how several are timed so that a drifting machine is fair to all."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Protocol

WORST = 160  # characters of an error message that a table shows
NO_TIME = "not measured: the time was over"
NO_TORCH = "no PyTorch: it runs in a checkout, after pip install -e '.[bench]'"


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

    def run(self, seconds: float) -> Sample:
        """Does the work once. The first run may have to compile or load things.

        Args:
          seconds: that are left for all runs of all contenders; who can stop midway
            takes a small part of them.
        """


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one contender.

    Attributes:
      name: what the table calls it.
      device: where it ran.
      first_seconds: the first run beyond a steady one: mostly compilation. NaN where
        nothing ran.
      ms: milliseconds a unit of work, one a repeat; empty where nothing ran.
      reason: why there is no figure; empty where there is.
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
      repeats: timed runs of each at most; 0 for as many as there is time for.
      flop: useful arithmetic of a unit; 0 where it is not stated.
      rate: what to state a rate of, and how many units one of it is.
    """

    name: str
    title: str
    unit: str
    contenders: Sequence[Contender]
    repeats: int = 0
    flop: int = 0
    rate: tuple[str, int] | None = None


class DidNotRunError(Exception):
    """A contender cannot run here; the message says why."""


@dataclasses.dataclass
class Absent:
    """A contender that is known not to run, with the reason for its row."""

    name: str
    reason: str
    device: str = "-"

    def run(self, seconds: float) -> Sample:
        """Raises :class:`DidNotRunError`."""
        del seconds
        raise DidNotRunError(self.reason)


ABSENT = (Absent("PyTorch", NO_TORCH),)
"""Stands for all of PyTorch's rows where it is not installed."""


class Measurement:
    """A section's timing; what it has so far can be read from any thread."""

    def __init__(self, section: Section):
        """Nothing runs yet."""
        self.section = section
        self._lanes = [_Lane(contender) for contender in section.contenders]

    def rows(self) -> list[Row]:
        """What was measured, a row a contender."""
        return [lane.row() for lane in self._lanes]

    def run(
        self,
        seconds: float,
        tell: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Times every contender, in turns: A B C, A B C, ...

        Turns spread whatever slows the machine down for a while over all contenders.
        The first turn has two runs of each: one that compiles, and is timed apart. A
        contender that fails loses its place and its row says why; the others go on.

        Once all have a figure, a run must fit into its share of what time is left, and
        into what is left at all once no share suffices. So slow contenders get fewer
        runs, and the time is used and hardly exceeded.

        Args:
          seconds: for all of them together.
          tell: called after every run.
          clock: seconds that only grow.
        """
        end, shared = clock() + seconds, True
        while True:
            eager = [lane for lane in self._lanes if lane.wants(self.section.repeats)]
            ran = False
            for lane in eager:
                left = end - clock()
                share = left / len(eager) if shared else left
                if left > 0 and lane.expected <= share:
                    lane.go(left, clock)
                    tell()
                    ran = True
            if not (ran or shared):
                return
            shared = ran


class _Lane:
    """One contender's runs."""

    def __init__(self, contender: Contender):
        self._contender = contender
        self._first = float("nan")
        self._samples: list[Sample] = []
        self._reason = ""
        self.expected = 0.0  # seconds of another run; a first figure is always worth it

    def wants(self, repeats: int) -> bool:
        """Whether another run would do good, of ``repeats`` at most (0: any number)."""
        enough = repeats and len(self._samples) >= repeats
        return not (self._reason or enough)

    def go(self, seconds: float, clock: Callable[[], float]) -> None:
        """One more run; the first time, two."""
        try:
            if math.isnan(self._first):
                start = clock()
                self._contender.run(seconds)
                self._first = clock() - start
                seconds -= self._first
            start = clock()
            self._samples.append(self._contender.run(max(0.0, seconds)))
            self.expected = clock() - start
        except Exception as error:  # whatever it is, it belongs in the row
            self._reason = _reason(error)

    def row(self) -> Row:
        """What was measured."""
        contender, samples = self._contender, list(self._samples)
        if self._reason or not samples:
            nothing, reason = float("nan"), self._reason or NO_TIME
            return Row(contender.name, contender.device, nothing, (), reason)
        beyond = self._first - statistics.median(s.seconds for s in samples)
        ms = tuple(1000 * s.seconds / s.units for s in samples)
        return Row(contender.name, contender.device, max(0.0, beyond), ms)


def _reason(error: Exception) -> str:
    if isinstance(error, DidNotRunError):
        return str(error)
    lines = str(error).strip().splitlines() or [""]
    text = f"did not run: {type(error).__name__}: {lines[0]}"
    return text if len(text) <= WORST else text[: WORST - 3] + "..."
