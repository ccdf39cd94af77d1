"""The interval of an AUC: what it holds, measured, and what it never is."""

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from interval_study import (
    SCORES,
    by_auc,
    clopper_pearson,
    experiments,
    jeffreys,
    ours,
    worst,
)
from scipy import integrate, stats

from bdjax.evaluation import auc_interval, summarize_auc
from bdjax.types import UserError

COUNTS = range(9, 49)
settings = hypothesis.settings(derandomize=True, database=None, deadline=None)
aucs, counts = st.floats(0, 1), st.integers(1, 300)


def ends(*args, **options):
    interval = auc_interval(*args, **options)
    return interval.low, interval.high


# What it is.


def beyond(end, won, lost):
    """Share of Beta(won, lost) below ``end``, by quadrature."""
    norm = math.gamma(won + lost) / math.gamma(won) / math.gamma(lost)
    share, _ = integrate.quad(
        lambda x: norm * x ** (won - 1) * (1 - x) ** (lost - 1), 0, end, epsabs=1e-10
    )
    return share


@pytest.mark.parametrize("auc", [0.2, 0.5, 0.8, 0.9, 0.96])
@pytest.mark.parametrize(("positives", "negatives"), [(9, 9), (24, 12), (9, 48)])
def test_ends_cut_off_the_tails(auc, positives, negatives):
    low, high = ends(auc, positives, negatives)
    n = min(positives, negatives)
    won, lost = n * auc, n * (1 - auc)
    assert beyond(low, won + 0.25, lost + 0.75) == pytest.approx(0.025, abs=1e-6)
    assert beyond(high, won + 0.75, lost + 0.25) == pytest.approx(0.975, abs=1e-6)


@pytest.mark.parametrize("count", [9, 24, 48])
def test_it_lies_between_two_intervals_of_a_share(count):
    for hits in range(count + 1):
        low, high = ends(hits / count, count, 60)
        exact = stats.binomtest(hits, count).proportion_ci(method="exact")
        assert clopper_pearson(hits / count, count, 60) == pytest.approx(tuple(exact))
        assert exact.low <= low <= high <= exact.high
        narrow = jeffreys(hits / count, count, 60)
        assert low <= narrow[0] + 1e-12
        assert high >= narrow[1] - 1e-12


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((1.0, 9, 9), (0.709, 1)),
        ((1.0, 24, 24), (0.878, 1)),
        ((1.0, 48, 48), (0.937, 1)),
        ((0.985, 24, 24), (0.849, 0.99992)),
        ((0.9, 12, 24), (0.621, 0.992)),
        ((0.0, 24, 24), (0, 0.122)),
        ((0.5, 1, 1), (0.006, 0.994)),
    ],
)
def test_values(args, expected):
    assert ends(*args) == pytest.approx(expected, abs=6e-4)


@settings
@hypothesis.given(aucs, counts, counts, st.floats(0.01, 0.999))
def test_it_holds_the_estimate_and_is_no_point(auc, positives, negatives, confidence):
    low, high = ends(auc, positives, negatives, confidence=confidence)
    assert 0 <= low <= auc <= high <= 1
    assert low < high
    assert type(low) is type(high) is float


@settings
@hypothesis.given(aucs, counts, counts)
def test_classes_are_exchangeable(auc, positives, negatives):
    low, high = ends(auc, positives, negatives)
    assert ends(auc, negatives, positives) == (low, high)
    # So is the sign of the scores.
    turned = ends(1 - auc, positives, negatives)
    assert turned == pytest.approx((1 - high, 1 - low), abs=1e-9)


@settings
@hypothesis.given(st.floats(0.5, 1), st.integers(4, 300), st.integers(4, 300))
def test_more_models_narrow_it(auc, one, other):
    few, many = sorted((one, other))
    (low, high), (closer, lower) = ends(auc, few, 300), ends(auc, many, 300)
    assert low <= closer + 1e-12
    assert lower - closer <= high - low + 1e-12
    if auc == 1 and few < many:
        assert low < closer < 1


