"""AUC, its spread and gain, ROC curves and calibrated thresholds."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn import metrics

from bdjax import evaluation
from bdjax.evaluation.auc import draw_counts, mean_wins, resampled_auc
from bdjax.types import UserError


def fake_scores(*, seed=0, positives=13, negatives=9, repeats=4, shift=1.0, ties=False):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 0], [positives, negatives]))
    scores = shift * labels + rng.normal(size=(repeats, len(labels)))
    return labels, np.round(scores) if ties else scores


def naive_auc(labels, scores):
    pairs = [
        (p > n) + 0.5 * (p == n)
        for p in scores[labels == 1]
        for n in scores[labels == 0]
    ]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_counts_the_pairs_in_order(ties):
    labels, scores = fake_scores(ties=ties)
    for row in scores:
        assert evaluation.auc(labels, row) == pytest.approx(naive_auc(labels, row))


def test_auc_points_the_right_way():
    assert evaluation.auc([0, 1, 1], [0.1, 0.2, 0.3]) == 1
    assert evaluation.auc([False, True, True], [3, 2, 1]) == 0
    assert evaluation.auc([0, 1], [7, 7]) == 0.5


@pytest.mark.parametrize("ties", [False, True])
def test_resampled_auc_equals_sklearn_on_the_same_resamples(ties):
    labels, scores = fake_scores(ties=ties)
    positive, negative = scores[:, labels == 1], scores[:, labels == 0]
    rng = np.random.default_rng(3)
    counts_p = draw_counts(rng, positive.shape[1], samples=25)
    counts_n = draw_counts(rng, negative.shape[1], samples=25)

    fast = resampled_auc(mean_wins(positive, negative), counts_p, counts_n)

    for value, count_p, count_n in zip(fast, counts_p, counts_n, strict=True):
        drawn = np.concatenate(
            [
                np.repeat(positive, count_p, axis=1),
                np.repeat(negative, count_n, axis=1),
            ],
            axis=1,
        )
        truth = np.repeat([1, 0], [count_p.sum(), count_n.sum()])
        slow = np.mean([metrics.roc_auc_score(truth, row) for row in drawn])
        assert value == pytest.approx(slow, abs=1e-12)


def test_draw_counts_draws_uniformly_with_replacement():
    counts = draw_counts(np.random.default_rng(0), 5, samples=20_000)
    assert (counts.sum(axis=1) == 5).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.03)
    missing = (counts == 0).mean()
    assert missing == pytest.approx((1 - 1 / 5) ** 5, abs=0.01)


def test_a_gain_agrees_with_a_bootstrap_of_indices():
    labels, scores = fake_scores(positives=20, negatives=20, repeats=3)
    rng = np.random.default_rng(11)
    classes = [np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)]
    slow = []
    for _ in range(1500):
        drawn = np.concatenate([rng.choice(ids, size=len(ids)) for ids in classes])
        slow.append(np.mean([naive_auc_fast(labels[drawn], s[drawn]) for s in scores]))

    # Over a detector that is at chance in every resample.
    _, interval = evaluation.auc_gain(labels, scores, np.zeros((1, 40)))

    expected = np.quantile(slow, [0.025, 0.975]) - 0.5
    np.testing.assert_allclose([interval.low, interval.high], expected, atol=0.02)


def naive_auc_fast(labels, scores):
    gaps = scores[labels == 1][:, None] - scores[labels == 0]
    return np.mean(np.heaviside(gaps, 0.5))


def test_perfect_and_uninformative_detectors():
    labels = np.repeat([0, 1], 12)
    perfect = evaluation.summarize_auc(labels, labels[None] + 0.0)
    constant = evaluation.summarize_auc(labels, np.zeros((2, 24)))
    # Neither is known exactly, however steady the scores.
    assert (perfect.mean, perfect.high) == (1, 1)
    assert perfect.low == pytest.approx(0.772, abs=1e-3)
    assert constant.mean == 0.5
    assert (constant.low, constant.high) == pytest.approx((0.227, 0.773), abs=1e-3)


def test_summary_separates_repeats_from_models():
    labels, scores = fake_scores(positives=13, negatives=9)
    aucs = [naive_auc(labels, row) for row in scores]

    summary = evaluation.summarize_auc(labels, scores)
    copies = evaluation.summarize_auc(labels, np.repeat(scores[:1], 4, axis=0))
    single = evaluation.summarize_auc(labels, scores[:1])

    assert summary.mean == pytest.approx(np.mean(aucs))
    assert summary.std == pytest.approx(np.std(aucs, ddof=1))
    assert (summary.repeats, summary.positives, summary.negatives) == (4, 13, 9)
    # Repeats that agree add nothing: neither spread nor a narrower interval.
    assert copies.std == single.std == 0
    assert (copies.low, copies.high) == pytest.approx((single.low, single.high))


def test_the_interval_is_that_of_the_mean():
    labels, scores = fake_scores()
    found = evaluation.summarize_auc(labels, scores, confidence=0.9)
    interval = evaluation.auc_interval(found.mean, 13, 9, confidence=0.9)
    assert (found.low, found.high) == (interval.low, interval.high)


def test_a_gain_is_reproducible_and_seeded():
    labels, scores = fake_scores()
    other = fake_scores(seed=1)[1]
    one = evaluation.auc_gain(labels, scores, other)
    assert evaluation.auc_gain(labels, scores, other) == one
    assert evaluation.auc_gain(labels, scores, other, seed=1) != one


def test_summary_goes_to_json_and_back():
    labels, scores = fake_scores()
    summary = evaluation.summarize_auc(labels, scores.astype(np.float32))
    restored = evaluation.AucSummary(
        **json.loads(json.dumps(dataclasses.asdict(summary)))
    )
    assert restored == summary


@pytest.mark.parametrize("ties", [False, True])
def test_area_under_the_mean_curve_is_the_mean_auc(ties):
    labels, scores = fake_scores(ties=ties)
    fpr, tpr = evaluation.mean_roc(labels, scores)
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(tpr) >= -1e-7).all()
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    mean = evaluation.summarize_auc(labels, scores).mean
    assert np.trapezoid(tpr, fpr) == pytest.approx(mean, abs=1e-6)


def test_roc_runs_from_corner_to_corner():
    labels, scores = fake_scores()
    fpr, tpr = evaluation.roc(labels, scores[0])
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(naive_auc(labels, scores[0]))


@pytest.mark.parametrize("seed", range(8))
def test_best_threshold_beats_every_other(seed):
    labels, scores = fake_scores(seed=seed, repeats=1, ties=seed % 2 == 1)
    scores = scores[0]

    def balanced(threshold):
        flagged = scores > threshold
        return flagged[labels == 1].mean() - flagged[labels == 0].mean()

    best = balanced(evaluation.best_threshold(labels, scores))
    others = [balanced(t) for t in np.linspace(scores.min() - 1, scores.max() + 1, 999)]
    assert best >= max(others) - 1e-12


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([0, 0, 1, 1], [0.0, 1.0, 3.0, 4.0], 2.0),
        # At 0.5 and at 2.5 half the balanced accuracy is won: the higher one raises
        # no false alarm.
        ([0, 1, 0, 1], [0.0, 1.0, 2.0, 3.0], 2.5),
        # Backwards: nothing beats flagging no model.
        ([1, 1, 0, 0], [0.0, 1.0, 2.0, 3.0], 3.0),
        ([0, 1], [5.0, 5.0], 5.0),
    ],
)
def test_best_threshold_by_hand(labels, scores, expected):
    assert evaluation.best_threshold(labels, scores) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_best_threshold_separates_neighbouring_floats(dtype):
    for low in np.array([1.0, 5e-45, 3e38], dtype):
        scores = np.array([low, np.nextafter(low, dtype(np.inf))], dtype)
        threshold = evaluation.best_threshold([0, 1], scores)
        assert (scores > threshold).tolist() == [False, True]


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [0.1, 0.2], "2 trojaned and 0 benign"),
        ([], [], "0 trojaned and 0 benign"),
        ([0, 2], [0.1, 0.2], "labels contain 2"),
        ([[0, 1]], [0.1, 0.2], r"labels have shape \(1, 2\)"),
        ([0, 1], [0.1], r"scores have shape \(1,\), expected \(2,\)"),
        ([0, 1], [0.1, np.nan], r"nan\) at index \[1\]"),
        ([0, 1], [-np.inf, 0], r"-inf\) at index \[0\]"),
    ],
)
@pytest.mark.parametrize(
    "function", [evaluation.auc, evaluation.roc, evaluation.best_threshold]
)
def test_bad_input_is_named(function, labels, scores, message):
    with pytest.raises(UserError, match=message):
        function(labels, scores)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.1, 0.2], r"scores\[None\]"),
        (np.zeros((3, 4)), r"expected \(repeats, 2\)"),
        (np.zeros((0, 2)), "0 repeats"),
        ([[0.1, np.nan]], r"index \[0, 1\]"),
    ],
)
def test_bad_repeats_are_named(scores, message):
    with pytest.raises(UserError, match=message):
        evaluation.summarize_auc([0, 1], scores)


@pytest.mark.parametrize(
    ("field", "value"), [("samples", 0), ("confidence", 95), ("seed", -1)]
)
def test_a_gain_refuses_settings_out_of_bounds(field, value):
    with pytest.raises(UserError, match=f"{field} is {value}"):
        evaluation.auc_gain([0, 1], [[0.0, 1.0]], [[0.0, 1.0]], **{field: value})


def test_a_gain_is_paired():
    labels, scores = fake_scores(seed=1, shift=1.5, repeats=3)
    other = fake_scores(seed=1, shift=0.5, repeats=5)[1]
    gain, interval = evaluation.auc_gain(labels, scores, other, samples=400)
    means = [np.mean([naive_auc(labels, row) for row in s]) for s in (scores, other)]
    assert gain == pytest.approx(means[0] - means[1])
    # Of the same resamples, one after the other.
    rng = np.random.default_rng(0)
    counts = [
        draw_counts(rng, np.count_nonzero(labels == c), samples=400) for c in (1, 0)
    ]
    parts = [
        resampled_auc(mean_wins(s[:, labels == 1], s[:, labels == 0]), *counts)
        for s in (scores, other)
    ]
    low, high = np.quantile(parts[0] - parts[1], [0.025, 0.975])
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    # What is said of equal detectors is exact, however few the models.
    nothing, exact = evaluation.auc_gain(labels, scores, scores, samples=400)
    assert (nothing, exact.low, exact.high) == (0, 0, 0)
