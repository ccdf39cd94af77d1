"""The directory of one run: whose it is, and what it says of itself."""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import jax

from bdjax import storage
from bdjax.experiments.config import Experiment, models_of
from bdjax.types import UserError

KIND, SCHEMA = "bdjax experiment", 1
EXPERIMENT, SCORES, METRICS = "experiment.json", "scores.csv", "metrics.jsonl"
_OLD = "config.json"  # what runs had before there was one kind of experiment
_PACKAGES = ("jaxlib", "flax", "optax")  # beside those of any header


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

    What else it says of the experiment changes with :func:`write`.

    Raises:
      UserError: it is another zoo's (the first field that differs is named), of an
        older bdjax, or something that is no run.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file; choose a directory for the run")
    if is_begun(workdir):
        stored = models_of(read(workdir)["experiment"])
        asked = models_of(experiment.to_dict())
        if difference := storage.difference("config", _typed(stored), _typed(asked)):
            difference = difference.removeprefix("config.")
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
    else:
        write(workdir, experiment)


def _typed(value: Any) -> Any:
    """Lists as the command line sees them: groups by role, the only entry itself."""
    if isinstance(value, dict):
        return {name: _typed(inner) for name, inner in value.items()}
    if not isinstance(value, list):
        return value
    entries = [_typed(entry) for entry in value]
    if len(entries) == 1:
        return entries[0]
    roles = [entry.get("role", "") for entry in entries if isinstance(entry, dict)]
    if all(roles) and len({*roles}) == len(entries):
        return dict(zip(roles, entries, strict=True))
    return entries


def write(workdir: Path, experiment: Experiment, **facts: Any) -> None:
    """Writes ``experiment.json``.

    Args:
      workdir: the run's directory.
      experiment: it.
      **facts: what is known at the end, JSON.
    """
    said = storage.header(SCHEMA, KIND) | {"experiment": experiment.to_dict(), **facts}
    said["versions"] |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    storage.write_json(workdir / EXPERIMENT, said)


def device() -> str:
    """Such as ``"2 x cpu (x86_64)"``."""
    first = jax.local_devices()[0]
    kind = first.device_kind
    if first.platform == "cpu":
        kind = f"cpu ({platform.machine()})"
    return f"{jax.local_device_count()} x {kind}"
