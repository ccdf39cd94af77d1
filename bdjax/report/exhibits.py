"""How examples of each modality are drawn: queries, and with and without triggers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bdjax import plots
from bdjax.data.waves import RATE
from bdjax.tasks import get_task
from bdjax.types import UserError

QUERIES_TITLE, TRIGGERS_TITLE = "Learned queries", "Triggers of target models"

Arrays = Mapping[str, np.ndarray]
"""Of an artefact: what is drawn, and what it is called."""


class Exhibit(NamedTuple):
    """The figures that depend on what examples look like.

    Attributes:
      queries: ``queries(queries, shown) -> figure``, None where they cannot be shown.
      triggers: ``triggers(clean, triggered, labels, shown) -> figure``; arrays
        ``[n, *shape]``, one label each.
    """

    queries: Callable[[np.ndarray, Arrays], Any]
    triggers: Callable[[np.ndarray, np.ndarray, list[str], Arrays], Any]


def exhibit_of(task: str, shape: tuple[int, ...]) -> Exhibit:
    """That of a task; of an unknown one, by the shape of its examples."""
    try:
        return EXHIBITS[get_task(task).modality.name]
    except (UserError, KeyError):
        return EXHIBITS[{1: "tables", 2: "series"}.get(len(shape), "images")]


def _image_queries(queries: np.ndarray, shown: Arrays) -> Any:
    del shown
    drawn = _drawable(queries)
    return plots.query_images(drawn, value_range=_ends(drawn), title=QUERIES_TITLE)


def _image_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], shown: Arrays
) -> Any:
    del shown
    return plots.trigger_samples(
        _drawable(clean), _drawable(triggered), labels, TRIGGERS_TITLE,
        value_range=_ends(clean),
    )  # fmt: skip


def _drawable(images: np.ndarray) -> np.ndarray:
    """Of other than one or three channels, the first one or three."""
    return images[..., : 3 if images.shape[-1] >= 3 else 1]


def _ends(values: np.ndarray) -> tuple[float, float]:
    return (0.0, 1.0) if values.min() >= 0 else (-1.0, 1.0)


def _table_queries(queries: np.ndarray, shown: Arrays) -> Any:
    return plots.query_fields(queries, _columns(queries, shown), title=QUERIES_TITLE)


def _table_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], shown: Arrays
) -> Any:
    units = {f"{k}_D": shown[k] for k in ("offset", "scale") if k in shown}
    return plots.field_changes(
        clean, triggered, _columns(clean, shown), labels, TRIGGERS_TITLE, **units
    )


def _columns(x: np.ndarray, shown: Arrays) -> tuple[str, ...]:
    numbered = tuple(f"x{i}" for i in range(x.shape[1]))
    return tuple(map(str, shown.get("columns", ()))) or numbered


def _series_queries(queries: np.ndarray, shown: Arrays) -> Any:
    del shown
    return plots.query_series(queries, title=QUERIES_TITLE)


def _series_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], shown: Arrays
) -> Any:
    del shown
    return plots.trigger_series(clean, triggered, labels, TRIGGERS_TITLE)


def _text_queries(queries: np.ndarray, shown: Arrays) -> Any:
    del queries  # vectors, which say nothing without their nearest words
    if "words" not in shown:
        return None
    title = f"{QUERIES_TITLE}: the nearest words"
    return plots.query_words(shown["words"].tolist(), shown["similarity"], title)


def _text_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], shown: Arrays
) -> Any:
    words = shown.get("words")

    def spell(sentences: np.ndarray) -> list[list[str]]:
        last = np.where(sentences > 0, np.arange(sentences.shape[1]) + 1, 0).max(1)
        return [
            [f"#{i}" if words is None else str(words[i]) for i in sentence[:end]]
            for sentence, end in zip(sentences, last, strict=True)
        ]

    return plots.trigger_sentences(
        spell(clean), spell(triggered), labels, TRIGGERS_TITLE
    )


def _wave_queries(queries: np.ndarray, shown: Arrays) -> Any:
    del shown
    return plots.query_waves(queries, rate=RATE, title=QUERIES_TITLE)


def _wave_triggers(
    clean: np.ndarray, triggered: np.ndarray, labels: list[str], shown: Arrays
) -> Any:
    del shown
    return plots.trigger_waves(clean, triggered, labels, TRIGGERS_TITLE, rate=RATE)


EXHIBITS = {
    "images": Exhibit(_image_queries, _image_triggers),
    "series": Exhibit(_series_queries, _series_triggers),
    "tables": Exhibit(_table_queries, _table_triggers),
    "text": Exhibit(_text_queries, _text_triggers),
    "waves": Exhibit(_wave_queries, _wave_triggers),
}
"""A task's modality -> its figures."""
