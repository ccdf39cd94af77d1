"""MNTD and its controls: repeats of a fit, and the detector that is made of the best.

The same entry on some of the shadows only (``mntd:shadows=32``) says what more shadow
models and query tuning bring.
"""

import dataclasses
import time
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from bdjax import mntd, prng, storage, telemetry
from bdjax.detectors import keeping
from bdjax.detectors.base import (
    Access,
    Asked,
    Detector,
    Finding,
    Needs,
    named,
    unjudged,
)
from bdjax.detectors.resources import Group, Labelled, Resources
from bdjax.mntd.words import similarities
from bdjax.types import UserError
from bdjax.verdicts import preconditions


@dataclasses.dataclass(frozen=True, kw_only=True)
class MNTD(Detector):
    """A fit to the shadows, and verdicts by the best of its repeats.

    Attributes:
      fit: of the meta-classifiers.
      shadows: how many it is fitted to, half of them benign; 0 for all. Those of a
        smaller fit are among those of a larger one.
      equal_steps: make as many Adam steps as a fit to all. Otherwise fits pass over
        their shadows equally often, as in the paper, and a small fit is a short one.
    """

    access: ClassVar[Access] = Access.LOGITS
    needs: ClassVar[Needs] = Needs(shadows=True)

    fit: mntd.FitConfig = mntd.FitConfig()
    shadows: int = 0
    equal_steps: bool = False

    def __post_init__(self):
        if self.shadows < 0 or self.shadows == 1 or self.shadows % 2:
            raise UserError(
                f"{self.name}: shadows is {self.shadows}, which is not half benign, "
                "half trojaned; take an even number from 2 on, or 0 for all"
            )

    @classmethod
    def make(cls, asked: Asked) -> "MNTD":
        """See :meth:`Detector.make`; options are also those of a fit."""
        own = cls.own_fields()
        del own["fit"]
        values = asked.options(own | typing.get_type_hints(mntd.FitConfig))
        mine = {name: values.pop(name) for name in own if name in values}
        fit = dataclasses.replace(asked.defaults.fit, **{**asked.changes, **values})
        return cls(**asked.identity, fit=fit, **mine)

    def check(self, resources: Resources) -> None:
        """See :meth:`Detector.check`."""
        if self.fit.query_space == "tokens" and (
            resources.task.input_shape == resources.task.shape
        ):
            raise UserError(
                "fit.query_space is 'tokens', but task "
                f"{resources.task.name!r} has no vocabulary; leave it at 'input'"
            )
        if folder := self._folder(resources):
            keeping.claim(folder, self._settings(resources))

    def prepare(self, resources: Resources) -> None:
        """See :meth:`Detector.prepare`."""
        detector = self._detector(resources)
        if folder := self._folder(resources):
            detector.save(folder / "detector")

    def examine(self, networks: Group, resources: Resources) -> Iterator[Finding]:
        """See :meth:`Detector.examine`: of each network its repeats, then the verdict.

        The verdict asks twice, as a user's call does.
        """
        fit, detector = self._fitted(resources), self._detector(resources)
        start = time.perf_counter()
        models = jax.device_put(networks.variables)
        scores_RxM = mntd.score_models(networks.apply, self.fit, fit.meta, models)
        again_Q = preconditions.repeated(len(detector.queries))
        answers_MxQxC, again_MxQxC = (
            np.asarray(mntd.answers_of(networks.apply, detector.queries[asked], models))
            for asked in (slice(None), again_Q)
        )
        seconds = (time.perf_counter() - start) / max(1, len(networks))
        for m, id_ in enumerate(networks.ids_M):
            for r, score in enumerate(scores_RxM[:, m]):
                if np.isfinite(score):
                    yield Finding(int(id_), float(score), repeat=r, seconds=seconds)
                else:
                    reason = "its answers give no finite score"
                    yield unjudged(id_, reason, seconds, repeat=r)
            try:
                verdict = detector.judge(answers_MxQxC[m], again_MxQxC[m])
            except UserError as error:
                yield unjudged(id_, error, seconds)
                continue
            yield Finding(
                int(id_),
                verdict.score,
                conclusion=named(verdict.conclusion),
                threshold=verdict.threshold,
                artefacts={"answers": verdict.answers},
                notes=tuple(n for n in verdict.notes if n not in verdict.reasons),
                reasons=verdict.reasons,
                seconds=seconds,
            )

    def shown(self, resources: Resources) -> dict[str, np.ndarray]:
        """The detector's queries, and of text the words that they are nearest to.

        ``words`` are str ``[Q, T]`` and ``similarity`` float32; there are also
        ``validation_auc``, float ``[R, E]``, and ``columns`` and ``value_range``.
        """
        fit, detector = self._fitted(resources), self._detector(resources)
        found = {
            "queries": detector.queries,
            "validation_auc": fit.validation_auc_RxE,
            "value_range": np.asarray(detector.value_range, np.float32),
        }
        if resources.columns:
            found["columns"] = np.array(resources.columns)
        if resources.vocabulary:
            words, vectors = resources.vocabulary
            near = np.asarray(similarities(vectors, detector.queries))
            found["words"] = np.array(words)[near.argmax(-1)]
            found["similarity"] = near.max(-1)
        return found

    def _detector(self, resources: Resources) -> mntd.MetaDetector:
        """What the best of the repeats is as a user meets it."""
        memory = resources.memory.setdefault(self, {})
        if "detector" not in memory:
            fit, task = self._fitted(resources), resources.task
            networks, labels_V = resources.validation.merged()
            memory["detector"] = mntd.from_fit(
                fit,
                networks,
                labels_V,
                task=task.name,
                num_classes=task.num_logits,
                spec=self._spec(resources),
                config=self.fit,
                units=resources.units,
                vocabulary=resources.vocabulary,
                columns=resources.columns,
            )
        return memory["detector"]

    def _fitted(self, resources: Resources) -> mntd.Fit:
        """The fit: of memory, of disk, or new."""
        memory = resources.memory.setdefault(self, {})
        if "fit" in memory:
            return memory["fit"]
        if not len(resources.shadows) or not len(resources.validation):
            raise UserError(
                f"{self.name} needs shadow models to learn from and others to choose "
                "by; give populations of role 'shadow' and 'validation'"
            )
        rows_K, passes = self._rows(resources.shadows)
        folder = self._folder(resources)
        path = folder and folder / "fit"
        made_from = self._provenance(resources, rows_K, passes)
        if found := keeping.read(path, made_from):
            arrays, _ = found
            fit = mntd.Fit(**arrays | {"meta": mntd.Meta(**arrays["meta"])})
        else:
            fit = self._fit(resources, rows_K, passes)
            arrays = fit._asdict() | {"meta": fit.meta._asdict()}
            keeping.keep(path, arrays, {}, made_from)
        memory["fit"] = fit
        return fit

    def _fit(self, resources: Resources, rows_K: np.ndarray, passes: int) -> mntd.Fit:
        shadows, labels_M = resources.shadows.merged()
        words, one_class = resources.vocabulary, self.fit.mode == "one_class"
        taken = int((labels_M[rows_K] == 0).sum()) if one_class else len(rows_K)
        steps = passes * max(1, taken // self.fit.batch_size)
        with telemetry.progress(
            "meta-training",
            total=self.fit.epochs * steps,
            unit="steps",
            enabled=resources.progress,
        ) as bar:

            def done(epoch: int, auc_R: np.ndarray) -> None:
                bar.advance(steps, now=self.title, validation_auc=float(auc_R.mean()))
                if resources.metrics:
                    resources.metrics.write(
                        "epoch", detector=self.slug, shadows=len(rows_K), epoch=epoch,
                        validation_auc=auc_R,
                    )  # fmt: skip

            return mntd.fit(
                shadows,
                labels_M,
                *resources.validation.merged(),
                spec=self._spec(resources),
                config=self.fit,
                # Equal starts: what detectors are told is then all that differs.
                key=prng.stream(prng.root(resources.seed), "meta"),
                rows_K=rows_K,
                passes=passes,
                vectors_VxE=words.vectors if words else None,
                callback=done,
            )

    def _rows(self, shadows: Labelled) -> tuple[np.ndarray, int]:
        """Which shadows are fitted to, and how often an epoch passes over them."""
        if not self.shadows:
            return np.arange(len(shadows)), 1
        most = 2 * int(np.bincount(shadows.truth, minlength=2).min())
        if self.shadows > most:
            raise UserError(
                f"{self.name}: shadows is {self.shadows}, more than the {most} shadow "
                "models there are; take fewer, or train more"
            )
        passes = round(most / self.shadows) if self.equal_steps else 1
        # Of populations in order, as they are merged.
        place = np.argsort(shadows.order)
        return place[shadows.nested_rows(self.shadows)], passes

    def _folder(self, resources: Resources) -> Path | None:
        return resources.directory and resources.directory / self.slug

    def _spec(self, resources: Resources) -> mntd.QuerySpec:
        """Where the task's queries live and start."""
        task = resources.task
        mean, std = task.query_init["clipped" if self.fit.clip else "official"]
        return mntd.QuerySpec(task.query_shape, task.value_range, mean, std)

    def _settings(self, resources: Resources) -> dict[str, Any]:
        return {
            "detector": self.name,
            "shadows": self.shadows,
            "equal_steps": self.equal_steps,
            "seed": resources.seed,
            "fit": dataclasses.asdict(self.fit),
            "queries": dataclasses.asdict(self._spec(resources)),
        }

    def _provenance(
        self, resources: Resources, rows_K: np.ndarray, passes: int
    ) -> dict[str, Any]:
        """What a fit follows from, as JSON that names each part."""
        sources = {
            group.name: [group.digest, storage.digest(group.ids_M)]
            for labelled in (resources.shadows, resources.validation)
            for group in labelled.groups
        }
        rows = {"rows": storage.digest(rows_K), "passes": passes}
        return self._settings(resources) | rows | {"populations": sources}
