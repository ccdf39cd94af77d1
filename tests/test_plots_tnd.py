"""Figures of DL-TND and DF-TND: what they draw, and that they can be written."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from test_plots import legend_texts, write

from bdjax import plots
from bdjax.evaluation import AucSummary
from bdjax.types import UserError

RNG = np.random.default_rng(0)
RED, GREY = plots.kind_colors(["Trojan", "clean"]).values()


def similarity(labels, images=20):
    return RNG.uniform(-1, 1, (labels, images))


def pictures(models, channels):
    return RNG.uniform(0, 2, (models, 8, 6, channels))


def summary(mean, low, high):
    return AucSummary(
        mean=mean, std=0.0, low=low, high=high, repeats=1, positives=9, negatives=9
    )


def test_similarities_by_label_with_the_target_marked(tmp_path):
    trojan, clean = similarity(10), similarity(10)
    trojan[3, 5:] = np.nan
    trojan[7] = np.nan
    figure = plots.similarity_distributions(
        {"clean": clean, "Trojan": trojan}, "t", targets={"Trojan": 3}
    )
    write(figure, tmp_path / "similarity.png")

    left, right = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["clean", "Trojan"]
    assert [len(axes.patches) for axes in figure.axes] == [10, 9]
    assert [len(axes.collections) for axes in figure.axes] == [10, 9]
    dots = right.collections[3].get_offsets()
    np.testing.assert_allclose(dots[:, 1], trojan[3, :5])
    assert (abs(dots[:, 0] - 3) <= 0.3).all()
    edges = [box.get_path().vertices[:, 1] for box in left.patches]
    np.testing.assert_allclose(edges[4].min(), np.quantile(clean[4], 0.25))
    colors = [to_hex(box.get_edgecolor()) for box in right.patches]
    assert colors == [GREY] * 3 + [RED] + [GREY] * 5
    bold = [t.get_text() for t in right.get_xticklabels() if t.get_color() == RED]
    assert bold == ["3"]
    assert not [t for t in left.get_xticklabels() if t.get_color() == RED]
    assert legend_texts(figure.legends[0]) == [
        "true target label",
        "other labels",
    ]


def test_similarities_of_many_labels_or_one_network(tmp_path):
    figure = plots.similarity_distributions(
        {"Trojan": similarity(43)}, "t", targets={"Trojan": 31}
    )
    width = write(figure, tmp_path / "many.png")
    assert width < 1200
    (axes,) = figure.axes
    assert not axes.collections
    ticks = sorted(int(t.get_text()) for t in axes.get_xticklabels())
    assert 31 in ticks
    assert np.diff(ticks).min() >= 3
    plain = plots.similarity_distributions({"clean": similarity(4)}, "t")
    write(plain, tmp_path / "plain.png")
    assert not plain.legends


@pytest.mark.parametrize("channels", [1, 3])
def test_recovered_triggers_beside_the_true_ones(channels, tmp_path):
    images, patterns = pictures(3, channels), pictures(3, channels)
    truths, masks = np.zeros((3, 8, 6, 1)), np.zeros((3, 8, 6, channels))
    truths[0, 2, 3], masks[0, 2, 3, -1], masks[0, 2, 4, 0] = 1, 0.8, 0.6
    truths[1], masks[1] = 1, 0.5
    figure = plots.recovered_triggers(
        images, truths, masks, patterns, ["a", "b", "c"], "t", value_range=(0, 2)
    )
    write(figure, tmp_path / "recovered.png")

    above, middle, below = np.reshape(figure.axes, (3, 3))
    assert [axes.get_title() for axes in above] == ["a", "b", "c"]
    assert [axes.get_xlabel() for axes in middle] == [
        "IoU 0.50", "whole image", "no trigger",
    ]  # fmt: skip
    shown = above[0].images[0].get_array()
    np.testing.assert_allclose(shown, np.squeeze(images[0]) / 2)
    mask = middle[0].images[0].get_array()
    assert (mask[2, 3], mask[2, 4], mask.sum()) == pytest.approx((0.8, 0.6, 1.4))
    both = below[0].images[0].get_array().reshape(8, 6, channels)
    np.testing.assert_allclose(both, masks[0] * patterns[0] / 2)
    for row in (above, middle):
        (line,) = row[0].collections
        corners = np.concatenate(line.get_segments())
        # A ring one pixel off the pixel in row 2 and column 3.
        assert corners.min(0).tolist() == [1.5, 0.5]
        assert corners.max(0).tolist() == [4.5, 3.5]
        assert len(line.get_segments()) == 12
        assert not row[1].collections
        assert row[0].get_xlim() == (-0.5, 5.5)


def test_pattern_is_laid_on_the_darkest_value():
    mask = np.zeros((1, 2, 2, 1))
    mask[0, 0, 0], mask[0, 0, 1] = 1, 0.5
    one = np.ones((1, 2, 2, 1))
    figure = plots.recovered_triggers(
        one, one, mask, one, ["a"], "t", value_range=(-1, 1)
    )
    shown = figure.axes[2].images[0].get_array()
    assert shown.tolist() == [[1, 0.5], [0, 0]]


def test_sweeps_stand_side_by_side(tmp_path):
    sweeps = {
        "Q": {
            "official": {50: summary(0.7, 0.6, 0.8), 25: summary(0.9, 0.85, 0.95)},
            "ours": {25: summary(1.0, 1.0, 1.0), 5: summary(0.4, 0.2, 0.6)},
        },
        "images": {"ours": {1: summary(0.8, 0.7, 0.9), 10: summary(0.99, 0.9, 1)}},
    }
    figure = plots.sweep_curves(sweeps, "t")
    write(figure, tmp_path / "sweep.png")

    left, right = figure.axes
    assert [t.get_text() for t in left.get_xticklabels()] == ["5", "25", "50"]
    assert [t.get_text() for t in right.get_xticklabels()] == ["1", "10"]
    assert [axes.get_title() for axes in figure.axes] == ["Q", "images"]
    assert legend_texts(figure.legends[0]) == ["official", "ours"]
    official, ours = left.containers
    np.testing.assert_allclose(official[0].get_ydata(), [0.9, 0.7])
    assert np.round(official[0].get_xdata()).tolist() == [1, 2]
    np.testing.assert_allclose(ours[0].get_ydata(), [0.4, 1.0])
    ends = [segment[:, 1].tolist() for segment in ours[2][0].get_segments()]
    np.testing.assert_allclose(ends, [[0.2, 0.6], [1, 1]])
    assert official[0].get_xdata()[0] < ours[0].get_xdata()[1]  # both at Q = 25
    assert right.containers[0][0].get_color() == ours[0].get_color()
    low, high = left.get_ylim()
    assert low < 0.2
    assert high > 1


IMAGES, MASKS = np.ones((2, 8, 6, 3)), np.ones((2, 8, 6, 1))
NAMES = ["a", "b"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.similarity_distributions({}, "t"), "0 networks"),
        (
            lambda: plots.similarity_distributions({"a": [0.5]}, "t"),
            r"similarities have shape \(1,\), expected \(labels, images\)",
        ),
        (
            lambda: plots.recovered_triggers(
                IMAGES, MASKS, MASKS[1:], IMAGES, NAMES, "t"
            ),
            r"have shapes \(1, 8, 6, 1\) and \(2, 8, 6, 3\), expected \(2, 8, 6, 3\)",
        ),
        (
            lambda: plots.recovered_triggers(IMAGES, MASKS, MASKS, IMAGES, ["a"], "t"),
            "1 labels for 2 models",
        ),
        (
            lambda: plots.recovered_triggers(IMAGES, MASKS, -MASKS, IMAGES, NAMES, "t"),
            "mask holds -1",
        ),
        (lambda: plots.sweep_curves({}, "t"), "0 panels"),
        (lambda: plots.sweep_curves({"Q": {}}, "t"), "0 curves of Q"),
        (
            lambda: plots.sweep_curves({"Q": {"ours": {}}}, "t"),
            "0 points of ours in Q",
        ),
    ],
)
def test_bad_input_is_named(draw, message):
    with pytest.raises(UserError, match=message):
        draw()
