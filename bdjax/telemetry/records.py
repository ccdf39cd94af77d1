"""What a run leaves on disk about itself: events, times and memory."""

import contextlib
import datetime
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bdjax.storage import json_text
from bdjax.types import UserError


class MetricsWriter(contextlib.AbstractContextManager["MetricsWriter"]):
    """Appends events to a file of JSON lines, each flushed as it is written.

    A row has `event`, `utc` (ISO 8601), `wall_seconds` since this writer was made, and
    the event's own fields. Rows already in the file stay; one that a kill cut short is
    taken off.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Opens the file.

        Args:
          path: the file; its folder is made where missing.

        Raises:
          UserError: it cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_to_full_lines(path)
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise UserError(
                f"{path} cannot be written: {error.strerror}; choose another place"
            ) from error
        self._start = time.monotonic()

    def write(self, event: str, /, **fields: Any) -> None:
        """Writes one row.

        Args:
          event: what happened.
          **fields: what `storage.json_text` takes: numbers, strings, arrays.

        Raises:
          ValueError: a field has a name that every row has.
          TypeError: a field has no JSON form; nothing is written.
        """
        row = {
            "event": event,
            "utc": datetime.datetime.now(datetime.UTC).isoformat(),
            "wall_seconds": round(time.monotonic() - self._start, 6),
        }
        if taken := row.keys() & fields.keys():
            raise ValueError(f"field {sorted(taken)[0]!r} is in every row; rename it")
        self._file.write(json_text({**row, **fields}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def _cut_to_full_lines(path: Path) -> None:
    """Truncates a file after its last newline; a missing file stays missing."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


class Clock:
    """Adds up wall time by phase.

    JAX returns before it has computed: block on a phase's results inside the phase.

    Attributes:
      seconds: of each phase so far, in the order in which the phases first ended.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time that its `with` block takes, also where it fails.

        Args:
          name: the phase; one inside another counts in both.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + took


def peak_memory_bytes() -> int:
    """Says how much host memory this process has held at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
