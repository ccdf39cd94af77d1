"""What more shadow models and query tuning bring: fits on nested subsets of shadows."""

import dataclasses
from pathlib import Path

import numpy as np
from rich.console import Console

from bdjax import storage, telemetry
from bdjax.experiments import mntd, populations, rundir
from bdjax.experiments.config import MNTDConfig
from bdjax.experiments.fits import Fitted, Job, Trained, fit_all
from bdjax.types import UserError

SMALLEST = 8


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """What is fitted.

    Attributes:
      sizes: shadow models of a fit, half of them benign; empty for 8, 16, 32, ... and
        all there are.
      variants: keys in ``bdjax.experiments.mntd.VARIANTS``.
      equal_steps: give every fit as many Adam steps as the largest one. Otherwise all
        pass over their shadows equally often, as in the paper, and a small fit is a
        short one, too.
    """

    sizes: tuple[int, ...] = ()
    variants: tuple[str, ...] = ("jumbo", "no_tuning")
    equal_steps: bool = False

    def __post_init__(self):
        for size in self.sizes:
            if size < 2 or size % 2:
                raise UserError(
                    f"size {size} is not half benign, half trojaned; take an even "
                    "number from 2 on"
                )
        for name in ("sizes", "variants"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise UserError(f"{name} are {list(values)}; name each once")
        if not self.variants:
            raise UserError("there is no variant to fit; name one or more")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Everything that a sweep found out, before it is put in words.

    Attributes:
      config: the experiment whose populations these are.
      options: what was asked of the sweep.
      sizes: shadow models of the fits, rising.
      fitted: by variant and size.
      trained: the populations and the data.
    """

    config: MNTDConfig
    options: SweepConfig
    sizes: tuple[int, ...]
    fitted: dict[str, dict[int, Fitted]]
    trained: Trained


def run(
    config: MNTDConfig,
    options: SweepConfig,
    workdir: Path,
    *,
    clock: telemetry.Clock,
    console: Console,
) -> Sweep | None:
    """Fits on subsets of the shadows of the experiment in ``workdir``.

    Its models must be there. Of the fits, to all shadows and to some, what is on disk
    is used, of ``launch.mntd`` or of an earlier sweep, and what is missing is made.

    Raises:
      UserError: as :func:`bdjax.experiments.mntd.run`, there are not that many shadows,
        or models are missing; nothing is trained.
    """
    _check_room(options.sizes, 2 * config.population.shadows)
    mntd.check_variants(options.variants)
    _check_trained(config, workdir)
    trained = mntd.train(
        config, options.variants, workdir, clock=clock, console=console
    )
    if trained is None:
        return None
    labels_M = trained.labels(config)
    sizes = _sizes(options, labels_M)
    cases = [(variant, size) for variant in options.variants for size in sizes]
    jobs = [_job(options, *case, sizes[-1], labels_M, workdir) for case in cases]
    fitted: dict[str, dict[int, Fitted]] = {v: {} for v in options.variants}
    with populations.open_metrics(workdir) as metrics, clock.phase("meta"):
        found = fit_all(config, jobs, trained, metrics)
    for (variant, size), each in zip(cases, found, strict=True):
        fitted[variant][size] = each
    return Sweep(config, options, sizes, fitted, trained)


def nested_rows(labels_M: np.ndarray, size: int) -> np.ndarray:
    """The first ``size / 2`` benign and the first ``size / 2`` trojaned shadows."""
    return np.concatenate(
        [np.flatnonzero(labels_M == label)[: size // 2] for label in (0, 1)]
    )


def _sizes(options: SweepConfig, labels_M: np.ndarray) -> tuple[int, ...]:
    most = 2 * int(np.bincount(labels_M, minlength=2).min())
    if options.sizes:
        _check_room(options.sizes, most)
        return tuple(sorted(options.sizes))
    doubled = [size for i in range(20) if (size := SMALLEST << i) < most]
    return (*doubled, most)


def _check_room(sizes: tuple[int, ...], most: int) -> None:
    for size in sizes:
        if size > most:
            raise UserError(
                f"size {size} is more than the {most} shadow models there are; take "
                "fewer, or train more"
            )


def _check_trained(config: MNTDConfig, workdir: Path) -> None:
    """Raises unless ``workdir`` is a run of this experiment that has all its models."""
    fix = (
        "sweeping trains no models, so run launch.mntd with the same --config and "
        "--workdir first"
    )
    if not rundir.is_begun(workdir):
        raise UserError(f"{workdir} is no run: it has no {rundir.CONFIG}; {fix}")
    rundir.claim(workdir, config.semantic())
    for spec, ids in populations.specs(config):
        place = populations.directory(workdir, spec)
        if not storage.is_begun(place):
            raise UserError(
                f"{workdir} is no finished run: it lacks {spec.name}; {fix}"
            )
        store = storage.read_population(place)
        missing = {*store.chunks_of(ids)} - {*store.committed()}
        if missing:
            raise UserError(
                f"{workdir} is no finished run: {spec.name} lacks chunk {min(missing)}"
                f"; {fix}"
            )


def _job(
    options: SweepConfig,
    variant: str,
    size: int,
    largest: int,
    labels_M: np.ndarray,
    workdir: Path,
) -> Job:
    passes = round(largest / size) if options.equal_steps else 1
    more = f"-{passes}-passes" if passes > 1 else ""
    path = workdir / "sweep" / f"{variant}-{size}{more}"
    if size == len(labels_M):  # the experiment's own
        path = workdir / "fits" / variant
    rows_K = nested_rows(labels_M, size)
    return Job(f"{variant} on {size}", variant, path, rows_K, passes)
