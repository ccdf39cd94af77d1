"""Ranges that values must keep to, which rounding may carry them a little out of."""

from typing import SupportsFloat

ROUNDING = 1e-6
"""What lies beyond a bound by this share of the range is rounding, and no mistake."""


def keeps_to(
    low: SupportsFloat, high: SupportsFloat, bounds: tuple[float, float]
) -> bool:
    """Whether the least and the greatest of some values lie in ``bounds``.

    Or beyond by rounding only: then clip them. NaN lies nowhere.
    """
    slack = ROUNDING * (bounds[1] - bounds[0])
    return bounds[0] - slack <= float(low) <= float(high) <= bounds[1] + slack


def digits(value: SupportsFloat) -> str:
    """A number in as few digits as tell it from its neighbours in its own dtype.

    So that a message does not say that 1 is above 1.
    """
    return str(value).removesuffix(".0")
