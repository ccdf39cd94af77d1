"""What a detector found out about a model: computed once, and kept at once."""

import dataclasses
import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bdjax import prng, storage, tnd
from bdjax.experiments import rundir
from bdjax.experiments.found import Case, Found, concluded
from bdjax.experiments.tnd_config import TNDConfig, detector_config
from bdjax.models import Model, Precision
from bdjax.population import Population
from bdjax.tasks import Task
from bdjax.tnd import scores
from bdjax.tnd.dftnd import DFVerdict, df_tnd
from bdjax.tnd.network import Apply
from bdjax.types import CapacityError, UserError, Variables

_KIND = "bdjax TND verdict"
# What is stored beside arrays.
_META = (
    *("score", "conclusion", "reasons", "doubts", "threshold", "grey"),
    *("seconds", "is_first", "notes"),
)


class JudgeError(UserError):
    """A network that a detector cannot judge, such as one of constant logits."""


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
        arrays = _empty(len(arrays["label_scores"])) | arrays
        meta["notes"] = tuple(meta["notes"])
        meta["doubts"] = doubts = tuple(meta["doubts"])
        meta |= concluded(
            detector_config(self._config, case.variant),
            meta["score"],
            arrays["label_scores"],
            doubts,
        )
        return Found(**arrays | meta)

    def find(self, case: Case, population: Population, i: int) -> Found:
        """A new verdict, stored.

        Raises:
          JudgeError: the network cannot be judged; the message names it.
          UserError: the verdict cannot be written.
        """
        variables = jax.tree.map(lambda leaf: np.asarray(leaf[i]), population.variables)
        start = time.perf_counter()
        ask = self._data_free if case.per_class == 0 else self._few_images
        try:
            parts = ask(case, variables)
        except CapacityError:
            raise  # of any network
        except UserError as error:
            raise JudgeError(
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
        meta["conclusion"] = found.conclusion.value
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
            progress=False,
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
            progress=False,
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
        return {
            "detector": detector,
            "precision": self._config.solver.precision,
            "scores": scores.VERSION,
        }

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
    score, label_scores = float(verdict.score), verdict.label_scores
    return {
        "score": score,
        "doubts": verdict.doubts,
        "label_scores": np.asarray(label_scores, np.float32),
        "notes": tuple(n for n in verdict.notes if n not in verdict.reasons),
        **concluded(verdict.config, score, label_scores, verdict.doubts),
    }
