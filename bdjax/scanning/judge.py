"""Detectors under a budget, each with a reason where it comes to no end."""

import threading

_stopped = threading.Event()


def stop() -> None:
    """Ends the detector that is running at its next tick, and the scan after it."""
    _stopped.set()
