"""What a report is computed from: experiment.json, scores.csv and artefacts."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bdjax import storage
from bdjax.types import UserError

JOINT = -1
"""The repeat of a row that is no single repeat's."""

CONTROL = "accuracy"
"""The detector that the others' AUCs must be read beside."""

TEXTS = (
    *("population", "role", "attack", "architecture", "recipe", "trigger_kind"),
    *("detector", "title", "conclusion", "label_scores", "reasons", "notes"),
)
NUMBERS = (
    *("id", "seed", "trojaned", "target", "trigger_size", "poisoning_rate"),
    *("accuracy", "asr", "loss", "holds", "repeat", "score", "threshold"),
    *("top_label", "top_score", "named_target", "seconds"),
)
_SPELLED = {"": "nan", "True": "1", "False": "0"}
_ALWAYS = ("id", "trojaned", "holds")


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """What one detector said.

    Attributes:
      name: the detector's, and of its folder of artefacts.
      title: what tables call it.
      models: a row a model that it judged, in the file's order, with the columns of
        scores.csv; the joint row where a model has one.
      scores_RxM: float64; of the repeats, or the joint ones where there are none.
      unjudged: the rows of models whose scores are not all numbers.
    """

    name: str
    title: str
    models: pd.DataFrame
    scores_RxM: np.ndarray
    unjudged: pd.DataFrame

    @property
    def every(self) -> pd.DataFrame:
        """The rows of all models that it was asked about."""
        return pd.concat([self.models, self.unjudged]).sort_index()

    def take(self, keep_M: Any) -> "Judged":
        """Of some of the models."""
        keep = np.asarray(keep_M, bool)
        return dataclasses.replace(
            self, models=self.models[keep], scores_RxM=self.scores_RxM[:, keep]
        )

    def targets(self, attack: str = "") -> "Judged":
        """Of the targets that count, or the benign ones and those of one attack."""
        models = self.models
        keep = (models.role == "target") & (models.holds == 1)
        if attack:
            keep &= (models.trojaned == 0) | (models.attack == attack)
        return self.take(keep)


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run directory, read.

    Attributes:
      directory: it.
      experiment: the resolved configuration's fields.
      facts: what else experiment.json says: notes, device, seconds, versions.
      rows: all of scores.csv, numbers as float64, NaN where unknown, text as str.
    """

    directory: Path
    experiment: Mapping[str, Any]
    facts: Mapping[str, Any]
    rows: pd.DataFrame

    @property
    def task(self) -> str:
        """Name of the task, "" where the configuration has none."""
        return str(self.experiment.get("zoo", {}).get("task", ""))

    @functools.cached_property
    def models(self) -> pd.DataFrame:
        """A row a model, whatever detectors said."""
        return self.rows.drop_duplicates(["population", "id"])

    @functools.cached_property
    def judged(self) -> dict[str, Judged]:
        """By detector, in the order that they were asked for."""
        names = [name for name in self.rows.detector.unique() if name]
        return {name: _judged(self.rows[self.rows.detector == name]) for name in names}

    def arrays(self, *parts: str) -> dict[str, np.ndarray]:
        """Arrays of ``artefacts/<parts>.npz``; {} where there is no such file."""
        path = self.directory.joinpath("artefacts", *parts)
        path = path.with_name(f"{path.name}.npz")
        if not path.exists():
            return {}
        try:
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"{path} cannot be read: {error}; remove it and run again"
            ) from error

    def shown(
        self, models: pd.DataFrame, each: int | None = None
    ) -> Iterator[tuple[Any, dict[str, np.ndarray], int]]:
        """Models whose examples are kept, the first ones of every population.

        Yields:
          The model, its population's arrays, and its place in them.
        """
        for name, some in models.groupby("population", sort=False):
            arrays = self.arrays("populations", str(name))
            ids = [*arrays.get("ids", ())]
            for model in some[some.id.isin(ids)].head(each or len(ids)).itertuples():
                yield model, arrays, ids.index(model.id)

    def found(self, detector: str, population: str, id_: float) -> dict[str, Any]:
        """Artefacts of a finding."""
        return self.arrays(detector, f"{population}-{int(id_)}")


def read(directory: str | Path) -> Run:
    """Reads a run directory.

    Args:
      directory: of a run that has come to its scores.

    Raises:
      UserError: it is no run, or a file in it is missing or damaged.
    """
    directory = Path(directory)
    path = directory / "experiment.json"
    if not path.is_file():
        raise UserError(
            f"{directory} is no run: there is no experiment.json in it; give the "
            "--workdir of a `bdjax run` (runs of older versions cannot be read)"
        )
    found = storage.read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("experiment"), dict):
        raise UserError(f"{path} holds no experiment; restore it or run again")
    experiment = found.pop("experiment")
    return Run(directory, experiment, found, _rows(directory / "scores.csv"))


def _rows(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(
            f"{path.parent} has no scores.csv: no detector has been asked yet; finish "
            "it with `bdjax run`"
        )
    try:
        # Everything as text first: else a column's type would hang on its values.
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read: {text}; run again") from error
    if missing := [name for name in (*TEXTS, *NUMBERS) if name not in rows]:
        raise UserError(f"{path} lacks the columns {missing}; run again")
    if rows.empty:
        raise UserError(f"{path} holds no model; run again")
    for name in NUMBERS:
        try:
            rows[name] = rows[name].replace(_SPELLED).to_numpy().astype(float)
        except ValueError as error:
            raise UserError(
                f"{path}: column {name!r}: {error}; restore it or run again"
            ) from error
        if name in _ALWAYS and rows[name].isna().any():
            row = int(rows[name].isna().to_numpy().argmax())
            raise UserError(f"{path}: column {name!r} is empty in row {row}; run again")
    return rows


def _judged(rows: pd.DataFrame) -> Judged:
    key = ["population", "id"]
    # The joint row is the saved detector's; a repeat stands in where there is none.
    models = rows.sort_values("repeat", kind="stable").drop_duplicates(key)
    models = models.sort_index()
    repeats = rows[rows.repeat > JOINT]
    wide = (repeats if len(repeats) else rows).pivot_table(
        index=key, columns="repeat", values="score", dropna=False
    )
    scores_MxR = wide.reindex(pd.MultiIndex.from_frame(models[key])).to_numpy()
    can = ~np.isnan(scores_MxR).any(axis=1) & models.score.notna().to_numpy()
    return Judged(
        name=str(models.detector.iloc[0]),
        title=str(models.title.iloc[0] or models.detector.iloc[0]),
        models=models[can],
        scores_RxM=_finite(scores_MxR[can].T),
        unjudged=models[~can],
    )


def _finite(scores: np.ndarray) -> np.ndarray:
    """Infinite scores a step beyond the others, which changes no order."""
    real = scores[np.isfinite(scores)]
    low, high = (real.min(), real.max()) if real.size else (0.0, 0.0)
    return np.nan_to_num(scores, posinf=high + 1, neginf=low - 1)
