"""``bdjax bench``: what this machine does in a second, beside PyTorch on it."""

import argparse
import sys
import threading
from pathlib import Path
from typing import NoReturn

import jax
from rich.console import Console

from bdjax import telemetry
from bdjax.benchmarks.run import SETS, Benchmark, abandon
from bdjax.cli import interrupts
from bdjax.types import UserError

WIDTH = 112  # of the tables in a file or pipe
_GRACE = 10.0  # seconds for the run in which the time ends


def run(options: argparse.Namespace) -> None:
    """Measures within the budget; whatever ends it, what was measured is told."""
    if options.set not in SETS:
        raise UserError(f"--set is {options.set!r}; there are {list(SETS)}")
    # Programs compiled by an earlier run would hide what compiling takes.
    jax.config.update("jax_enable_compilation_cache", False)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    benchmark = Benchmark(
        Path(options.out),
        chosen=options.set,
        quick=options.quick,
        budget=options.budget,
    )

    def end(why: str, status: int) -> NoReturn:
        def tell() -> None:
            telemetry.stop()
            benchmark.tell(console, complete=False)

        benchmark.save(complete=False)
        abandon()
        interrupts.leave(why, status, before=tell)

    def over() -> None:
        interrupts.once()
        end(f"the {options.budget:g} s are over amid a run", 0)

    interrupts.on_end(end)
    timer = threading.Timer(options.budget + _GRACE, over)
    timer.daemon = True
    timer.start()
    benchmark.run()
    timer.cancel()
    benchmark.tell(console, complete=True)
