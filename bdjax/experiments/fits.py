"""Meta-classifiers on an experiment's populations, and their scores of its targets."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bdjax import mntd, prng, storage, telemetry, tree
from bdjax.data import Dataset
from bdjax.experiments import rundir
from bdjax.experiments.config import MNTDConfig
from bdjax.population import Population
from bdjax.tasks import get_task

# What a variant changes in the configured fit. One-class is the paper's, on logits: it
# separates better on them, having no trojaned shadows to learn from what matters.
VARIANTS: dict[str, dict[str, Any]] = {
    "jumbo": {"mode": "binary", "query_tuning": True},
    "no_tuning": {"mode": "binary", "query_tuning": False},
    "one_class": {
        "mode": "one_class",
        "query_tuning": True,
        "batch_size": 1,
        "answers": "logits",
    },
}


@dataclasses.dataclass(frozen=True)
class Trained:
    """An experiment's populations and data.

    Attributes:
      populations: by name, diverged models left out.
      dataset: the data.
      test_N: int, its rows that accuracy and ASR are measured on.
      notes: what a reader must know, one sentence each.
    """

    populations: dict[str, Population]
    dataset: Dataset
    test_N: np.ndarray
    notes: list[str]

    def shadows(
        self, config: MNTDConfig, role: str = "shadow"
    ) -> tuple[Any, np.ndarray]:
        """Stacked variables of benign models, then of trojaned ones; their labels."""
        benign = self.populations[f"{role}-benign"]
        trojaned = self.populations[f"{role}-{config.population.shadow_attack}"]
        variables = tree.concatenate([benign.variables, trojaned.variables])
        return variables, self.labels(config, role)

    def labels(self, config: MNTDConfig, role: str = "shadow") -> np.ndarray:
        """Of a role's benign models, then of its trojaned ones; int ``[M]``."""
        names = (f"{role}-benign", f"{role}-{config.population.shadow_attack}")
        return np.repeat([0, 1], [len(self.populations[name]) for name in names])


@dataclasses.dataclass(frozen=True)
class Job:
    """One fit.

    Attributes:
      name: what to call it.
      variant: key in :data:`VARIANTS`.
      path: where it is kept.
      rows_K: int, the shadows that it is fitted on.
      passes: over these, that make an epoch.
    """

    name: str
    variant: str
    path: Path
    rows_K: np.ndarray
    passes: int = 1

    def steps(self, config: MNTDConfig, labels_M: np.ndarray) -> int:
        """Adam steps in an epoch; one-class fits take benign shadows alone."""
        fit = fit_config(config, self.variant)
        taken = labels_M[self.rows_K] == 0
        count = taken.sum() if fit.mode == "one_class" else len(taken)
        return self.passes * max(1, int(count) // fit.batch_size)

    def provenance(self, config: MNTDConfig, trained: Trained) -> dict[str, Any]:
        """What the fit follows from, as JSON that names each part."""
        sources = {
            name: [p.digest, storage.digest(p.ids_M)]
            for name, p in trained.populations.items()
            if not name.startswith("target-")
        }
        return {
            "variant": self.variant,
            "shadows": len(self.rows_K),
            "rows": storage.digest(self.rows_K),
            "passes": self.passes,
            "seed": config.seed,
            "fit": dataclasses.asdict(fit_config(config, self.variant)),
            "queries": dataclasses.asdict(query_spec(config)),
            "populations": sources,
        }


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A finished job.

    Attributes:
      fit: the meta-classifiers.
      scores: by target kind, float32 ``[R, targets]``.
      steps: Adam steps, all epochs.
    """

    fit: mntd.Fit
    scores: dict[str, np.ndarray]
    steps: int


def fit_config(config: MNTDConfig, variant: str) -> mntd.FitConfig:
    """The configured fit with what the variant changes."""
    return dataclasses.replace(config.fit, **VARIANTS[variant])


def query_spec(config: MNTDConfig) -> mntd.QuerySpec:
    """Where the task's queries live and start."""
    task = get_task(config.task)
    mean, std = task.query_init["clipped" if config.fit.clip else "official"]
    return mntd.QuerySpec(task.query_shape, task.value_range, mean, std)


def fit_all(
    config: MNTDConfig,
    jobs: Sequence[Job],
    trained: Trained,
    metrics: telemetry.MetricsWriter,
) -> list[Fitted]:
    """Fits what is not on disk yet, with progress, and scores the targets.

    Raises:
      UserError: what is on disk is damaged or was made from something else, or shadows
        of a class are missing.
    """
    words = trained.dataset.vocabulary
    model = get_task(config.task).network(config.architecture, config.formulation)
    shadows, labels_M = trained.shadows(config)
    shadows, validation = jax.device_put(shadows), trained.shadows(config, "validation")
    targets = {
        p.attack.name: jax.device_put(p.variables)
        for name, p in trained.populations.items()
        if name.startswith("target-")
    }
    found = []
    steps = [job.steps(config, labels_M) for job in jobs]
    total = config.fit.epochs * sum(steps)
    with telemetry.progress("meta-training", total=total, unit="steps") as bar:
        for job, each in zip(jobs, steps, strict=True):
            options = fit_config(config, job.variant)

            def done(
                epoch: int, auc_R: np.ndarray, job: Job = job, each: int = each
            ) -> None:
                bar.advance(each, now=job.name, validation_auc=float(auc_R.mean()))
                metrics.write(
                    "epoch", variant=job.variant, shadows=len(job.rows_K), epoch=epoch,
                    validation_auc=auc_R,
                )  # fmt: skip

            provenance = job.provenance(config, trained)
            fit = rundir.load_fit(job.path, provenance)
            if fit is None:
                fit = mntd.fit(
                    [mntd.Networks(model.apply, shadows)], labels_M,
                    [mntd.Networks(model.apply, validation[0])], validation[1],
                    spec=query_spec(config),
                    config=options,
                    # Equal starts: what the jobs say is then all that differs.
                    key=prng.stream(prng.root(config.seed), "meta"),
                    rows_K=job.rows_K,
                    passes=job.passes,
                    vectors_VxE=words.vectors if words else None,
                    callback=done,
                )  # fmt: skip
                rundir.save_fit(job.path, fit, provenance)
            else:
                bar.advance(config.fit.epochs * each, now=f"{job.name} (on disk)")
            scores = {
                kind: mntd.score_models(model.apply, options, fit.meta, variables)
                for kind, variables in targets.items()
            }
            found.append(Fitted(fit, scores, config.fit.epochs * each))
    return found
