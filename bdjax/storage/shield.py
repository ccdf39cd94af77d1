"""Signals wait until what is being written or read is whole."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_whole = threading.RLock()  # held while something is not


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds SIGINT and SIGTERM back until the block or decorated function ends.

    Orbax runs event loops on the calling thread. An exception that a signal handler
    raises in one of their callbacks is lost there, and the loop waits for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # where no handler runs
        return
    arrived: list[tuple[int, FrameType | None]] = []
    with _whole:
        handlers = {
            s: h
            for s in _SIGNALS
            if (h := signal.getsignal(s)) not in (None, signal.SIG_IGN)
        }
        for signum in handlers:
            signal.signal(signum, lambda *event: arrived.append(event))
        try:
            yield
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
            for number, frame in arrived:
                handler = handlers[signal.Signals(number)]
                if callable(handler):
                    handler(number, frame)
                else:
                    os.kill(os.getpid(), number)


def hold_for_good() -> None:
    """Waits for the main thread's block to end, and lets it begin no other.

    For a thread that is about to end the process.
    """
    _whole.acquire()
