"""The figure of a verdict: what it shows, whatever the verdict holds."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from test_plots import legend_texts, write

from bdjax import verdicts
from bdjax.plots import style
from bdjax.plots.verdict import figure
from bdjax.types import UserError
from bdjax.verdicts import Calibration, by_threshold, conclude

RNG = np.random.default_rng(0)
BENIGN = Calibration(np.linspace(0, 0.5, 40), 0.75, 0.6, "made")
NONE = by_threshold(float("inf"), "no benign references")
NO_SCORES = np.zeros(0)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Verdict(verdicts.Verdict):
    label_scores: Any = None
    labels: Any = None
    mask: Any = None
    pattern: Any = None


class Plain(verdicts.Verdict):
    detector = "plain"


def judged(score, label_scores=NO_SCORES, calibration=BENIGN, reasons=(), channels=0):
    labels = np.arange(len(label_scores)) * 2  # some classes are no candidates
    found = conclude(score, label_scores, labels, calibration, list(reasons), [])
    if not len(label_scores):
        return Plain(**found)
    shape = len(label_scores), 8, 6, max(channels, 1)
    images = {k: RNG.uniform(-1, 1, shape) for k in ("mask", "pattern") if channels}
    return Verdict(**found, label_scores=label_scores, labels=labels, **images)


def test_the_score_among_the_references(tmp_path):
    drawn = figure(judged(1.25))
    write(drawn, tmp_path / "verdict.png")
    (axes,) = drawn.axes
    assert [float(x) for line in axes.lines for x in line.get_xdata()[:1]] == [
        0.75, 1.25,
    ]  # fmt: skip
    assert legend_texts(axes.get_legend()) == [
        "benign networks (40)",
        "threshold 0.75",
        "inconclusive, 0.6 to 0.75",
        "this network, 1.25",
    ]
    low, high = axes.get_xlim()
    assert low < 0
    assert high > 1.25
    assert drawn.get_suptitle() == (
        "plain: TROJANED; p = 0.024 among 40 benign networks"
    )


def test_a_score_far_away_does_not_hide_where_it_is_decided(tmp_path):
    drawn = figure(judged(90.0))
    write(drawn, tmp_path / "verdict.png")
    (axes,) = drawn.axes
    assert axes.get_xlim()[1] < 1
    arrow = axes.lines[-1]
    assert arrow.get_marker() == ">"
    assert arrow.get_xdata()[0] == axes.get_xlim()[1]
    assert "this network, 90" in legend_texts(axes.get_legend())
    assert figure(judged(-90.0)).axes[0].lines[-1].get_marker() == "<"
    assert figure(judged(np.inf)).axes[0].lines[-1].get_marker() == ">"


@pytest.mark.parametrize("calibration", [NONE, by_threshold(0.5, "published")])
def test_without_references(calibration, tmp_path):
    reasons = ["no benign references are built in for these settings " * 9]
    drawn = figure(judged(0.7, calibration=calibration, reasons=reasons))
    write(drawn, tmp_path / "verdict.png")
    (axes,) = drawn.axes
    assert [text.get_text() for text in axes.texts] == ["no benign references"]
    assert not axes.patches
    assert drawn.get_suptitle() == "plain: INCONCLUSIVE"
    below = drawn.get_supxlabel()
    assert below.startswith("no benign references are built in")
    assert below.count("\n") == 3
    assert below.endswith(" ...")


def test_no_score_is_said(tmp_path):
    drawn = figure(judged(float("nan")))
    write(drawn, tmp_path / "verdict.png")
    assert "no score" in legend_texts(drawn.axes[0].get_legend())
    assert drawn.get_suptitle() == "plain: INCONCLUSIVE"  # and no p-value
    assert drawn.get_supxlabel() == "there is no score"


@pytest.mark.parametrize("count", [2, 10, 100])
def test_target_labels_stand_out(count, tmp_path):
    scores = RNG.uniform(-0.5, 0.5, count)
    scores[1] = 1.5
    drawn = figure(judged(1.5, scores))
    write(drawn, tmp_path / "verdict.png")
    _, axes = drawn.axes
    bars = axes.containers[0]
    np.testing.assert_allclose([bar.get_height() for bar in bars], scores)
    colors = [to_hex(bar.get_facecolor()) for bar in bars]
    assert colors[1] == style.TARGET_COLOR
    assert {*colors[:1], *colors[2:]} == {style.BENIGN_COLOR}
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names[0] == "0"
    assert len(names) <= 12
    assert "TROJANED, toward label 2;" in drawn.get_suptitle()
    doubtful = judged(1.5, scores, reasons=["it rained"])
    title = figure(doubtful).get_suptitle()
    assert "INCONCLUSIVE, most suspicious label 2;" in title
    assert [line.get_ydata()[0] for line in axes.lines] == [0, 0.75]


def test_labels_without_a_number(tmp_path):
    scores = np.array([np.inf, np.nan, -np.inf, 0.5])
    drawn = figure(judged(np.inf, scores))
    write(drawn, tmp_path / "verdict.png")
    _, axes = drawn.axes
    assert [text.get_text() for text in axes.texts] == ["inf", "no score", "-inf"]
    assert np.isfinite([bar.get_height() for bar in axes.containers[0]]).all()
    nothing = figure(judged(np.nan, np.full(3, np.nan)))
    write(nothing, tmp_path / "nothing.png")


@pytest.mark.parametrize(("channels", "shown"), [(1, ()), (3, (3,)), (4, (3,))])
def test_the_recovered_trigger_of_the_top_label(channels, shown, tmp_path):
    verdict = judged(2.0, np.array([0.1, 2.0, 0.3, 0.0]), channels=channels)
    verdict.mask[...] = 0
    verdict.mask[1, 2, 3, 0] = 1
    verdict.pattern[1, 2, 3] = 1  # the greatest value there is
    drawn = figure(verdict)
    write(drawn, tmp_path / "verdict.png")
    *_, above, below = drawn.axes
    assert above.get_title() == "mask, label 2"
    mask = above.images[0].get_array()
    assert (mask[2, 3], mask.sum()) == (1, 1)
    laid = below.images[0].get_array()
    assert laid.shape == (8, 6, *shown)
    assert np.ravel(laid[2, 3])[0] == 1


def test_any_verdict_plots_itself(tmp_path):
    drawn = judged(0.2).plot(tmp_path / "sub" / "a.png")
    assert (tmp_path / "sub" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert drawn.get_suptitle() == judged(0.2).plot().get_suptitle()
    with pytest.raises(UserError, match=r"name it \*.png"):
        judged(0.2).plot(tmp_path / "a.pdf")
