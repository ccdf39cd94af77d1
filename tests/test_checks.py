"""Range checks that forgive rounding and say what they refuse in enough digits."""

import re
from typing import Literal

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from bdjax import checks, plots
from bdjax.checks import ROUNDING, digits, keeps_to
from bdjax.mntd.answers import check_answers
from bdjax.tnd.network import check_images
from bdjax.types import UserError

BOUNDS = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-2.5, 2.75)]


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_next_number_beyond_a_bound_keeps_to_it(bounds, dtype):
    low, high = (dtype(bound) for bound in bounds)
    below, above = np.nextafter(low, dtype(-1e9)), np.nextafter(high, dtype(1e9))
    assert below < low
    assert above > high
    assert keeps_to(below, above, bounds)
    slack = 2 * ROUNDING * (bounds[1] - bounds[0])
    assert not keeps_to(low - slack, high, bounds)
    assert not keeps_to(low, high + slack, bounds)
    assert not keeps_to(np.nan, np.nan, bounds)


@hypothesis.settings(derandomize=True, database=None, deadline=None)
@hypothesis.given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_digits_tell_a_number_from_its_neighbours(value):
    assert np.float32(digits(np.float32(value))) == np.float32(value)
    assert float(digits(value)) == value


def test_digits_are_few():
    values = np.float32(0.1), np.float32(255), -0.5, np.float64(1e30), 7
    assert [digits(value) for value in values] == ["0.1", "255", "-0.5", "1e+30", "7"]


@pytest.mark.parametrize("bounds", BOUNDS)
def test_images_of_white_box_detectors(bounds):
    low, high = (np.float32(bound) for bound in bounds)
    x = np.full((2, 4, 4, 1), low)
    x[0, 0, 0] = np.nextafter(low, np.float32(-1e9))
    x[1, 0, 0] = np.nextafter(high, np.float32(1e9))
    seen = check_images(x, bounds)
    np.testing.assert_array_equal(seen, x.clip(low, high))
    x[1, 0, 0] = high + 1e-4 * (high - low)
    with pytest.raises(UserError, match="outside value_range") as error:
        check_images(x, bounds)
    assert f"{digits(x.max())}], outside" in str(error.value)
    assert digits(x.max()) != digits(high)


def test_probabilities_are_seen_through_rounding():
    answers = np.float32([[1 + 1.2e-7, 0], [0.25, 0.75]])
    found = check_answers(answers, (2, 2), "queries")
    assert "seems to return probabilities, 1 of them rounded" in found.reasons[0]


def test_shares_in_figures():
    kinds = {"M": {"accuracy": np.float32([0.5, 1 + 1.2e-7]), "ASR": None}}
    plots.quality_distributions(kinds, "t")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: checks.at_least(2, a=2, b=1), "b is 1; it must be at least 2"),
        (lambda: checks.at_least(0, a=-1), "a is -1; it must be 0 or more"),
        (lambda: checks.at_least(0, a=np.nan), "a is nan; it must be 0 or more"),
        (lambda: checks.above_zero(a=0.0), "a is 0.0; it must be above 0 and finite"),
        (lambda: checks.above_zero(a=np.inf), "a is inf; it must be above 0 and"),
        (lambda: checks.not_negative(a=-0.5), "a is -0.5; it must be finite, 0 or mo"),
        (lambda: checks.finite_or_none(a=np.nan), "a is nan; it must be finite, or"),
        (lambda: checks.within("[0, 1)", a=1), "a is 1; it must be in [0, 1)"),
        (lambda: checks.within("(0, 1]", a=0), "a is 0; it must be in (0, 1]"),
        (lambda: checks.within("[0, 1]", a=np.nan), "a is nan; it must be in [0, 1]"),
        (lambda: checks.one_of("abc", a="d"), "unknown a 'd'; there are ['a', 'b', "),
        (lambda: checks.one_of(("x", "y"), a=1), "unknown a 1; there are ['x', 'y']"),
        (lambda: checks.one_of(Literal["x", "y"], a=1), "there are ['x', 'y']"),
    ],
)
def test_what_is_refused_is_said(check, message):
    with pytest.raises(UserError, match=re.escape(message)):
        check()


def test_what_is_allowed_passes():
    checks.at_least(1, a=1, b=2.5)
    checks.above_zero(a=1e-9)
    checks.not_negative(a=0, b=3)
    checks.finite_or_none(a=None, b=-1.0)
    checks.within("[0, 1)", a=0)
    checks.within("(0, 1]", a=1.0)
    checks.one_of(Literal["x", "y"], a="x")


def test_what_does_not_fit_into_memory():
    checks.fits_memory("x.npz", 10, "give fewer")
    with pytest.raises(
        UserError, match=r"x\.npz takes 1,048,576 MiB of memory, and .* M"
    ):
        checks.fits_memory("x.npz", 1 << 40, "give fewer images")
