"""Coverage: whose scores mean something, and what is said of the others."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from bdjax.mntd import coverage
from bdjax.mntd.coverage import covering

settings = hypothesis.settings(derandomize=True, database=None, deadline=None)
Q, C = 10, 5


def shadows(count, seed=0, scale=3.0):
    """Networks of one recipe: common answers, and ways of their own."""
    common = np.random.default_rng(100).normal(size=(Q, C))
    rng = np.random.default_rng(seed)
    scales = scale * rng.uniform(0.8, 1.25, (count, 1, 1))
    return scales * (common + 0.5 * rng.normal(size=(count, Q, C)))


KNOWN = covering(shadows(40))


def test_all_that_is_covered_is_free_of_doubts():
    for logits in shadows(40):
        assert KNOWN.doubts(logits) == []


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_so_are_most_others_of_the_recipe(classes):
    known = covering(shadows(60)[..., :classes])
    doubtful = [
        bool(known.doubts(logits[:, :classes])) for logits in shadows(200, seed=1)
    ]
    assert np.mean(doubtful) < 0.25


def test_offsets_that_are_common_to_a_query_do_not_matter():
    for logits in shadows(3):
        assert KNOWN.doubts(logits + np.arange(Q)[:, None] * 7) == []


@pytest.mark.parametrize("factor", [0.1, 10])
def test_another_scale_is_named(factor):
    doubts = KNOWN.doubts(factor * shadows(1)[0])
    assert any("the logits spread by" in reason for reason in doubts)
    how = "surer" if factor > 1 else "less sure"
    assert any(f"the network is {how} of its answers" in reason for reason in doubts)


def test_another_entropy_is_named():
    # One class far below the others, which are alike: a wide spread, and unsure.
    logits = np.zeros((Q, C))
    scales = coverage._scales(KNOWN.answers)
    logits[:, 0] = -np.median(scales) * C / np.sqrt(C - 1)
    first, *rest = KNOWN.doubts(logits)
    assert "less sure of its answers" in first
    assert "spread" not in " ".join(rest)


def test_another_distance_is_named():
    # Another's answers: as sure, as wide, to other queries and classes.
    logits = shadows(1)[0][::-1, ::-1]
    (reason,) = KNOWN.doubts(logits)
    assert "from those of the nearest shadow model" in reason
    assert "90% of the shadow models have one within" in reason


@settings
@hypothesis.given(
    hnp.arrays(np.float32, (Q, C), elements=st.floats(width=32, allow_nan=False,
                                                      allow_infinity=False)),
)  # fmt: skip
def test_whatever_finite_logits_give_no_warning(logits):
    for reason in KNOWN.doubts(logits):
        assert "nan" not in reason


@pytest.mark.parametrize("huge", [1e30, 3e38])
def test_huge_logits_are_another_scale(huge):
    doubts = KNOWN.doubts(np.float32(huge) * np.sign(shadows(1)[0]).astype(np.float32))
    assert "the logits spread by" in doubts[0]
    # Nor do they spoil what covers them.
    covering(np.float32(huge) * np.sign(shadows(4))).doubts(shadows(1)[0])


def test_log_probabilities():
    logits = shadows(3)
    np.testing.assert_allclose(
        coverage.log_probabilities(logits), special.log_softmax(logits, -1)
    )
    # One logit is the second class's, beside a 0 of the first.
    one = logits[..., :1]
    two = np.concatenate([0 * one, one], -1)
    np.testing.assert_array_equal(
        coverage.log_probabilities(one), coverage.log_probabilities(two)
    )


class TestExtended:
    """Networks of one's own, far from the shadows and more unlike each other."""

    @pytest.fixture
    def extended(self):
        return KNOWN.extended(shadows(19, seed=2, scale=30))

    def test_what_was_added_is_covered(self, extended):
        for logits in shadows(19, seed=2, scale=30):
            assert KNOWN.doubts(logits) != []
            assert extended.doubts(logits) == []
        for logits in shadows(40):
            assert extended.doubts(logits) == []

    def test_it_takes_the_place_of_what_was_added_before(self, extended):
        own = shadows(2, seed=3, scale=0.1)
        again = extended.extended(own)
        assert (again.added, len(again.answers)) == (2, len(KNOWN.answers) + 2)
        np.testing.assert_array_equal(again.answers, KNOWN.extended(own).answers)
        assert all(again.doubts(each) for each in shadows(19, seed=2, scale=30))

    def test_so_are_most_others_like_it(self, extended):
        """Also if the shadows, which lie closer together, are many more."""
        many = covering(shadows(300)).extended(shadows(19, seed=2, scale=30))
        for known in (extended, many):
            doubtful = [
                bool(known.doubts(logits)) for logits in shadows(100, 3, scale=30)
            ]
            assert np.mean(doubtful) < 0.35

    def test_the_shadows_keep_their_measure(self, extended):
        # As far from the shadows as networks of one's own are from each other.
        apart = shadows(1)[0][::-1, ::-1]
        assert KNOWN.doubts(apart) != []
        assert extended.doubts(apart) != []

    def test_one_network_alone(self):
        own = shadows(1, seed=2, scale=30)
        extended = KNOWN.extended(own)
        assert extended.doubts(own[0]) == []
        assert extended.doubts(own[0] * 0.9) != []
        assert extended.doubts(shadows(1)[0]) == []
