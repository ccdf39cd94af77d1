"""How tasks of each family are drawn: queries, and examples with triggers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bdjax.data import Dataset
from bdjax.evaluation import plots
from bdjax.mntd import MetaDetector


class Exhibit(NamedTuple):
    """The figures that depend on what examples look like.

    Attributes:
      queries: ``queries(detector, dataset) -> figure``.
      triggers: ``triggers(clean, triggered, labels, dataset) -> figure``; arrays
        ``[N, *shape]`` as a network's front end gets them, one label each.
    """

    queries: Callable[[MetaDetector, Dataset], Any]
    triggers: Callable[[np.ndarray, np.ndarray, list[str], Dataset], Any]


QUERIES_TITLE, TRIGGERS_TITLE = "Learned queries", "Triggers of target models"


def _image_queries(detector: MetaDetector, dataset: Dataset) -> Any:
    del dataset
    return plots.query_images(
        detector.queries, value_range=detector.value_range, title=QUERIES_TITLE
    )


def _image_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], dataset: Dataset
) -> Any:
    del dataset
    return plots.trigger_samples(clean, triggered, labels, TRIGGERS_TITLE)


EXHIBITS = {"images": Exhibit(_image_queries, _image_triggers)}
"""A task's ``family`` -> its figures."""
