"""Progress on the console: how much is done, how fast, and what is left."""

import collections
import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import rich.console
import rich.progress
import rich.table
import rich.text

_WINDOW_SECONDS = 60.0
_SAMPLE_SECONDS = 0.1
_LINE_SECONDS = 10.0

_shown: list["tuple[_Display, Progress]"] = []


@dataclasses.dataclass(eq=False)
class Progress:
    """Counts work done and knows how fast it goes; made by `progress`.

    The rate is that of the last minute, or of the last step where a step takes longer.
    It counts from the end of the first step, which leaves out the compilation in it.

    Attributes:
      description: what is going on.
      total: how many units there are.
      unit: what they are.
      done: how many are done.
    """

    description: str
    total: int
    unit: str
    _display: "_Display"
    _clock: Callable[[], float]
    done: int = 0
    _fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    _samples: collections.deque[tuple[float, int]] = dataclasses.field(
        default_factory=collections.deque
    )

    def __post_init__(self) -> None:
        self._start = self._clock()

    def advance(self, n: int = 1, **fields: Any) -> None:
        """Adds `n` units of work.

        Args:
          n: how many more are done.
          **fields: numbers or strings to show beside; each stays until given again.
        """
        self.done += n
        self._fields.update(fields)
        now, samples = self._clock(), self._samples
        if len(samples) > 1 and now - samples[-2][0] < _SAMPLE_SECONDS:
            samples.pop()
        samples.append((now, self.done))
        while len(samples) > 2 and samples[1][0] <= now - _WINDOW_SECONDS:
            samples.popleft()
        self._display.update(self)

    @property
    def rate(self) -> float | None:
        """Units a second of late; None before the second step."""
        if len(self._samples) < 2:
            return None
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at `rate`; None where that is not known."""
        rate = self.rate
        if not rate:
            return None
        since_step = self._clock() - self._samples[-1][0]
        return max(0.0, (self.total - self.done) / rate - since_step)

    def status(self) -> str:
        """Says what is done, how fast it goes, and what is left or what it took."""
        return ", ".join([self._count(), *self._speed(), *self._extra()])

    def outcome(self) -> str:
        """Says what was done in what time, for the end."""
        took = f"{self._count()} in {_duration(self._clock() - self._start)}"
        stopped = [] if self.done >= self.total else ["stopped"]
        speed = self._speed()[:1]
        return ", ".join([took, *speed, *self._extra(), *stopped])

    def _count(self) -> str:
        return f"{self.done}/{self.total} {self.unit}"

    def _speed(self) -> list[str]:
        rate, left = self.rate, self.seconds_left
        if rate is None or left is None:
            return []
        return [f"{_number(rate)} {self.unit}/s", f"{_duration(left)} left"]

    def _extra(self) -> list[str]:
        return [f"{name} {_number(value)}" for name, value in self._fields.items()]


class _Display:
    """Where progress is shown; nowhere, but for the classes below."""

    def update(self, progress: Progress) -> None:
        """Called after every step."""

    def end(self, progress: Progress) -> None:
        """Called once, also when the work failed."""


class _Lines(_Display):
    """A line now and then, for logs."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]):
        self._stream = stream
        self._clock = clock
        self._last = clock()

    def update(self, progress: Progress) -> None:
        now = self._clock()
        if progress.done < progress.total and now - self._last >= _LINE_SECONDS:
            self._last = now
            self._print(progress, progress.status())

    def end(self, progress: Progress) -> None:
        self._print(progress, progress.outcome())

    def _print(self, progress: Progress, text: str) -> None:
        print(progress.description, text, file=self._stream, flush=True)


class _Status(rich.progress.ProgressColumn):
    """Our own rate and time left: rich forgets steps longer than its window."""

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        progress: Progress = task.fields["progress"]
        ended = task.fields["ended"]
        return rich.text.Text(progress.outcome() if ended else progress.status())


class _Bar(_Display):
    """A bar that moves, for terminals."""

    def __init__(self, console: rich.console.Console):
        self._live = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=24),
            _Status(rich.table.Column(no_wrap=True)),
            console=console,
        )
        self._task: rich.progress.TaskID | None = None

    def update(self, progress: Progress) -> None:
        if self._task is None:
            self._task = self._live.add_task(
                progress.description,
                total=progress.total,
                progress=progress,
                ended=False,
            )
            self._live.start()
        self._live.update(self._task, completed=progress.done)

    def end(self, progress: Progress) -> None:
        self.update(progress)
        assert self._task is not None
        self._live.update(self._task, ended=True)
        self._live.stop()


def _display(
    enabled: bool, stream: TextIO | None, clock: Callable[[], float]
) -> _Display:
    stream = sys.stderr if stream is None else stream
    if not enabled:
        return _Display()
    if stream.isatty():
        console = rich.console.Console(file=stream)
        if not console.is_dumb_terminal:
            return _Bar(console)
    return _Lines(stream, clock)


@contextlib.contextmanager
def progress(
    description: str,
    *,
    total: int,
    unit: str,
    enabled: bool = True,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Shows progress while its `with` block runs.

    On a terminal it is a bar; elsewhere a line at most every ten seconds, and one at
    the end. Not to be nested.

    Args:
      description: what is going on, such as "training shadows".
      total: how many units there are.
      unit: what they are, in the plural.
      enabled: False shows nothing, as for all processes but one.
      stream: where to show it; standard error if None.
      clock: seconds that only grow.

    Yields:
      The `Progress` to advance.
    """
    display = _display(enabled, stream, clock)
    counter = Progress(description, total, unit, display, clock)
    display.update(counter)
    _shown.append((display, counter))
    try:
        yield counter
    finally:
        _shown.remove((display, counter))
        display.end(counter)


def stop() -> None:
    """Ends all progress on the console, for a thread that is about to end the process.

    A terminal gets its cursor back.
    """
    for display, counter in list(_shown):
        display.end(counter)


@contextlib.contextmanager
def reporter(
    description: str, *, unit: str, enabled: bool | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Shows the progress of work that is only told its total as it goes.

    Args:
      description: what is going on.
      unit: what is counted, in the plural.
      enabled: whether to show it; None means on a terminal.

    Yields:
      ``told(done, total)``; the first call starts the display.
    """
    if enabled is None:
        enabled = sys.stderr.isatty()
    with contextlib.ExitStack() as stack:
        bars: list[Progress] = []

        def told(done: int, total: int) -> None:
            if not bars:
                bar = progress(description, total=total, unit=unit, enabled=enabled)
                bars.append(stack.enter_context(bar))
            bars[0].advance(done - bars[0].done)

        yield told


def _number(value: Any) -> str:
    """Writes a number with three digits, and anything else as it is."""
    if isinstance(value, str | bool | int):
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return f"{number:.0f}" if 1000 <= abs(number) < 1e6 else f"{number:.3g}"


def _duration(seconds: float) -> str:
    """Writes a time as people say it: 9.5 s, 48 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
