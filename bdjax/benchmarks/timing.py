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


class Row:
    """What was measured of one contender, so far.

    Attributes:
      contender: it.
      expected: seconds of another run; 0 before the first, which is always worth it.
    """

    def __init__(self, contender: Contender):
        """Nothing runs yet."""
        self.contender, self.expected = contender, 0.0
        self._first, self._failure = float("nan"), ""
        self._samples: list[Sample] = []

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.contender.name

    @property
    def ms(self) -> list[float]:
        """Milliseconds a unit of work, one a repeat; empty where it failed."""
        samples = [] if self._failure else list(self._samples)
        return [1000 * s.seconds / s.units for s in samples]

    @property
    def median(self) -> float:
        """Milliseconds a unit, median over repeats; NaN where nothing ran."""
        return statistics.median(self.ms) if self.ms else float("nan")

    @property
    def first_seconds(self) -> float:
        """The first run beyond a steady one: mostly compilation."""
        steady = statistics.median(s.seconds for s in list(self._samples))
        return max(0.0, self._first - steady)

    @property
    def reason(self) -> str:
        """Why there is no figure; empty where there is."""
        return self._failure or ("" if self._samples else NO_TIME)

    def wants(self, repeats: int) -> bool:
        """Whether another run would do good, of ``repeats`` at most (0: any number)."""
        return not (self._failure or 0 < repeats <= len(self._samples))

    def go(self, seconds: float, clock: Callable[[], float]) -> None:
        """One more run; the first time, two."""
        try:
            if math.isnan(self._first):
                start = clock()
                self.contender.run(seconds)
                self._first = clock() - start
                seconds -= self._first
            start = clock()
            self._samples.append(self.contender.run(max(0.0, seconds)))
            self.expected = clock() - start
        except Exception as error:  # whatever it is, it belongs in the row
            self._failure = _reason(error)


class Measurement:
    """A section's timing; what it has so far can be read from any thread."""

    def __init__(self, section: Section):
        """Nothing runs yet."""
        self.section = section
        self.rows = [Row(contender) for contender in section.contenders]

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
            eager = [row for row in self.rows if row.wants(self.section.repeats)]
            ran = False
            for row in eager:
                left = end - clock()
                share = left / len(eager) if shared else left
                if left > 0 and row.expected <= share:
                    row.go(left, clock)
                    tell()
                    ran = True
            if not (ran or shared):
                return
            shared = ran


def _reason(error: Exception) -> str:
    if isinstance(error, DidNotRunError):
        return str(error)
    lines = str(error).strip().splitlines() or [""]
    text = f"did not run: {type(error).__name__}: {lines[0]}"
    return text if len(text) <= WORST else text[: WORST - 3] + "..."
