"""References of a user's own: a calibration a detector, in one file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bdjax.types import UserError
from bdjax.verdicts import Calibration

KIND = "bdjax calibrations"


def save(calibrations: Mapping[str, Calibration], path: str | os.PathLike[str]) -> None:
    """Writes a calibration a detector into one JSON file.

    Raises:
      UserError: it cannot be written.
    """
    each = {name: one.to_record() for name, one in calibrations.items()}
    record = {"kind": KIND, "detectors": each}
    try:
        Path(path).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def load(path: str | os.PathLike[str]) -> dict[str, Calibration]:
    """Reads what :func:`save` wrote.

    Raises:
      UserError: there is no such file, or it holds no calibrations.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(
            f"{path} is no JSON ({error}); give what bdjax calibrate wrote"
        ) from error
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise UserError(
            f"{path} holds no calibrations; give what bdjax calibrate wrote"
        )
    each = record.get("detectors")
    if not isinstance(each, dict) or not each:
        raise UserError(f"{path} is damaged: it names no detectors; make it again")
    return {name: Calibration.from_record(one, path) for name, one in each.items()}


def given(calibration: Any) -> dict[str, Calibration]:
    """Calibrations by detector: of a file, or as they are.

    Raises:
      UserError: it is neither.
    """
    if calibration is None:
        return {}
    if isinstance(calibration, (str, os.PathLike)):
        return load(calibration)
    if isinstance(calibration, Mapping) and all(
        isinstance(one, Calibration) for one in calibration.values()
    ):
        return dict(calibration)
    raise UserError(
        f"calibration is a {type(calibration).__name__}; give a file of bdjax "
        "calibrate, or calibrations by detector"
    )
