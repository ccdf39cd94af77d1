"""What can be had of a network, and which detectors can do with it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bdjax import checks, mntd
from bdjax.detectors import DETECTORS, Access, Defaults, Detector, get_detector
from bdjax.detectors.perturbations import DLTND, Perturbing
from bdjax.networks import Features, Opened, no_features
from bdjax.scanning.preflight import Checked
from bdjax.tnd.references import settings_of
from bdjax.types import UserError
from bdjax.verdicts import Calibration

ORDER = list(Access)
_ASKED_WRONGLY = "no verdict could rest on it: the preflight says why"
_MOST = 20  # classes, for DL-TND without references of one's own


class Planned(NamedTuple):
    """A detector that runs, or does not.

    Attributes:
      name: key in the registry.
      title: what people call it.
      access: what it sees.
      detector: it; None where it does not run.
      calibration: of a user's own.
      skipped: why it does not run.
    """

    name: str
    title: str
    access: Access
    detector: Detector | mntd.MetaDetector | None
    calibration: Calibration | None = None
    skipped: str = ""


def of(
    opened: Opened,
    checked: Checked,
    most: str | None,
    layer: str | None,
) -> tuple[list[Access], Features]:
    """What can be had, up to a bound that a user sets, and the penultimate layer.

    Raises:
      UserError: there is no such access, or the network does not give as much.
    """
    found = [Access.LABELS]
    if not checked.answering.is_labels:
        found.append(Access.PROBABILITIES)
        if checked.answering.is_logits or opened.apply is not None:
            found.append(Access.LOGITS)
    features = no_features("it only answers")
    if opened.apply is not None and not checked.answering.is_labels:
        found.append(Access.GRADIENTS)
        shape = checked.reading.shape(checked.image)
        features = opened.find_features(shape, layer)
        if features.apply is not None:
            found.append(Access.FEATURES)
        if opened.weights is not None:
            found.append(Access.WEIGHTS)
    if most is None:
        return found, features
    names = [a.value for a in ORDER[: ORDER.index(Access.TRAINING_DATA)]]
    checks.one_of(names, access=most)
    bound = Access(most)
    if ORDER.index(bound) > max(map(ORDER.index, found)):
        why = f": {features.why}" if bound is Access.FEATURES and features.why else ""
        raise UserError(
            f"access is {most!r}, and no more than {found[-1].value} can be had of "
            f"this {opened.kind}{why}; leave access out"
        )
    found = [a for a in found if ORDER.index(a) <= ORDER.index(bound)]
    if Access.FEATURES not in found:
        features = no_features(f"access is bounded to {most}")
    return found, features


def plan(
    found: Sequence[Access],
    features: Features,
    checked: Checked,
    *,
    asked: Sequence[str] | None,
    fitted: Sequence[mntd.MetaDetector],
    calibrations: Mapping[str, Calibration],
) -> list[Planned]:
    """Detectors in the order that they run in, cheapest first; then those that do not.

    Args:
      found: what can be had.
      features: the penultimate layer.
      checked: what the preflight came to.
      asked: those that a user named; None for those that fit.
      fitted: MNTD detectors.
      calibrations: of a user's own, by detector.

    Raises:
      UserError: there is no such detector or option, or a calibration is of none.
    """
    for name in calibrations:
        checks.one_of(DETECTORS, **{"calibration of detector": name})
    named = asked is not None
    texts = [n for n, e in DETECTORS.items() if not e.is_variant]
    if asked is not None:
        texts = list(asked)
    planned = [] if named and not _names(asked, "mntd") else _fitted(found, fitted)
    for text in texts:
        if text.partition(":")[0] == "mntd" and fitted:
            continue
        planned.append(_planned(text, found, features, checked, named, calibrations))

    def cost(one: Planned) -> tuple[bool, float]:
        return one.detector is None, DETECTORS[one.name].cost

    return sorted(planned, key=cost)


def settings_for(text: str, num_classes: int) -> dict[str, Any]:
    """What a detector's scores depend on, for a calibration; JSON.

    Args:
      text: a key of the registry, and options.
      num_classes: of the networks.

    Raises:
      UserError: there is no such detector or option, or its scores follow from what a
        scan does not have.
    """
    detector = get_detector(text, Defaults(per_class=1))
    if isinstance(detector, Perturbing):
        settings = settings_of(detector.config)
    else:
        settings = {"detector": detector.name} | {
            name: getattr(detector, name) for name in detector.own_fields()
        }
    return settings | {"num_classes": num_classes}


def _names(asked: Sequence[str] | None, name: str) -> bool:
    return any(text.partition(":")[0] == name for text in asked or ())


def _fitted(
    found: Sequence[Access], fitted: Sequence[mntd.MetaDetector]
) -> list[Planned]:
    title, access = DETECTORS["mntd"].title, Access.LOGITS
    enough = Access.PROBABILITIES in found
    why = "" if enough else "it reads how sure a network is, and this one gives labels"
    return [
        Planned("mntd", title, access, one if enough else None, None, why)
        for one in fitted
    ]


def _planned(
    text: str,
    found: Sequence[Access],
    features: Features,
    checked: Checked,
    named: bool,
    calibrations: Mapping[str, Calibration],
) -> Planned:
    # One image a class, as of the built-in references.
    detector = get_detector(text, Defaults(per_class=1))
    name = detector.name
    if isinstance(detector, DLTND):
        skipping = {
            field: dataclasses.replace(getattr(detector, field), missing="skip")
            for field in ("config", "solving")
        }
        detector = dataclasses.replace(detector, **skipping)
    calibration = calibrations.get(name)
    if calibration is not None:
        _same(calibration, settings_for(text, checked.num_classes), detector.title)
    if isinstance(detector, Perturbing):
        detector = dataclasses.replace(detector, calibration=calibration)
    why = _lacking(detector, found, features, checked)
    if not why and not named:
        why = _pointless(detector, checked, calibration)
    if not why and not named and checked.preflight.reasons:
        why = _ASKED_WRONGLY
    runs: Any = None if why else detector
    return Planned(name, detector.title, detector.access, runs, calibration, why)


def _same(calibration: Calibration, settings: dict[str, Any], title: str) -> None:
    """Refuses a calibration of other settings, before anything runs."""
    if calibration.settings == settings:
        return
    theirs = calibration.settings
    name = next(k for k in theirs | settings if theirs.get(k) != settings.get(k))
    raise UserError(
        f"the calibration of {title} is of other networks or settings ({name} "
        f"{theirs.get(name)!r}, not {settings.get(name)!r}); calibrate with these"
    )


def _lacking(
    detector: Detector,
    found: Sequence[Access],
    features: Features,
    checked: Checked,
) -> str:
    """What a detector would need and cannot have; "" if nothing."""
    if detector.name.startswith("mntd"):
        return (
            "it is fitted to networks of the same task first; give one as detector (a "
            "directory of bdjax run)"
        )
    if detector.needs.shadows:
        return "it learns from networks of the same task, of which a scan has none"
    if detector.access not in found:
        if detector.access is Access.FEATURES and Access.GRADIENTS in found:
            return f"the penultimate layer was not found: {features.why}; name it"
        return (
            f"it needs {detector.access.value}, and no more than {found[-1].value} can "
            "be had"
        )
    needs_images = detector.needs.test_rows or detector.needs.images_per_class
    if needs_images and checked.clean is None:
        return "it needs clean images of each class, and there are none"
    return ""


def _pointless(
    detector: Detector, checked: Checked, calibration: Calibration | None
) -> str:
    """Why a detector that was not asked for would come to no verdict."""
    if not isinstance(detector, Perturbing):
        if calibration is not None:
            return ""
        return (
            "no benign networks are built in that its score could be compared with; "
            "calibrate it on your own, or name it to see its score"
        )
    if calibration is None and isinstance(detector, DLTND) and checked.clean:
        assert checked.clean.y is not None
        count = len(np.unique(checked.clean.y))
        if count > _MOST:
            return (
                f"it would look at {count} classes, and the built-in references have "
                "10: it would take long and come to no verdict; calibrate it on your "
                "own, or name it to see its score"
            )
    return ""
