"""What every launcher does first and last: devices, caches, errors in one line."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from bdjax.types import UserError

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


def define_flags(config: str, workdir: str) -> None:
    """Flags ``--config=FILE[:arg]``, ``--config.any.field=value`` and ``--workdir``."""
    config_flags.DEFINE_config_file(
        "config", str(ROOT / "configs" / config), "Experiment, FILE[:argument]."
    )
    flags.DEFINE_string(
        "workdir", workdir, "Directory of the run; resumed if it exists."
    )


def launch(main: Callable[[], None]) -> None:
    """Runs ``main`` on the parsed flags.

    What the user can mend ends in one line and exit status 2, an interrupt in 130.
    """

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1:
            raise UserError(f"unknown arguments {argv[1:]}; options start with --")
        set_up_jax()
        main()

    try:
        app.run(guarded, flags_parser=_parse)
    except UserError as error:
        sys.exit(_say(error))
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from the last committed chunk")
        sys.exit(130)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(_flag_message(error)) from error
    except FileNotFoundError as error:
        raise UserError(f"no configuration file {error.filename}") from error


def _flag_message(error: Exception) -> str:
    return " ".join(str(error).split())


def _say(what: object) -> int:
    print(f"error: {what}", file=sys.stderr)
    return 2
