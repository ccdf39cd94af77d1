"""How a run tells where it is: progress on the console, metrics and times on disk."""

from bdjax.telemetry.console import Progress, progress, reporter, stop
from bdjax.telemetry.records import Clock, MetricsWriter, peak_memory_bytes

__all__ = [
    "Clock",
    "MetricsWriter",
    "Progress",
    "peak_memory_bytes",
    "progress",
    "reporter",
    "stop",
]
