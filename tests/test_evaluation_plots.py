"""Figures: what they draw, and that they can be written without a warning."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from bdjax.evaluation import plots
from bdjax.types import UserError

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1], 24)
SCORES = LABELS + RNG.normal(size=(5, 48))
IMAGES = RNG.uniform(size=(10, 28, 28, 1))


def write(figure, path):
    """Saves the figure, checks that it is an image, and returns its width."""
    plots.save(figure, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.width


def legend_texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_roc_curves(tmp_path):
    figure = plots.roc_curves({"M": (LABELS, SCORES), "B": (LABELS, SCORES[:1])}, "t")
    write(figure, tmp_path / "roc.png")

    lines = figure.axes[0].lines
    # M: five repeats and their mean; B: its only fit; chance.
    assert len(lines) == 5 + 1 + 1 + 1
    mean, chance = lines[5], lines[-1]
    assert chance.get_xydata().tolist() == [[0, 0], [1, 1]]
    texts = legend_texts(figure.legends[0])
    area = np.trapezoid(mean.get_ydata(), mean.get_xdata())
    assert texts[0].startswith(f"M  {area:.3f} ± ")
    assert texts[1].startswith("B  ")
    assert "±" not in texts[1]
    assert texts[2:] == ["chance  0.500"]


def test_score_histograms(tmp_path):
    kinds = {"benign": RNG.normal(-1, 1, 24), "M": RNG.normal(1, 1, 20), "B": [0.5]}
    figure = plots.score_histograms(kinds, threshold=0.25, title="t")
    write(figure, tmp_path / "histograms.png")

    top, bottom = figure.axes
    for axes in (top, bottom):
        assert [list(line.get_xdata()) for line in axes.lines] == [[0.25, 0.25]]
    assert legend_texts(top.get_legend()) == [
        "benign (24)",
        "M (20)",
        "B (1)",
        "threshold 0.25",
    ]
    assert [tick.get_text() for tick in bottom.get_yticklabels()] == list(kinds)
    for row, (scores, dots) in enumerate(
        zip(kinds.values(), bottom.collections, strict=True)
    ):
        x, y = dots.get_offsets().T
        np.testing.assert_allclose(x, scores)
        assert (abs(y - row) <= 0.25).all()


def test_score_histograms_without_threshold_or_spread(tmp_path):
    figure = plots.score_histograms({"benign": [1.0, 1.0]}, title="t")
    write(figure, tmp_path / "histograms.png")
    assert not figure.axes[0].lines


@pytest.mark.parametrize("channels", [1, 3])
def test_query_scale_reaches_values_beyond_the_range(channels, tmp_path):
    queries = np.full((10, 8, 8, channels), 0.5)
    queries[3, 2, 1] = 2.5
    figure = plots.query_images(queries, title="t")
    write(figure, tmp_path / "queries.png")

    *grid, bar = figure.axes
    drawn = [axes for axes in grid if axes.images]
    assert len(drawn) == 10
    low, high = (-1.5, 2.5) if channels == 1 else (0, 2.5)
    assert bar.get_ylim() == (low, high)
    edges = [line.get_ydata()[0] for line in bar.lines if len(line.get_ydata()) == 2]
    assert edges[-2:] == [0, 1]
    shown = drawn[3].images[0].get_array()
    np.testing.assert_allclose(shown[2, 1], 2.5 if channels == 1 else np.ones(3))
    np.testing.assert_allclose(shown[0, 0], 0.5 if channels == 1 else np.full(3, 0.2))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 13, 101])
def test_query_grid_holds_every_query(count, tmp_path):
    figure = plots.query_images(np.zeros((count, 2, 5, 1)), title="t")
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == [f"query {index + 1}" for index in range(count)]
    if count == 1:
        write(figure, tmp_path / "query.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_trigger_samples_keep_pairs_together(channels, tmp_path):
    clean = np.repeat(IMAGES[:4], channels, axis=-1)
    triggered = clean.copy()
    triggered[:, 24:, 24:] = 2
    labels = [f"{k} → 0" for k in range(4)]
    figure = plots.trigger_samples(clean, triggered, labels, "t", value_range=(0, 2))
    write(figure, tmp_path / "triggers.png")

    upper, lower = figure.axes[:4], figure.axes[4:]
    assert [axes.get_title() for axes in upper] == labels
    assert (upper[0].get_ylabel(), lower[0].get_ylabel()) == ("clean", "triggered")
    for index in range(4):
        expected = np.squeeze(clean[index]) / 2
        np.testing.assert_allclose(upper[index].images[0].get_array(), expected)
        assert (lower[index].images[0].get_array()[24:, 24:] == 1).all()


def test_quality_distributions(tmp_path):
    accuracy, success = RNG.uniform(0.9, 1, 20), RNG.uniform(0.5, 1, 20)
    kinds = {
        "benign": {"accuracy": accuracy, "ASR": None},
        "M": {"accuracy": accuracy, "ASR": success},
    }
    figure = plots.quality_distributions(kinds, "t")
    write(figure, tmp_path / "quality.png")

    left, right = figure.axes
    assert [len(axes.collections) for axes in (left, right)] == [2, 1]
    np.testing.assert_allclose(right.collections[0].get_offsets()[:, 1], success)
    ticks = [tick.get_text() for tick in right.get_xticklabels()]
    assert ticks == ["benign\nno attack", f"M\n{np.median(success):.3f}"]
    for axes in (left, right):
        low, high = axes.get_ylim()
        assert low <= 0 < 1 <= high


def test_a_kind_keeps_its_colour_across_figures():
    kinds = {"benign": [0.0, 1.0], "M": [1.0, 2.0], "B": [2.0, 3.0]}
    histograms = plots.score_histograms(kinds, title="t")
    curves = plots.roc_curves({k: (LABELS, SCORES[:1]) for k in ("M", "B")}, "t")
    dots = [to_hex(d.get_facecolor()[0]) for d in histograms.axes[1].collections]
    lines = [to_hex(line.get_color()) for line in curves.axes[0].lines[:2]]
    assert len(set(dots)) == 3
    assert dots[1:] == lines
    assert list(plots.kind_colors(kinds).values()) == dots


def test_curves_that_share_a_colour_differ_in_line():
    names = [f"detector {index}" for index in range(8)]
    figure = plots.roc_curves({n: (LABELS, SCORES[:1]) for n in names}, "t")
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 8 + 1


def test_long_heading_stays_on_the_page(tmp_path):
    figure = plots.query_images(IMAGES[:1], title="a heading of many words " * 4)
    write(figure, tmp_path / "heading.png")
    box = figure.texts[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_save_makes_folders_and_refuses_other_formats(tmp_path):
    figure = plots.score_histograms({"benign": [0.0, 1.0]}, title="t")
    width = write(figure, tmp_path / "new" / "folder" / "a.png")
    assert width == round(figure.get_figwidth() * 130)
    with pytest.raises(UserError, match=r"'a.pdf'; name it \*.png"):
        plots.save(figure, tmp_path / "a.pdf")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.roc_curves({}, "t"), "0 curves"),
        (lambda: plots.score_histograms({}, title="t"), "0 kinds"),
        (lambda: plots.score_histograms({"M": []}, title="t"), r"M scores .* \(0,\)"),
        (
            lambda: plots.score_histograms({"M": [1.0]}, threshold=np.nan, title="t"),
            "threshold",
        ),
        (lambda: plots.query_images(IMAGES[..., 0], title="t"), r"\(10, 28, 28\)"),
        (
            lambda: plots.query_images(IMAGES, value_range=(1, 0), title="t"),
            r"value_range=\(1, 0\)",
        ),
        (
            lambda: plots.trigger_samples(IMAGES, IMAGES[:2], ["a"] * 10, "t"),
            r"\(2, 28, 28, 1\), expected \(10,",
        ),
        (lambda: plots.trigger_samples(IMAGES, IMAGES, ["a"], "t"), "1 labels for 10"),
        (
            lambda: plots.quality_distributions(
                {"M": {"accuracy": [97.0], "ASR": None}}, "t"
            ),
            r"M accuracy holds 97.0, expected shares in \[0, 1\]",
        ),
        (
            lambda: plots.quality_distributions({"M": {"acc": [0.9]}}, "t"),
            r"M has the qualities \['acc'\]",
        ),
        (
            lambda: plots.quality_distributions(
                {"M": {"accuracy": None, "ASR": None}}, "t"
            ),
            "M accuracy values",
        ),
    ],
)
def test_bad_input_is_named(draw, message):
    with pytest.raises(UserError, match=message):
        draw()


def test_tables_and_auc_do_not_import_matplotlib():
    code = "import sys, bdjax.evaluation; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_plots_leave_pyplot_alone():
    code = (
        "import sys, bdjax.evaluation.plots as plots; "
        "plots.score_histograms({'benign': [0.0, 1.0]}, title='t'); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