@settings
@hypothesis.given(aucs, aucs, counts)
def test_it_rises_with_the_auc(one, other, count):
    (low, high), (lower, higher) = (ends(a, count, 300) for a in sorted((one, other)))
    assert low <= lower + 1e-12
    assert high <= higher + 1e-12


@settings
@hypothesis.given(aucs, counts, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_more_confidence_widens_it(auc, count, one, other):
    less, more = sorted((one, other))
    low, high = ends(auc, count, count, confidence=less)
    lower, higher = ends(auc, count, count, confidence=more)
    assert lower <= low + 1e-12
    assert high <= higher + 1e-12


# What it holds.


def test_a_true_auc_of_one_is_held():
    labels = np.repeat([0, 1], [12, 9])
    found = summarize_auc(labels, labels[None] + 0.0)
    assert found.mean == found.high == 1
    assert found.low < 0.8


def test_the_worst_scores_are_held_for_all_numbers_of_models():
    assert worst(ours, counts=range(3, 61)) > 0.923
    # Whose own are known (Brown, Cai and DasGupta 2001).
    assert worst(clopper_pearson) > 0.95
    assert worst(jeffreys) < 0.89


def test_sizes_of_the_tables_are_held():
    rng = np.random.default_rng(1)
    for count, auc in [(24, 0.98), (16, 0.9), (12, 0.95), (9, 0.95)]:
        labels, held = np.repeat([1, 0], count), 0
        shift = math.sqrt(2) * stats.norm.ppf(auc)
        for _ in range(100):
            scores = rng.normal(size=2 * count) + shift * labels
            found = summarize_auc(labels, scores[None])
            held += found.low <= auc <= found.high
        assert held >= 95


def test_the_mean_over_repeats_is_held():
    """Fits that agree in part: their mean AUC varies less, but is no better known."""
    rng, held, auc = np.random.default_rng(2), [], 0.95
    labels, shift = np.repeat([1, 0], 12), math.sqrt(2) * stats.norm.ppf(auc)
    for _ in range(100):
        common, own = rng.normal(size=24), rng.normal(size=(5, 24))
        scores = shift * labels + np.sqrt(0.7) * common + np.sqrt(0.3) * own
        found = summarize_auc(labels, scores)
        held.append(found.low <= auc <= found.high)
    assert np.mean(held) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("title", SCORES)
def test_measured_coverage(title):
    rng = np.random.default_rng(3)
    drawn = [tuple(map(int, rng.choice(COUNTS, 2))) for _ in range(6)]
    sizes = [(9, 9), (16, 16), (24, 24), (48, 48), (24, 12), (9, 48), (48, 9), *drawn]
    for scores in SCORES[title]:
        for size in sizes:
            near = 1 - np.array([0.05, 0.1, 0.2, 0.5]) / min(size)
            for auc in (0.8, 0.85, 0.9, 0.95, 0.97, *near):
                _, _, found = experiments(rng, scores, auc, *size, 2000)
                low, high = by_auc(ours, found, *size)
                held = np.mean((low <= auc) & (auc <= high))
                assert held >= 0.92, (size, auc)


# What it refuses.


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((98.5, 24, 24), r"auc is 98.5; it must be in \[0, 1\]"),
        ((-0.1, 24, 24), r"auc is -0.1; it must be in \[0, 1\]"),
        ((math.nan, 24, 24), "auc is nan; it must be in"),
        ((0.9, 0, 24), "positives is 0; it must be at least 1"),
        ((0.9, 24, -1), "negatives is -1; it must be at least 1"),
    ],
)
def test_what_is_out_of_bounds_is_named(args, message):
    with pytest.raises(UserError, match=message) as error:
        auc_interval(*args)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("confidence", [0, 1, 95, math.nan])
def test_a_confidence_out_of_bounds_is_named(confidence):
    with pytest.raises(UserError, match=f"confidence is {confidence}; it must be in"):
        auc_interval(0.9, 24, 24, confidence=confidence)
    with pytest.raises(UserError, match=f"confidence is {confidence}; it must be in"):
        summarize_auc([0, 1], [[0.0, 1.0]], confidence=confidence)
