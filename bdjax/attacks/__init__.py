"""Backdoor attacks: a distribution over triggers, and how a trigger is applied."""

import functools

from bdjax.attacks.base import Attack, Trigger, all_to_one, blend
from bdjax.attacks.mntd import Locations, benign, blending, jumbo, modification
from bdjax.tasks import get_task
from bdjax.types import UserError

ATTACKS = {
    "benign": benign,
    "M": modification,
    "B": blending,
    "jumbo": jumbo,
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
    "Attack",
    "Locations",
    "Trigger",
    "all_to_one",
    "blend",
    "get_attack",
]
