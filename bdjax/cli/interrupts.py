"""Ctrl-C and SIGTERM from the first moment on: heard in a thread, never as exceptions.

Python runs a signal's handler on the main thread, when that comes to it: not while JAX
compiles. And what a handler raises comes out where it happens to be: in a callback of
JAX's, where it is lost, or amid an import, as any error. So here handlers do nothing. A
thread reads the signals from a pipe that C writes to at once, and ends the process.

Imported before anything heavy, so it imports nothing of bdjax.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

ENDINGS = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}

_SAY_SECONDS = 2.0  # for a terminal or pipe that nobody reads any more

_first = threading.Lock()
_listens = False


def _end_early(why: str, status: int) -> NoReturn:
    leave(f"{why} before anything was begun", status)


_end: Callable[[str, int], NoReturn] = _end_early
_status: int | None = None


def on_end(end: Callable[[str, int], NoReturn]) -> None:
    """Sets what ends the process, should it be installed.

    Args:
      end: called in a thread as ``end(why, status)``, to :func:`leave`. Before there is
        one, nothing can be lost, and the process ends at once.
    """
    global _end
    _end = end


def end_in(status: int) -> None:
    """Sets the status for both signals, in place of the usual ones."""
    global _status
    _status = status


def install() -> None:
    """Listens to SIGINT and SIGTERM from here on; again is fine.

    One that was ignored when the process began stays so, as shells and ``nohup`` want
    it of jobs in the background.
    """
    global _listens
    if _listens:
        return
    _listens = True
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=(heard,), daemon=True)
    thread.start()
    for number in ENDINGS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _nothing)


def once() -> None:
    """Returns to the first thread that is about to end the process, and to no other."""
    if not _first.acquire(blocking=False):
        while True:  # until the other has
            time.sleep(60)


def leave(
    line: str,
    status: int,
    *,
    before: Callable[[], None] | None = None,
    seconds: float = _SAY_SECONDS,
) -> NoReturn:
    """Says a line and exits at once: Python would wait for what JAX is computing.

    Args:
      line: why.
      status: to exit with.
      before: puts the terminal in order; given up on where it takes long.
      seconds: that is.
    """

    def say() -> None:
        if before:
            before()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.write(2, f"{line}\n".encode())

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    thread.join(seconds)
    os._exit(status)


def _nothing(signum: int, frame: FrameType | None) -> None:
    """Were there no handler in Python, the signal would not be told."""
    del signum, frame


def _listen(heard: int) -> None:
    while True:
        for number in os.read(heard, 64):
            if number in ENDINGS:
                once()
                why, status = ENDINGS[signal.Signals(number)]
                status = status if _status is None else _status
                try:
                    _end(why, status)
                finally:  # whatever fails
                    os._exit(status)
