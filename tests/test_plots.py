"""Figures: what they draw, and that they can be written without a warning."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from bdjax import plots
from bdjax.plots import style
from bdjax.plots.marks import window
from bdjax.types import UserError

query_images, trigger_samples = plots.EXAMPLES["images"]
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
    figure = plots.score_histograms(
        kinds, limits={"threshold": 0.25, "own": np.inf}, title="t"
    )
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


def test_a_score_axis_shows_where_it_is_decided(tmp_path):
    kinds = {
        "benign": RNG.uniform(0, 0.5, 12),
        "M": [0.4, 0.9, 1.1, 37.0, 52.0],
        "B": [-20.0, 0.7],
    }
    figure = plots.score_histograms(
        kinds, limits={"calibrated": 0.55, "own": 0.8}, title="t"
    )
    write(figure, tmp_path / "histograms.png")
    top, bottom = figure.axes
    low, high = bottom.get_xlim()
    assert -1 < low <= 0
    assert 1.1 < high < 2
    texts = legend_texts(top.get_legend())
    assert texts == [
        "benign (12)", "M (5, 2 beyond)", "B (2, 1 beyond)", "calibrated 0.55",
        "own 0.8",
    ]  # fmt: skip
    # Arrows at the edges, in the kind's row and colour.
    arrows = {
        line.get_marker(): line for line in bottom.lines if len(line.get_xdata()) == 1
    }
    for mark, edge, row, kind in ((">", high, 1, "M"), ("<", low, 2, "B")):
        assert arrows[mark].get_xdata() == [edge]
        assert arrows[mark].get_ydata() == [row]
        assert arrows[mark].get_color() == plots.kind_colors(kinds)[kind]
    said = [text.get_text() for text in bottom.texts]
    assert said == ["2 beyond, up to 52", "1 beyond, down to -20"]
    assert len(bottom.collections[1].get_offsets()) == 3
    # Bins are over what is shown.
    assert max(v[0] for p in top.patches for v in p.get_path().vertices) <= high


@pytest.mark.parametrize(
    ("benign", "limits", "others", "expected"),
    [
        ([0, 1], [], [2.0], (0, 2)),  # a third of the axis decides: all is shown
        ([0, 1], [0.5], [9.0], (0, 1)),
        ([0, 1], [0.5], [9.0, 2.0], (0, 2)),
        ([0, 1], [3.0], [9.0], (0, 9)),
        ([0, 1, 0.4, 0.5, 0.6, 90], [2.0], [3.0], (0, 3)),  # a benign outlier
        ([], [1.0], [-1.0, 3.0], None),
        ([], [], [5.0], (5, 5)),
        ([], [np.inf], [], None),
        ([7], [7.0], [7.0], (7, 7)),
    ],
)
def test_the_window_of_scores(benign, limits, others, expected):
    benign = np.array(benign, float)
    every = np.concatenate([benign, others])
    low, high = window(benign, limits, every)
    assert np.isfinite([low, high]).all()
    assert low < high
    if expected:
        pad = 0.05 * (expected[1] - expected[0])
        if pad:
            assert (low, high) == pytest.approx((expected[0] - pad, expected[1] + pad))
        assert low < expected[0] <= expected[1] < high


def test_score_histograms_without_threshold_or_spread(tmp_path):
    figure = plots.score_histograms({"benign": [1.0, 1.0]}, title="t")
    write(figure, tmp_path / "histograms.png")
    assert not figure.axes[0].lines


@pytest.mark.parametrize("channels", [1, 3])
def test_query_scale_reaches_values_beyond_the_range(channels, tmp_path):
    queries = np.full((10, 8, 8, channels), 0.5)
    queries[3, 2, 1] = 2.5
    figure = query_images(queries, title="t")
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
    figure = query_images(np.zeros((count, 2, 5, 1)), title="t")
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
    figure = trigger_samples(clean, triggered, labels, "t", value_range=(0, 2))
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
    curves = plots.roc_curves({k: (LABELS, SCORES[:1]) for k in ("B", "M")}, "t")
    dots = [to_hex(d.get_facecolor()[0]) for d in histograms.axes[1].collections]
    lines = [to_hex(line.get_color()) for line in curves.axes[0].lines[:2]]
    assert len(set(dots)) == 3
    assert dots[1:] == lines[::-1]
    assert list(plots.kind_colors(kinds).values()) == dots


KINDS = ("benign", "M", "B", "jumbo", "patch", "blend", "all_to_all")


def test_a_kind_has_its_colour_whatever_else_is_drawn():
    alone = {kind: plots.kind_colors([kind])[kind] for kind in style.KINDS}
    assert len({*alone.values()}) == len(alone)
    turned = plots.kind_colors([*reversed(style.KINDS)])
    assert turned == alone
    for kind, color in alone.items():
        for name in (f"target-{kind}", f"shadow\n{kind}", f"bdjax, {kind}"):
            assert plots.kind_colors(["odd", name])[name] == color
    detectors = plots.kind_colors(["MNTD", "other", "MNTD, one-class"])
    assert plots.kind_colors(["MNTD"])["MNTD"] == detectors["MNTD"]
    others = plots.kind_colors([f"detector {i}" for i in range(7)])
    assert not {*alone.values()} & {*detectors.values(), *others.values()}
    assert style.TARGET_COLOR not in alone.values()


# Machado et al. 2009, full severity: deuteranopia and protanopia.
SEEN = (
    np.eye(3),
    [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
)


def lab(color, seen):
    """CIELAB of a colour as someone sees it."""
    srgb = np.array(to_rgb(color))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(seen) @ linear, 0, 1)
    xyz = np.array(
        [[0.434, 0.376, 0.190], [0.213, 0.715, 0.072], [0.018, 0.109, 0.873]]
    )
    f = np.cbrt(np.maximum(xyz @ linear, 0.008856))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen", SEEN)
def test_kinds_can_be_told_apart_by_the_colour_blind(seen):
    colors = [lab(style.KINDS[kind], seen) for kind in KINDS]
    for i, one in enumerate(colors):
        for other in colors[:i]:
            assert np.linalg.norm(one - other) > 20


def test_curves_that_share_a_colour_differ_in_line():
    names = [f"detector {index}" for index in range(8)]
    figure = plots.roc_curves({n: (LABELS, SCORES[:1]) for n in names}, "t")
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 8 + 1


def test_long_heading_stays_on_the_page(tmp_path):
    figure = query_images(IMAGES[:1], title="a heading of many words " * 4)
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
            lambda: plots.score_histograms(
                {"M": [1.0]}, limits={"own": np.nan}, title="t"
            ),
            "NaN is no threshold",
        ),
        (lambda: query_images(IMAGES[..., 0], title="t"), r"\(10, 28, 28\)"),
        (
            lambda: query_images(IMAGES, value_range=(1, 0), title="t"),
            r"value_range=\(1, 0\)",
        ),
        (
            lambda: trigger_samples(IMAGES, IMAGES[:2], ["a"] * 10, "t"),
            r"\(2, 28, 28, 1\), expected \(10,",
        ),
        (lambda: trigger_samples(IMAGES, IMAGES, ["a"], "t"), "1 labels for 10"),
        (
            lambda: plots.quality_distributions(
                {"M": {"accuracy": [97.0], "ASR": None}}, "t"
            ),
            r"M accuracy values lie in \[97.0, 97.0\], expected shares in \[0, 1\]",
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
        "import sys, bdjax.plots as plots; "
        "plots.score_histograms({'benign': [0.0, 1.0]}, title='t'); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
