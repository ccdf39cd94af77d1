"""Backdoor attacks: a distribution over triggers, and how a trigger is applied."""

import functools
from collections.abc import Callable

from bdjax.attacks.badnets import all_to_all, noise, patch, single, trigger_kind
from bdjax.attacks.base import (
    NO_TARGET,
    Attack,
    Trigger,
    all_to_next,
    all_to_one,
    blend,
    describe_target,
    trigger_size,
)
from bdjax.attacks.mntd import Locations, benign, blending, jumbo, modification
from bdjax.tasks import get_task
from bdjax.types import UserError

ATTACKS: dict[str, Callable[..., Attack]] = {
    "benign": benign,
    "M": modification,
    "B": blending,
    "jumbo": jumbo,
    "patch": patch,
    "pixel": functools.partial(single, "pixel"),
    "ell": functools.partial(single, "ell"),
    "cross": functools.partial(single, "cross"),
    "square": functools.partial(single, "square"),
    "blend": noise,
    "all_to_all": all_to_all,
}


@functools.cache
def get_attack(name: str, *, task: str, locations: Locations = "all") -> Attack:
    """The registered attack ``name`` on ``task``; equal arguments, same object.

    Args:
      name: a key of ``ATTACKS``.
      task: a key of ``bdjax.tasks.TASKS``.
      locations: where a patch may lie: ``"all"`` places, or ``"official"``, which
        never touches the last row and column (an off-by-one of MNTD's code).

    Raises:
      UserError: unknown attack, task or locations.
    """
    if name not in ATTACKS:
        raise UserError(f"unknown attack {name!r}; there are {sorted(ATTACKS)}")
    if locations not in ("all", "official"):
        raise UserError(
            f"unknown trigger locations {locations!r}; there are 'all' and 'official'"
        )
    return ATTACKS[name](get_task(task), locations=locations)


__all__ = [
    "ATTACKS",
    "NO_TARGET",
    "Attack",
    "Locations",
    "Trigger",
    "all_to_next",
    "all_to_one",
    "blend",
    "describe_target",
    "get_attack",
    "trigger_kind",
    "trigger_size",
]
