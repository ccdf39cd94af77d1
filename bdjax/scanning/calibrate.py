"""Thresholds of one's own: from scores of networks that are known to be clean."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bdjax import checks
from bdjax.scanning.access import settings_for
from bdjax.scanning.report import Judgement, Report
from bdjax.scanning.scan import scan
from bdjax.types import UserError
from bdjax.verdicts import Calibration, calibrate_scores

DETECTORS = ("df_tnd", "dl_tnd")
_ENDINGS = (".onnx", ".pt2", ".pt", ".ts", ".keras", ".jax", ".jaxexport")


def calibrate(
    networks: Sequence[Any],
    images: Any = None,
    labels: Any = None,
    *,
    detectors: Sequence[str] | None = None,
    false_alarms: float = 0.05,
    source: str = "",
    command: str = "",
    watch: Callable[[int, int, Report], None] | None = None,
    **options: Any,
) -> dict[str, Calibration]:
    """Scores clean networks, and sets each detector's threshold by them.

    Give the result to :func:`bdjax.scan` as ``calibration``, or write it by
    :func:`bdjax.scanning.calibrations.save`.

    Args:
      networks: clean ones, alike to those that are to be judged, each as scan takes
        it; a directory stands for the files of networks in it.
      images: as of scan, the same for all.
      labels: likewise.
      detectors: those to calibrate; DL-TND and DF-TND where nothing is said, as far as
        they fit.
      false_alarms: wanted share of clean networks flagged, in (0, 1).
      source: what the networks are, in words.
      command: that asks for this, to be kept with it.
      watch: called with how many are done, of how many, and the last one's report.
      **options: of scan, for all networks.

    Returns:
      A calibration a detector, without those that could judge none of the networks.

    Raises:
      UserError: there are too few networks for that share, one is none or is in doubt,
        or no detector fits them.
    """
    every = _expanded(networks)
    checks.within("(0, 1)", false_alarms=false_alarms)
    needed = math.ceil(1 / false_alarms - 1 - 1e-9)
    if len(every) < needed:
        raise UserError(
            f"{len(every)} clean networks can state no false-alarm rate of "
            f"{false_alarms:g}, which takes {needed}; give more, or false_alarms="
            f"{math.ceil(1000 / (len(every) + 1)) / 1000:g} or more"
        )
    texts = tuple(detectors or DETECTORS)
    first = scan(every[0], images, labels, detectors=(), **options)
    if "classes" not in first.facts:
        raise UserError("the networks say labels only, and no detector reads those")
    num_classes = int(first.facts["classes"])
    settings = {text: settings_for(text, num_classes) for text in texts}
    open_ended = {
        text.partition(":")[0]: Calibration(np.zeros(0), math.inf, math.inf, "", each)
        for text, each in settings.items()
    }
    scores: dict[str, list[float]] = {text: [] for text in texts}
    why: dict[str, str] = {}
    for i, network in enumerate(every):
        try:
            report = scan(
                network, images, labels,
                detectors=texts, calibration=open_ended, **options,
            )  # fmt: skip
        except UserError as error:
            raise UserError(f"{_name(network, i)} is no reference: {error}") from error
        if report.preflight.reasons:
            raise UserError(
                f"{_name(network, i)} is no reference: {report.preflight.reasons[0]}"
            )
        said = {j.name: j for j in report.judgements}
        for text in texts:
            judged = said[text.partition(":")[0]]
            if reason := _doubt(judged):
                why[text] = f"{_name(network, i)} is no reference: {reason}"
            else:
                assert judged.finding is not None
                scores[text].append(judged.finding.score)
            if scores[text] and text in why:  # no matter of the detector's
                raise UserError(f"{judged.title}: {why[text]}")
        if watch:
            watch(i + 1, len(every), report)
    found = {}
    for text in texts:
        if len(scores[text]) == len(every):
            calibration = calibrate_scores(
                scores[text],
                false_alarms=false_alarms,
                source=source or f"{len(every)} clean networks of your own",
                settings=settings[text],
            )
            name = text.partition(":")[0]
            found[name] = dataclasses.replace(calibration, command=command)
    if not found:
        text = next(iter(why))
        raise UserError(f"no detector could be calibrated; {text}: {why[text]}")
    return found


def _doubt(judged: Judgement) -> str:
    """Why a detector's score cannot be compared with; "" if it can."""
    finding = judged.finding
    if finding is None:
        return judged.skipped
    if finding.reasons or math.isnan(finding.score):
        return next(iter((*finding.reasons, *finding.notes)), "it has no score")
    return ""


def _expanded(networks: Sequence[Any]) -> list[Any]:
    """Networks, and files of those that are directories."""
    if isinstance(networks, (str, os.PathLike)):
        networks = [networks]
    found: list[Any] = []
    for one in networks:
        if not isinstance(one, (str, os.PathLike)) or not Path(one).is_dir():
            found.append(one)
            continue
        inside = sorted(p for p in Path(one).iterdir() if p.suffix in _ENDINGS)
        if not inside:
            raise UserError(
                f"{one} holds no networks; files that end in {', '.join(_ENDINGS)} are "
                "looked for"
            )
        found += [str(path) for path in inside]
    return found


def _name(network: Any, i: int) -> str:
    if isinstance(network, (str, os.PathLike)):
        return str(network)
    return getattr(network, "name", "") or f"network {i}"
