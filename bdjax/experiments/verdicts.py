"""What a detector found out about a model: computed once, and kept at once."""

import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bdjax import prng, storage, tnd
from bdjax.experiments import rundir
from bdjax.experiments.tnd_config import VARIANTS, TNDConfig, detector_config
from bdjax.models import Model, Precision
from bdjax.population import Population
from bdjax.tasks import Task
from bdjax.tnd import scores
from bdjax.tnd.dftnd import DFVerdict, df_tnd
from bdjax.tnd.network import Apply
from bdjax.types import UserError, Variables

_KIND = "bdjax TND verdict"


class Case(NamedTuple):
    """A detector in one setting; ``per_class`` is 0 if it is data-free."""

    variant: str
    per_class: int

    @property
    def name(self) -> str:
        """Such as ``"bdjax-5"``."""
        return f"{self.variant}-{self.per_class}"


@dataclasses.dataclass(frozen=True)
class Found:
    """A verdict, without what nobody will ask for; K candidate labels, N images.

    Attributes:
      score: larger = more likely trojaned.
      threshold: the detector's own default.
      label_scores: float32 ``[K]``; every class is a candidate.
      similarity: float32 ``[K, N]``, see :class:`bdjax.tnd.Verdict`; N is 0 if
        data-free.
      mask_area: float32 ``[K]``, likewise; K is 0 if data-free.
      image_area: float32 ``[K, N]``, likewise.
      sizes: of the smallest masks, by norm, likewise.
      mask: float32 ``[H, W, C]``, of the label with the greatest score.
      pattern: likewise, in the value range.
      seconds: that it took.
      is_first: whether it was the first of its case in its process, so that these
        seconds have the compilation in them.
      notes: what a reader must know, one sentence each.
    """

    score: float
    threshold: float
    label_scores: np.ndarray
    similarity: np.ndarray
    mask_area: np.ndarray
    image_area: np.ndarray
    sizes: dict[str, np.ndarray]
    mask: np.ndarray = dataclasses.field(repr=False)
    pattern: np.ndarray = dataclasses.field(repr=False)
    seconds: float
    is_first: bool
    notes: tuple[str, ...]

    @property
    def label(self) -> int:
        """The most suspicious label."""
        return int(self.label_scores.argmax())


_META = ("score", "threshold", "seconds", "is_first", "notes")


@functools.cache
def functions_of(model: Model, precision: Precision) -> tuple[Apply, Apply]:
    """``apply`` and ``features``; the same each time, or all would compile again."""
    if precision == "float32":
        return model.apply, model.features
    in_precision = functools.partial(functools.partial, precision=precision)
    return in_precision(model.apply), in_precision(model.features)


