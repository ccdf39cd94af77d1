"""Detectors under one contract: a score a network, whatever they look at.

A new one is a file in this room and a line in :data:`DETECTORS`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bdjax.detectors.accuracy import Accuracy
from bdjax.detectors.base import (
    JOINT,
    Access,
    Defaults,
    Detector,
    Finding,
    Group,
    Labelled,
    Needs,
    Resources,
    Solver,
    slug_of,
    unjudged,
)
from bdjax.detectors.options import parse
from bdjax.types import UserError


@dataclasses.dataclass(frozen=True)
class Entry:
    """A detector that can be asked for.

    Attributes:
      make: its class; see :meth:`Detector.make`.
      title: what tables call it.
      changes: of its settings.
      is_slow: whether it may be kept to some models of every population.
    """

    make: type[Detector]
    title: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_slow: bool = False


DETECTORS: dict[str, Entry] = {
    "accuracy": Entry(Accuracy, "accuracy alone"),
}


def get_detector(text: str, defaults: Defaults | None = None) -> Detector:
    """The detector that is called so, such as ``"dl_tnd:per_class=1,score=sparse"``.

    Args:
      text: a key of :data:`DETECTORS`, and options.
      defaults: what options start from.

    Raises:
      UserError: there is no such detector or option, or a value is at fault.
    """
    name, given = parse(text)
    if name not in DETECTORS:
        raise UserError(f"unknown detector {name!r}; there are {list(DETECTORS)}")
    entry = DETECTORS[name]
    identity = {
        "name": name,
        "entitled": entry.title,
        "options": tuple(given.items()),
        "is_slow": entry.is_slow,
    }
    return entry.make.make(identity, entry.changes, given, defaults or Defaults())


__all__ = [
    "DETECTORS",
    "JOINT",
    "Access",
    "Defaults",
    "Detector",
    "Entry",
    "Finding",
    "Group",
    "Labelled",
    "Needs",
    "Resources",
    "Solver",
    "get_detector",
    "slug_of",
    "unjudged",
]
