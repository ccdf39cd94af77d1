"""Checks of settings and values: what is refused, its bound and the fix in one line.

Those of settings take them by name: ``checks.at_least(1, steps=recipe.steps)``.
"""

import difflib
import math
import os
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, SupportsFloat

from bdjax.types import UserError

ROUNDING = 1e-6
"""What lies beyond a bound by this share of the range is rounding, and no mistake."""


def at_least(bound: int, **values: float) -> None:
    """Raises ``UserError`` unless every value is ``bound`` or more."""
    for name, value in values.items():
        if not value >= bound:
            raise UserError(
                f"{name} is {value}; it must be "
                + (f"at least {bound}" if bound else "0 or more")
            )


def above_zero(**values: float) -> None:
    """Raises ``UserError`` unless every value is above 0 and finite."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise UserError(f"{name} is {value}; it must be above 0 and finite")


def not_negative(**values: float) -> None:
    """Raises ``UserError`` unless every value is finite and 0 or more."""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise UserError(f"{name} is {value}; it must be finite, 0 or more")


def finite_or_none(**values: float | None) -> None:
    """Raises ``UserError`` if a value is infinite or NaN."""
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise UserError(f"{name} is {value}; it must be finite, or None")


def within(interval: str, **values: float) -> None:
    """Raises ``UserError`` unless every value lies in an interval such as ``"[0, 1)"``.

    A bracket includes its end, a parenthesis does not.
    """
    low, high = map(float, interval[1:-1].split(","))
    for name, value in values.items():
        inside = low < value < high
        inside |= value == low and interval[0] == "["
        inside |= value == high and interval[-1] == "]"
        if not inside:
            raise UserError(f"{name} is {value}; it must be in {interval}")


def one_of(known: Any, **values: Any) -> None:
    """Raises ``UserError`` unless every value is of a collection or ``Literal``."""
    choices = list(typing.get_args(known) or known)
    for name, value in values.items():
        if value not in choices:
            raise UserError(f"unknown {name} {value!r}; {there_are(choices, value)}")


def there_are(known: Iterable[Any], asked: Any) -> str:
    """End of a message: the names there are, that which may have been meant first."""
    names = list(known)
    close = difflib.get_close_matches(str(asked), map(str, names), n=1)
    return (f"did you mean {close[0]!r}? There are " if close else "there are ") + str(
        names
    )


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


def fits_memory(what: object, size: int, fix: str) -> None:
    """Refuses what is larger than the memory that this machine has to spare.

    Args:
      what: it is, such as a path.
      size: in bytes.
      fix: what to do.
    """
    if size > (spare := _spare_memory()):
        raise UserError(
            f"{what} takes {size / 2**20:,.0f} MiB of memory, and {spare / 2**20:,.0f} "
            f"MiB are to spare; {fix}"
        )


def _spare_memory() -> float:
    """In bytes, caches that the system would give up included; infinite if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        known = dict(line.split(":", 1) for line in lines)
        return int(known["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # not on Windows
        return math.inf
