"""How tasks of each family are drawn: queries, and examples with triggers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bdjax import plots
from bdjax.data import Dataset, Vocabulary
from bdjax.data.waves import RATE
from bdjax.mntd import MetaDetector
from bdjax.mntd.words import similarities


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
        _drawable(detector.queries),
        value_range=detector.value_range,
        title=QUERIES_TITLE,
    )


def _image_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], dataset: Dataset
) -> Any:
    del dataset
    return plots.trigger_samples(
        _drawable(clean), _drawable(triggered), labels, TRIGGERS_TITLE
    )


def _drawable(images: np.ndarray) -> np.ndarray:
    """Of other than one or three channels, the first one or three."""
    return images[..., : 3 if images.shape[-1] >= 3 else 1]


def _table_queries(detector: MetaDetector, dataset: Dataset) -> Any:
    return plots.query_fields(
        detector.queries,
        columns=_columns(dataset),
        value_range=detector.value_range,
        title=QUERIES_TITLE,
    )


def _table_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], dataset: Dataset
) -> Any:
    units = dataset.units
    scales: dict[str, Any] = (
        {} if units is None else {"offset": units.offset, "scale": units.scale}
    )
    return plots.field_changes(
        clean, triggered, labels, TRIGGERS_TITLE, columns=_columns(dataset), **scales
    )


def _columns(dataset: Dataset) -> tuple[str, ...]:
    numbered = tuple(f"x{i}" for i in range(dataset.x.shape[1]))
    return dataset.columns or numbered


def _series_queries(detector: MetaDetector, dataset: Dataset) -> Any:
    del dataset
    return plots.query_series(
        detector.queries, value_range=detector.value_range, title=QUERIES_TITLE
    )


def _series_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], dataset: Dataset
) -> Any:
    del dataset
    return plots.trigger_series(clean, triggered, labels, TRIGGERS_TITLE)


def _text_queries(detector: MetaDetector, dataset: Dataset) -> Any:
    words, vectors = _vocabulary(dataset)
    similar = np.asarray(similarities(vectors, detector.queries))
    named = [[words[i] for i in row] for row in similar.argmax(-1)]
    title = f"{QUERIES_TITLE}: the nearest words"
    return plots.query_words(named, title, similarity=similar.max(-1))


def _text_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], dataset: Dataset
) -> Any:
    words, _ = _vocabulary(dataset)

    def spell(sentences: np.ndarray) -> list[list[str]]:
        last = np.where(sentences > 0, np.arange(sentences.shape[1]) + 1, 0).max(1)
        return [
            [words[i] for i in sentence[:end]]
            for sentence, end in zip(sentences, last, strict=True)
        ]

    return plots.trigger_sentences(
        spell(clean), spell(triggered), labels, TRIGGERS_TITLE
    )


def _vocabulary(dataset: Dataset) -> Vocabulary:
    assert dataset.vocabulary is not None, "text has a vocabulary"
    return dataset.vocabulary


def _wave_queries(detector: MetaDetector, dataset: Dataset) -> Any:
    del dataset
    return plots.query_waves(detector.queries, rate=RATE, title=QUERIES_TITLE)


def _wave_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], dataset: Dataset
) -> Any:
    del dataset
    return plots.trigger_waves(clean, triggered, labels, TRIGGERS_TITLE, rate=RATE)


EXHIBITS = {
    "images": Exhibit(_image_queries, _image_triggers),
    "series": Exhibit(_series_queries, _series_triggers),
    "tables": Exhibit(_table_queries, _table_triggers),
    "text": Exhibit(_text_queries, _text_triggers),
    "waves": Exhibit(_wave_queries, _wave_triggers),
}
"""The name of a task's modality -> its figures."""
