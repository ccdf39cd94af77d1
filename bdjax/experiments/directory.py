"""The directory of one run: whose it is, and what it says of itself."""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import jax

from bdjax import storage, telemetry
from bdjax.experiments.config import Experiment, models_of
from bdjax.types import UserError

KIND, SCHEMA = "bdjax experiment", 1
EXPERIMENT, SCORES, METRICS = "experiment.json", "scores.csv", "metrics.jsonl"
_OLD = "config.json"  # what runs had before there was one kind of experiment
_PACKAGES = ("bdjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def is_begun(workdir: Path) -> bool:
    """Whether it is the directory of a run, finished or not."""
    return (workdir / EXPERIMENT).exists()


def read(workdir: Path) -> dict[str, Any]:
    """What ``experiment.json`` says: ``experiment``, ``versions``, once done the facts.

    Raises:
      UserError: it is no run, a damaged one, or one of another bdjax.
    """
    path = workdir / EXPERIMENT
    if not path.exists():
        raise UserError(f"{workdir} is no run: it has no {EXPERIMENT}; check the path")
    return storage.read_header(
        path, schema=SCHEMA, kind=KIND, fields={"experiment": dict}
    )


def claim(workdir: Path, experiment: Experiment) -> None:
    """Makes a run's directory, or checks that this one is of the same zoo.

    Raises:
      UserError: it is another zoo's (the first field that differs is named), of an
        older bdjax, or something that is no run.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file; choose a directory for the run")
    config = experiment.to_dict()
    if is_begun(workdir):
        stored, asked = models_of(read(workdir)["experiment"]), models_of(config)
        if difference := storage.difference("config", stored, asked):
            raise UserError(
                f"{workdir} holds another run: {difference}; use another --workdir or "
                "the same configuration"
            )
    elif (workdir / _OLD).exists():
        raise UserError(
            f"{workdir} holds a run of an older bdjax ({_OLD}), which this one does "
            "not read; use another --workdir"
        )
    elif workdir.is_dir() and any(p.suffix != ".tmp" for p in workdir.iterdir()):
        raise UserError(
            f"{workdir} is not empty and has no {EXPERIMENT}, so it is no run of ours; "
            "choose another --workdir"
        )
    _write(workdir, config)


def finish(
    workdir: Path, experiment: Experiment, clock: telemetry.Clock, **facts: Any
) -> None:
    """Adds to ``experiment.json`` what is known at the end.

    Args:
      workdir: the run's directory.
      experiment: it.
      clock: seconds by phase, ``wall_seconds``.
      **facts: the rest, as JSON, beside ``device`` and ``peak_memory_bytes``.
    """
    machine = {
        "wall_seconds": clock.seconds,
        "peak_memory_bytes": telemetry.peak_memory_bytes(),
        "device": device(),
    }
    _write(workdir, experiment.to_dict(), **machine, **facts)


def _write(workdir: Path, config: dict[str, Any], **facts: Any) -> None:
    said = storage.header(SCHEMA, KIND) | {"experiment": config, **facts}
    said["versions"] = {p: importlib.metadata.version(p) for p in _PACKAGES}
    said["versions"]["python"] = platform.python_version()
    storage.write_json(workdir / EXPERIMENT, said)


def device() -> str:
    """Such as ``"2 x cpu (x86_64)"``."""
    first = jax.local_devices()[0]
    kind = first.device_kind
    if first.platform == "cpu":
        kind = f"cpu ({platform.machine()})"
    return f"{jax.local_device_count()} x {kind}"
