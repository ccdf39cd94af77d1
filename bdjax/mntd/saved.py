"""Detectors on disk."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from bdjax import storage
from bdjax.mntd.classifier import Meta
from bdjax.mntd.config import FitConfig
from bdjax.mntd.coverage import Coverage
from bdjax.mntd.detector import MetaDetector
from bdjax.types import UserError
from bdjax.verdicts import Calibration

KIND = "bdjax MNTD detector"
_PLAIN = (
    *("task", "num_classes", "value_range", "validation_auc", "repeat"),
    *("sentences", "vectors", "columns"),
)  # as JSON has them, but for tuples


def write(detector: MetaDetector, directory: str | os.PathLike[str]) -> None:
    """See :meth:`MetaDetector.save`."""
    arrays = {
        "queries": detector.queries,
        "classifier": detector.meta.classifier,
        "covered": np.asarray(detector.coverage.answers, np.float32),
    }
    if detector.calibration.references:  # no empty arrays in a file
        arrays["benign_scores"] = detector.benign_scores
    if detector.units is not None:
        arrays |= dict(zip(("offset", "scale"), detector.units, strict=True))
    meta: dict[str, Any] = {name: getattr(detector, name) for name in _PLAIN}
    meta |= {
        "config": dataclasses.asdict(detector.config),
        "threshold": detector.threshold,
        "grey": detector.calibration.grey,
        "source": detector.calibration.source,
        "added": detector.coverage.added,
    }
    storage.save_tree(directory, arrays, meta, kind=KIND)


def load(directory: str | os.PathLike[str]) -> MetaDetector:
    """Reads the detector of a run, given the run's directory or its ``detector``.

    Raises:
      UserError: there is none, or it is damaged or of another version of bdjax.
    """
    directory = _find(Path(directory))
    arrays, meta = storage.load_tree(directory, kind=KIND)
    try:
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value := meta[name], list) else value
            for name in _PLAIN
        }
        return MetaDetector(
            **plain,
            meta=Meta(arrays["queries"], arrays["classifier"]),
            config=FitConfig(**meta["config"]),
            calibration=Calibration(
                arrays.get("benign_scores", np.zeros(0)),
                meta["threshold"],
                meta["grey"],
                meta["source"],
            ),
            coverage=Coverage(np.asarray(arrays["covered"], np.float64), meta["added"]),
            units=(arrays["offset"], arrays["scale"]) if "offset" in arrays else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{KIND} in {directory} is damaged ({error!r}); restore a copy or make it "
            "again"
        ) from error


def _find(directory: Path) -> Path:
    """The folder of a detector, which may lie in that of a run."""
    inside = Path("detector"), Path("detectors", "mntd", "detector")
    for place in (directory, *(directory / path for path in inside)):
        if (place / "meta.json").exists():
            return place
    raise UserError(
        f"no {KIND} in {directory}: neither it nor a detector/ in it has a meta.json; "
        "check the path, and give a run of MNTD that has ended, or its detector/"
    )
