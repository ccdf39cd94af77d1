"""The directory of one run: whose it is, and what of it is done already."""

from pathlib import Path
from typing import Any

from bdjax import mntd, storage
from bdjax.types import UserError

_FIT = "bdjax MNTD fit"
CONFIG = "config.json"


def is_begun(workdir: Path) -> bool:
    """Whether it is the directory of a run, finished or not."""
    return (workdir / CONFIG).exists()


def claim(
    workdir: Path,
    config: dict[str, Any],
    *,
    fix: str = "use another --workdir or the same configuration",
) -> None:
    """Makes a run directory, or checks that this one is the same experiment's.

    Args:
      workdir: the directory; made where missing.
      config: the experiment's semantic configuration.
      fix: what to do where it differs.

    Raises:
      UserError: it holds another experiment (the first field that differs is named) or
        something that is no run.
    """
    path = workdir / CONFIG
    config = storage.as_json(config)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file; choose a directory for the run")
    if path.exists():
        if difference := storage.difference("config", storage.read_json(path), config):
            raise UserError(f"{workdir} holds another run: {difference}; {fix}")
        return
    if workdir.is_dir() and any(p.suffix != ".tmp" for p in workdir.iterdir()):
        raise UserError(
            f"{workdir} is not empty and has no {CONFIG}, so it is no run of ours; "
            "choose another --workdir"
        )
    storage.write_json(path, config)


def save_fit(directory: Path, fit: mntd.Fit, provenance: dict[str, Any]) -> None:
    """Writes a finished fit, and what it was made from (JSON)."""
    arrays = fit._asdict() | {"meta": fit.meta._asdict()}
    storage.save_tree(directory, arrays, {}, kind=_FIT, provenance=provenance)


def load_fit(
    directory: Path, provenance: dict[str, Any] | None = None
) -> mntd.Fit | None:
    """A finished fit of this run, if there is one.

    Args:
      directory: its own.
      provenance: what it must have been made from; not compared if None.

    Raises:
      UserError: it is damaged, or was made from something else.
    """
    if not (directory / "meta.json").exists():
        return None
    arrays, _ = storage.load_tree(directory, kind=_FIT, provenance=provenance)
    return mntd.Fit(**arrays | {"meta": mntd.Meta(**arrays["meta"])})
