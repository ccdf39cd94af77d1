"""Built-in benign references of DL-TND and DF-TND, and calibrating on one's own."""

import dataclasses
import functools
import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

from bdjax.tnd.config import DF_PUBLISHED, PUBLISHED, DFTNDConfig, DLTNDConfig
from bdjax.types import UserError
from bdjax.verdicts import (
    Calibration,
    Verdict,
    by_threshold,
    calibrate_scores,
    load_calibration,
)

_FEWEST, _MOST = 6, 20  # classes, for references of 10

# Fields that a score does not depend on.
_IDLE = {
    "threshold", "missing", "min_accuracy", "image_iterations", "image_learning_rate",
    "representation", "quantile",
}  # fmt: skip
_IMAGES = {"image_iterations", "image_learning_rate"}
_SIMILAR = _IMAGES | {"representation", "quantile"}


def settings_of(config: DLTNDConfig | DFTNDConfig) -> dict[str, Any]:
    """What scores depend on, and so what a calibration holds for; JSON."""
    used = _IMAGES if config.score in ("size", "images") else set()
    if config.score in PUBLISHED:
        used = _SIMILAR
    fields = dataclasses.asdict(config)
    detector = "dl_tnd" if isinstance(config, DLTNDConfig) else "df_tnd"
    kept = {k: v for k, v in fields.items() if k not in _IDLE - used}
    # As a file holds it: no tuples.
    return {"detector": detector} | json.loads(json.dumps(kept))


def calibration_for(
    config: DLTNDConfig | DFTNDConfig,
    given: Calibration | None = None,
    *,
    settings: dict[str, Any] | None = None,
    num_classes: int = 10,
) -> tuple[Calibration, list[str]]:
    """What a verdict is compared with, and what forbids one.

    A threshold in the configuration, the calibration that was given, or the built-in
    one, which holds for about as many classes as its references have.

    Args:
      config: of the detector.
      given: a user's own.
      settings: what the scores depend on; None: on ``config`` alone.
      num_classes: of the network.

    Raises:
      UserError: the given calibration is of other settings, or there is a threshold
        beside it.
    """
    plain = settings_of(config)
    settings = plain if settings is None else settings
    if config.threshold is not None:
        if given is not None:
            raise UserError(
                f"config.threshold is {config.threshold:g} and a calibration is given, "
                "too; leave one out"
            )
        return by_threshold(config.threshold, "a threshold of your own"), []
    if given is not None:
        if not isinstance(given, Calibration):
            raise UserError(
                f"calibration is a {type(given).__name__}; read a file with "
                "tnd.load_calibration"
            )
        if given.settings != settings:
            raise UserError(
                "the calibration is of other settings "
                f"({_difference(given.settings, settings)}); calibrate with these"
            )
        return given, []
    built_in = _built_in(plain["detector"])
    own = (
        "score benign networks of your own and give calibration=tnd.calibrate(their "
        "verdicts), or a threshold"
    )
    if built_in and built_in.settings == plain and not settings.get("images_given"):
        if _FEWEST <= num_classes <= _MOST:
            return built_in, []
        return built_in, [
            f"the network has {num_classes} classes, and the built-in references 10: "
            f"the greatest of so many label scores is another; {own}"
        ]
    limit = math.inf
    if isinstance(config, DLTNDConfig):
        limit = PUBLISHED.get(config.score, math.inf)
    elif config.parity == "official":
        limit = DF_PUBLISHED
    source = "published threshold" if math.isfinite(limit) else "no benign references"
    reason = f"no benign references are built in for these settings; {own}"
    return by_threshold(limit, source), [reason]


def calibrate(
    verdicts: Sequence[Verdict], *, false_alarms: float = 0.05, source: str = ""
) -> Calibration:
    """A calibration from verdicts on benign networks of one's own.

    Give it to :func:`dl_tnd` or :func:`df_tnd` as ``calibration=``; ``save`` it, and
    read it back with :func:`load_calibration`.

    Args:
      verdicts: of benign networks alike to those that are to be judged, all of one
        detector and configuration; what they were called does not matter.
      false_alarms: wanted share of benign networks flagged, in (0, 1).
      source: what the networks are, in words.

    Raises:
      UserError: too few for that share, one is in doubt or no such verdict, or they
        were computed differently.
    """
    if not verdicts:
        raise UserError("no verdicts were given; judge some benign networks first")
    for i, one in enumerate(verdicts):
        if not isinstance(one, Verdict) or not one.settings:
            raise UserError(
                f"verdict {i} is a {type(one).__name__}; give verdicts of dl_tnd or "
                "df_tnd (of MNTD, call detector.calibrate)"
            )
        if one.doubts:
            raise UserError(f"verdict {i} is no reference: {one.doubts[0]}")
    settings = [v.settings for v in verdicts]
    for other in settings[1:]:
        if other != settings[0]:
            raise UserError(
                "the verdicts were computed differently "
                f"({_difference(other, settings[0])}); judge all benign networks with "
                "one configuration"
            )
    return calibrate_scores(
        [v.score for v in verdicts],
        false_alarms=false_alarms,
        source=source,
        settings=settings[0],
    )


def _difference(a: dict[str, Any], b: dict[str, Any]) -> str:
    name = next(k for k in (a | b) if a.get(k) != b.get(k))
    return f"{name} {a.get(name)!r}, not {b.get(name)!r}"


@functools.cache
def _built_in(detector: str) -> Calibration | None:
    file = resources.files("bdjax.tnd") / "calibrations" / f"{detector}.json"
    if not file.is_file():
        return None
    with resources.as_file(file) as path:
        return load_calibration(path)
