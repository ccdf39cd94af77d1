"""Figures of examples by modality: queries, and with and without triggers."""

import numpy as np
import pytest
from test_plots import write

from bdjax import plots
from bdjax.plots.fields import field_ranges
from bdjax.plots.sentences import inserted, shorten
from bdjax.tasks import TASKS
from bdjax.types import UserError

RNG = np.random.default_rng(0)
COLUMNS = np.array(["age", "job=none", "job=cook", "height"])
SHAPES = {"images": (8, 6, 2), "series": (12, 2), "tables": (4,), "waves": (900,)}


@pytest.mark.parametrize(
    ("modality", "shape"), [*SHAPES.items(), ("series", (12,))], ids=str
)
def test_queries_and_triggers_of_any_modality(modality, shape, tmp_path):
    x = RNG.uniform(size=(6, *shape))
    shown = {"columns": COLUMNS} if modality == "tables" else {}
    queries = plots.EXAMPLES[modality].queries(
        x, "queries", value_range=(0, 1), **shown
    )
    write(queries, tmp_path / "queries.png")
    labels = [f"M {i}\nASR 1" for i in range(len(x))]
    figure = plots.EXAMPLES[modality].triggers(x, x[::-1], labels, "triggers", **shown)
    write(figure, tmp_path / "triggers.png")
    titles = {axes.get_title().replace(", ", "\n") for axes in figure.axes}
    assert {*labels} <= titles
    with pytest.raises(UserError, match=r"queries have shape \(\), expected \("):
        plots.EXAMPLES[modality].queries(1.0, "t", **shown)
    with pytest.raises(UserError, match="5 labels for 6 pairs of"):
        plots.EXAMPLES[modality].triggers(x, x, labels[:5], "t", **shown)
    with pytest.raises(UserError, match="not finite"):
        plots.EXAMPLES[modality].triggers(x, x * np.nan, labels, "t", **shown)


def test_every_task_can_be_drawn():
    modalities = {task.modality.name for task in TASKS.values()}
    assert modalities == {*plots.EXAMPLES}


def test_a_loud_and_a_silent_query():
    waves = np.stack([np.ones(1000), np.zeros(1000)])
    figure = plots.EXAMPLES["waves"].queries(waves, "t", rate=100)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["query 1, 0 dB", "query 2, silent"]
    assert figure.axes[0].get_xlabel() == "s"
    assert figure.axes[0].dataLim.x1 == pytest.approx(9.98)


def test_fields_are_columns_or_their_levels():
    assert field_ranges(COLUMNS) == {
        "age": range(1), "job": range(1, 3), "height": range(3, 4),
    }  # fmt: skip


def test_what_changes_of_a_row_is_told_in_its_units():
    clean = np.array([[0.5, 1, 0, 0.2]])
    triggered = np.array([[0.5, 0.3, 0.7, 0.4]])
    figure = plots.EXAMPLES["tables"].triggers(
        clean, triggered, ["a"], "t", columns=COLUMNS,
        offset=np.array([0, 0, 0, 100]), scale=np.array([90, 1, 1, 100]),
    )  # fmt: skip
    texts = [text.get_text() for text in figure.axes[0].texts if text.get_text()]
    assert texts == ["job: none → + 30% none", "height: 120 → 140"]
    with pytest.raises(UserError, match="4 column names for 3 columns"):
        plots.EXAMPLES["tables"].queries(np.zeros((2, 3)), "t", columns=COLUMNS)


def test_sentences_show_what_was_inserted(tmp_path):
    words = np.array(["-", "?", "good", "film", "mat"])
    clean, triggered = np.array([[2, 3, 0, 0]]), np.array([[2, 4, 3, 0]])
    figure = plots.EXAMPLES["text"].triggers(clean, triggered, ["a"], "t", words=words)
    write(figure, tmp_path / "sentences.png")
    assert [t.get_text() for t in figure.axes[0].texts] == ["a", "good", "mat", "film"]
    plain = plots.EXAMPLES["text"].triggers([["good"]], [["good", "mat"]], ["a"], "t")
    assert [t.get_text() for t in plain.axes[0].texts][1:3] == ["good", "mat"]
    bare = plots.EXAMPLES["text"].triggers(clean, triggered, ["a"], "t")
    assert bare.axes[0].texts[2].get_text() == "#4"
    with pytest.raises(UserError, match="1 clean and 2 triggered sentences"):
        plots.EXAMPLES["text"].triggers([["a"]], [["a"]] * 2, ["a"], "t")


def test_queries_in_words(tmp_path):
    words = [["good", "a" * 20], ["bad", "film"]]
    figure = plots.EXAMPLES["text"].queries(words, "t", similarity=np.eye(2))
    write(figure, tmp_path / "words.png")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["good", "aaaaaaaaaaaa..", "bad", "film"]
    with pytest.raises(UserError, match="2 queries of 2 words, but similarities"):
        plots.EXAMPLES["text"].queries(words, "t", similarity=np.eye(3))


def test_where_words_begin_that_are_more():
    assert inserted(["a", "b"], ["a", "x", "y", "b"]) == (1, 2)
    assert inserted(["a"], ["a", "x"]) == (1, 1)
    assert inserted(["a"], ["a"]) == (1, 0)
    assert shorten("abcdef", 4) == "ab.."
