"""What every launcher does first and last: devices, caches, errors in one line."""

import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from bdjax import storage, telemetry
from bdjax.types import UserError
from launch import interrupts, processes

ROOT = Path(__file__).parent.parent


def set_up_jax() -> None:
    """Makes CPU cores devices and keeps compiled programs between runs.

    Must come before JAX is first used. Cores as devices train different models side
    by side, which beats both working on one.
    """
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bdjax"
    jax.config.update("jax_compilation_cache_dir", str(cache / "jax"))
    logging.getLogger("jax").setLevel(logging.ERROR)


def launch(
    main: Callable[[ConfigDict, Path], None],
    config: str,
    workdir: str,
    *,
    distributed: bool = False,
) -> None:
    """Runs ``main(config, workdir)`` as the flags say.

    The flags are ``--config=FILE[:argument]``, ``--config.any.field=value`` and
    ``--workdir=DIRECTORY``. What the user can mend ends in one line and exit status 2,
    an interrupt in 130, SIGTERM in 143, at any moment and in one line. Both give up
    the chunk in flight and finish the commit in flight. Where one of several processes
    ends early, all end.

    Args:
      main: the work.
      config: default configuration, a file name in ``configs/``.
      workdir: default directory of the run.
      distributed: whether it can run as one of several processes.
    """

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1:
            raise UserError(f"unknown arguments {argv[1:]}; options start with --")
        set_up_jax()
        if distributed and (job := processes.from_flags(os.environ)):
            processes.start(job)
        main(flags.FLAGS.config, Path(flags.FLAGS.workdir))
        storage.part()

    interrupts.install()
    interrupts.on_end(_leave)
    try:
        if {"-h", "--help"} & set(sys.argv):
            print(_usage(config, workdir, distributed))
            return
        default = _load_config(sys.argv, str(ROOT / "configs" / config))
        for arg in sys.argv[1:]:
            _check_field(default, arg.lstrip("-").partition("=")[0])
        config_flags.DEFINE_config_dict("config", default, "The experiment.")
        flags.DEFINE_string("workdir", workdir, "The run; resumed if it is there.")
        if distributed:
            processes.define_flags()
        app.run(guarded, flags_parser=_parse)
    except UserError as error:
        _fail(f"{error}")
    except OSError as error:
        _fail(f"{error}; check the path, its rights and space")
    except Exception as error:
        interrupts.once()
        if not storage.are_tied():
            raise
        traceback.print_exc()
        _leave(f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:  # raised, not by a signal
        interrupts.once()
        _leave("interrupted", 130)


def _fail(line: str) -> NoReturn:
    """Ends in one line that says what to mend."""
    interrupts.once()
    print(f"error: {line}", file=sys.stderr)
    if storage.are_tied():
        storage.leave(2, f"error: {line}")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(2)
    sys.exit(2)


def _leave(why: str, status: int) -> NoReturn:
    """Ends the process, what is being committed first, and tells the others."""
    storage.settle()
    status, why = processes.ending(status, why)
    line = f"{why}; the same command goes on from here"
    interrupts.leave(line, status, before=telemetry.stop)


def _usage(config: str, workdir: str, distributed: bool) -> str:
    module = getattr(sys.modules["__main__"].__spec__, "name", "launch")
    there = ", ".join(_configs())
    return (
        f"usage: python -m {module} [--config=FILE[:argument]] "
        "[--config.FIELD=VALUE ...] [--workdir=DIRECTORY]\n"
        f"  --config    an experiment: {there} in configs/; default {config}\n"
        "  --config.*  any field of it, such as --config.population.shadows=2048\n"
        f"  --workdir   the run, resumed if it is there; default {workdir}"
        f"{_own_flags()}"
        f"{processes.USAGE if distributed else ''}"
    )


def _own_flags() -> str:
    """A line for each flag that the launcher itself has defined."""
    own = flags.FLAGS.get_flags_for_module(sys.argv[0])
    return "".join(f"\n  {'--' + f.name:<11} {f.help}" for f in own)


def _configs() -> list[str]:
    return sorted(p.name for p in (ROOT / "configs").glob("[!_]*_*.py"))


def _load_config(argv: list[str], default: str) -> ConfigDict:
    """The configuration that ``--config=FILE[:argument]`` in ``argv`` names.

    Taken out of ``argv``, whose ``--config.field=value`` are then overrides of a plain
    dictionary. (ml_collections' own file flag reports a mistake in a file, an argument
    or a field with tracebacks.)
    """
    chosen = default
    for i, arg in enumerate(argv):
        if arg in ("--config", "-config") and i + 1 < len(argv):
            chosen = argv[i + 1]
            del argv[i : i + 2]
        elif arg.startswith(("--config=", "-config=")):
            chosen = arg.partition("=")[2]
            del argv[i]
        else:
            continue
        break
    path, _, argument = chosen.partition(":")
    places = [Path(path), ROOT / path, ROOT / "configs" / path]
    path = str(next(filter(Path.is_file, places), path))
    if not Path(path).is_file():
        raise UserError(f"no configuration file {path}; configs/ has {_configs()}")
    spec = importlib.util.spec_from_file_location("config_file", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file, which a configuration must be")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file may do
        raise UserError(f"{path} fails with {type(error).__name__}: {error}") from error
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} has no get_config(), so it is no configuration")
    return module.get_config(argument)


def _parse(argv: list[str]) -> list[str]:
    """Parses flags; every mistake in one is one line."""
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(" ".join(str(error).split())) from error


def _check_field(config: ConfigDict, name: str) -> None:
    path, *parts = name.split(".")
    for part in parts if path == "config" else []:
        fields = sorted(config) if isinstance(config, ConfigDict) else []
        if part not in fields:
            raise UserError(f"{path} has no field {part!r}; it has {fields}")
        config, path = config[part], f"{path}.{part}"