class Detective:
    """Runs detectors on the models of one experiment; results stay in its directory."""

    def __init__(
        self,
        config: TNDConfig,
        workdir: Path,
        model: Model,
        task: Task,
        images: Mapping[int, tuple[np.ndarray, np.ndarray]],
    ):
        """Makes one.

        Args:
          config: the experiment.
          workdir: its directory.
          model: the network.
          task: what it classifies.
          images: by number a class, the defender's images and labels.
        """
        self._config, self._workdir = config, workdir
        self._model, self._task, self._images = model, task, images
        self._warm: set[Case] = set()

    def claim(self, case: Case) -> None:
        """Binds the verdicts' folder to what they are computed by.

        Raises:
          UserError: there are some that were computed otherwise.
        """
        folder = self._folder(case)
        rundir.claim(
            folder,
            self._solving(case),
            fix=f"remove {folder} to compute them again, or use another --workdir",
        )

    def load(self, case: Case, population: Population, i: int) -> Found | None:
        """A verdict that is on disk already.

        Raises:
          UserError: it is damaged, or of another network.
        """
        path = self._path(case, population, i)
        if not (path / "meta.json").exists():
            return None
        provenance = self._provenance(case, population, i)
        arrays, meta = storage.load_tree(path, kind=_KIND, provenance=provenance)
        meta["notes"] = tuple(meta["notes"])
        if math.isfinite(meta["threshold"]):  # else there is no verdict, see dl_tnd
            meta["threshold"] = detector_config(self._config, case.variant).threshold
        return Found(**(_empty(len(arrays["label_scores"])) | arrays | meta))

    def find(self, case: Case, population: Population, i: int) -> Found:
        """A new verdict, stored.

        Raises:
          UserError: the network cannot be judged; the message names it.
        """
        variables = jax.tree.map(lambda leaf: np.asarray(leaf[i]), population.variables)
        start = time.perf_counter()
        try:
            # Of poor networks; the verdict notes it.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                ask = self._data_free if case.per_class == 0 else self._few_images
                parts = ask(case, variables)
        except UserError as error:
            raise UserError(
                f"{population.name} {population.ids_M[i]}, {case.name}: {error}"
            ) from error
        found = Found(
            seconds=time.perf_counter() - start,
            is_first=case not in self._warm,
            **parts,
        )
        self._warm.add(case)
        fields = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
        meta = {name: fields.pop(name) for name in _META}
        arrays = {k: v for k, v in fields.items() if np.size(v) and len(v)}
        path = self._path(case, population, i)
        provenance = self._provenance(case, population, i)
        storage.save_tree(path, arrays, meta, kind=_KIND, provenance=provenance)
        return found

    def _few_images(self, case: Case, variables: Variables) -> dict[str, Any]:
        config = detector_config(self._config, case.variant)
        assert isinstance(config, tnd.DLTNDConfig)
        apply, features = functions_of(self._model, self._config.solver.precision)
        verdict = tnd.dl_tnd(
            apply,
            variables,
            *self._images[case.per_class],
            num_classes=self._task.num_classes,
            value_range=self._task.value_range,
            features=features,
            config=config,
            execution=self._config.solving,
        )
        top = int(verdict.label_scores.argmax())
        return _common(verdict) | {
            "similarity": verdict.similarity,
            "mask_area": np.asarray(verdict.mask_area, np.float32),
            "image_area": verdict.image_area,
            "sizes": {
                k: np.asarray(v, np.float32) for k, v in verdict.sizes.items()
            },
            "mask": np.asarray(verdict.mask[top], np.float32),
            "pattern": np.asarray(verdict.pattern[top], np.float32),
        }  # fmt: skip

    def _data_free(self, case: Case, variables: Variables) -> dict[str, Any]:
        config = detector_config(self._config, case.variant)
        assert not isinstance(config, tnd.DLTNDConfig)
        height, width, channels = self._task.shape
        apply, features = functions_of(self._model, self._config.solver.precision)
        verdict = df_tnd(
            apply,
            variables,
            input_shape=(height, width, channels),
            num_classes=self._task.num_classes,
            value_range=self._task.value_range,
            features=features,
            config=config,
            execution=self._config.solving,
            # Equal noise: then networks are the only difference between scores.
            key=prng.stream(prng.root(self._config.seed), "df_tnd"),
        )
        return (
            _common(verdict)
            | _empty(len(verdict.label_scores))
            | {
                "mask": np.asarray(verdict.masks.mean(0), np.float32),
                "pattern": np.asarray(verdict.patterns.mean(0), np.float32),
            }
        )

    def _solving(self, case: Case) -> dict[str, Any]:
        """What a case's solutions follow from beside the network."""
        detector = dataclasses.asdict(detector_config(self._config, case.variant))
        del detector["threshold"]  # which no solution depends on
        return {"detector": detector, "precision": self._config.solver.precision}

    def _provenance(self, case: Case, population: Population, i: int) -> dict[str, Any]:
        return self._solving(case) | {
            "population": population.digest,
            "model": int(population.ids_M[i]),
            "images": case.per_class,
            "seed": self._config.seed,
        }

    def _folder(self, case: Case) -> Path:
        return self._workdir / "verdicts" / case.name

    def _path(self, case: Case, population: Population, i: int) -> Path:
        return self._folder(case) / f"{population.name}-{population.ids_M[i]}"


def _empty(labels: int) -> dict[str, Any]:
    """What a data-free verdict lacks; a store takes no empty arrays."""
    return {
        "similarity": np.zeros((labels, 0), np.float32),
        "image_area": np.zeros((labels, 0), np.float32),
        "mask_area": np.zeros(0, np.float32),
        "sizes": {},
    }


def _common(verdict: tnd.Verdict | DFVerdict) -> dict[str, Any]:
    return {
        "score": float(verdict.score),
        "threshold": float(verdict.threshold),
        "label_scores": np.asarray(verdict.label_scores, np.float32),
        "notes": verdict.notes,
    }


def by_similarity(found: Found, quantile: float, threshold: float) -> Found:
    """The same solutions, scored by a quantile of their similarities."""
    return _rescored(found, scores.quantile(found.similarity, quantile), threshold)


def derive(found: Found, config: TNDConfig, variant: str) -> Found:
    """A verdict of ``VARIANTS[variant].of`` as ``variant`` would have given it.

    Its mask stays that of the label that the other one suspects most.
    """
    detector = detector_config(config, variant)
    assert VARIANTS[variant].of
    assert isinstance(detector, tnd.DLTNDConfig)
    label_scores = scores.label_scores(
        detector.score,
        found.sizes,
        found.similarity,
        found.image_area,
        detector.quantile,
    )
    return _rescored(found, label_scores, detector.threshold)


def _rescored(found: Found, label_scores: np.ndarray, threshold: float) -> Found:
    return dataclasses.replace(
        found,
        score=float(label_scores.max()),
        threshold=threshold,
        label_scores=label_scores.astype(np.float32),
    )
