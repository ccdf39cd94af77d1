"""Detectors under one contract: a score a network, whatever they look at.

A new one is a file in this room and a line in :data:`DETECTORS`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from bdjax import checks
from bdjax.detectors.accuracy import Accuracy
from bdjax.detectors.base import (
    JOINT,
    Access,
    Asked,
    Defaults,
    Detector,
    Finding,
    Needs,
    Solver,
    slug_of,
    unjudged,
)
from bdjax.detectors.linear_weights import LinearWeights
from bdjax.detectors.mm_bd import MMBD
from bdjax.detectors.mntd import MNTD
from bdjax.detectors.options import parse
from bdjax.detectors.perturbations import DFTND, DLTND
from bdjax.detectors.resources import Group, Labelled, Resources


class Entry(NamedTuple):
    """A detector that can be asked for.

    Attributes:
      make: its class; see :meth:`Detector.make`.
      title: what tables call it.
      changes: of its settings.
      is_slow: whether it may be kept to some models of every population.
      cost: of one network, about how often it is asked, gradients counted thrice; of 32
        x 32 images and ten classes.
      is_variant: whether it is an ablation, a control or a parity, that runs only where
        it is asked for by name.
    """

    make: type[Detector]
    title: str
    changes: Mapping[str, Any] = MappingProxyType({})
    is_slow: bool = False
    cost: float = 1e5
    is_variant: bool = False


_BINARY = {"mode": "binary", "query_tuning": True}
# The paper's, on logits: it separates better on them, having no trojaned shadows to
# learn from what matters.
_ONE_CLASS = _BINARY | {"mode": "one_class", "batch_size": 1, "answers": "logits"}
_FEATURES = {"score": "similarity", "representation": "features"}
_OFFICIAL = {"parity": "official"}
_DL, _DF = 1e5, 5e3  # their costs


def _variant(
    make: type[Detector], title: str, changes: Mapping[str, Any], is_slow: bool = False
) -> Entry:
    return Entry(make, title, changes, is_slow, is_variant=True)


DETECTORS: dict[str, Entry] = {
    "mntd": Entry(MNTD, "MNTD", _BINARY, cost=20),
    "mntd_no_tuning": _variant(
        MNTD, "MNTD without query tuning", _BINARY | {"query_tuning": False}
    ),
    "mntd_one_class": _variant(MNTD, "MNTD, one-class", _ONE_CLASS),
    "dl_tnd": Entry(DLTND, "DL-TND", cost=_DL),
    "dl_tnd_sparse": _variant(DLTND, "DL-TND, sparse mask only", {"score": "sparse"}),
    "dl_tnd_dense": _variant(DLTND, "DL-TND, dense mask only", {"score": "dense"}),
    "dl_tnd_images": _variant(
        DLTND, "DL-TND, per-image masks only", {"score": "images"}
    ),
    "dl_tnd_similarity": _variant(DLTND, "DL-TND, similarity", {"score": "similarity"}),
    "dl_tnd_features": _variant(
        DLTND, "DL-TND, similarity of features", _FEATURES, True
    ),
    "dl_tnd_channel": _variant(
        DLTND, "DL-TND, a mask a channel", {"mask": "channel"}, True
    ),
    "dl_tnd_restarts": _variant(DLTND, "DL-TND, three starts", {"restarts": 3}, True),
    "dl_tnd_paper": _variant(DLTND, "paper's DL-TND", {"parity": "paper"}, True),
    "dl_tnd_official": _variant(DLTND, "official DL-TND", _OFFICIAL, True),
    "df_tnd": Entry(DFTND, "DF-TND", cost=_DF),
    "df_tnd_official": _variant(DFTND, "official DF-TND", _OFFICIAL, True),
    "mm_bd": Entry(MMBD, "MM-BD", is_slow=True, cost=3 * _DL),
    "linear_weights": Entry(LinearWeights, "linear classifier of weights", cost=0),
    "accuracy": Entry(Accuracy, "accuracy alone", cost=0, is_variant=True),
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
    checks.one_of(DETECTORS, detector=name)
    entry = DETECTORS[name]
    identity = {
        "name": name,
        "entitled": entry.title,
        "options": tuple(given.items()),
        "is_slow": entry.is_slow,
    }
    asked = Asked(identity, entry.changes, given, defaults or Defaults())
    return entry.make.make(asked)


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
