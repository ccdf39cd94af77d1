"""Not here yet."""

from typing import Any

from bdjax.networks.base import Given, Opened
from bdjax.types import UserError


def recognises(source: Any) -> bool:
    """Nothing, yet."""
    return False


def open(source: Any, given: Given) -> Opened:
    """Refuses."""
    raise UserError("this format cannot be opened yet")
