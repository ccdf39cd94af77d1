"""What every command does first and last: devices, caches, errors in one line."""

import argparse
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import jax
from rich.console import Console

from bdjax import storage, telemetry
from bdjax.cli import interrupts, processes
from bdjax.cli.arguments import UsageError
from bdjax.types import UserError

if TYPE_CHECKING:
    from bdjax.experiments.config import Experiment


def carry_out(options: argparse.Namespace) -> None:
    """Runs the command that ``arguments.parse`` has read.

    Where one of several processes ends early, all end.
    """

    def work() -> None:
        set_up_jax()
        if job := processes.job_of(options, os.environ):
            processes.start(job, options)
        module, function = options.place.split(".")
        getattr(importlib.import_module(f"bdjax.cli.{module}"), function)(options)
        storage.part()

    guarded(work, resumes=options.command not in ("scan", "calibrate"))


def guarded(work: Callable[[], None], *, resumes: bool = True) -> None:
    """Does the work; what the user can mend, and what ends it early, is one line.

    An interrupt gives up the chunk in flight and finishes the commit in flight.

    Args:
      work: to do.
      resumes: whether it goes on from where it was when it is done again.
    """
    interrupts.install()
    if resumes:
        interrupts.on_end(leave)
    try:
        work()
    except UsageError as error:
        _fail(f"{error}", error.status)
    except UserError as error:
        _fail(f"{error}")
    except OSError as error:
        _fail(f"{error}; check the path, its rights and space")
    except MemoryError:
        _fail("memory ran out; give fewer or smaller inputs, or a larger machine")
    except Exception as error:
        interrupts.once()
        if not resumes:  # 1, as Python would end, says something else there
            traceback.print_exc()
            line = f"error: {type(error).__name__}; please report it, it is bdjax's"
            interrupts.leave(line, 2)
        if not storage.are_tied():
            raise
        traceback.print_exc()
        leave(f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:  # raised, not by a signal
        interrupts.once()
        leave("interrupted", 130)


def set_up_jax() -> None:
    """Makes CPU cores devices and keeps compiled programs between runs.

    Must come before JAX is first used. Cores as devices train different models side
    by side, which beats both working on one.
    """
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "bdjax" / "jax"))
    logging.getLogger("jax").setLevel(logging.ERROR)


def experiment_of(options: argparse.Namespace) -> "tuple[Experiment, Path]":
    """The experiment that is named, with its overrides, and its directory.

    Raises:
      UserError: it is not known, or a field or value of it is at fault.
    """
    from bdjax.experiments import configurations, overrides

    if not options.experiment:
        raise UserError(
            f"no experiment is named; see bdjax run --list, and bdjax "
            f"{options.command} --help"
        )
    experiment = configurations.load(options.experiment)
    experiment = overrides.apply(experiment, options.overrides)
    name, _, arguments = options.experiment.partition(":")
    parts = [Path(name).stem, *filter(None, arguments.split(","))]
    return experiment, Path(options.workdir or Path("runs", "-".join(parts)))


def say(console: Console, line: str) -> None:
    """Prints a line as it is, however long."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _fail(line: str, status: int = 2) -> NoReturn:
    """Ends in one line that says what to mend."""
    interrupts.once()
    print(f"error: {line}", file=sys.stderr)
    if storage.are_tied():
        storage.leave(status, f"error: {line}")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def leave(why: str, status: int) -> NoReturn:
    """Ends the process, what is being committed first, and tells the others."""
    storage.settle()
    status, why = processes.ending(status, why)
    line = f"{why}; the same command goes on from here"
    interrupts.leave(line, status, before=telemetry.stop)
