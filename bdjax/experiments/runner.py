"""Experiments end to end: a zoo is trained, detectors are asked, scores are kept."""

from pathlib import Path

from rich.console import Console

from bdjax import telemetry
from bdjax.experiments.config import Experiment


def run(
    experiment: Experiment,
    workdir: Path,
    *,
    train: bool = True,
    clock: telemetry.Clock | None = None,
    console: Console | None = None,
) -> Path | None:
    """Runs the experiment, or what is left of it, in ``workdir``.

    Under ``jax.distributed`` all processes train; the first one goes on to the
    detectors, and the others get None.

    Args:
      experiment: what is wanted.
      workdir: the run's directory; made where missing.
      train: whether to train what is missing; else that is an error.
      clock: gets the seconds of each phase.
      console: gets what the user should know.

    Returns:
      ``workdir / "scores.csv"``, which :func:`bdjax.report.write` reads.

    Raises:
      UserError: the configuration or data are at fault, or the directory belongs to
        another experiment.
    """
    raise NotImplementedError
