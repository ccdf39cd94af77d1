"""Backdoor attacks: a distribution over triggers, and how a trigger is applied."""

import functools
from collections.abc import Callable

from bdjax.attacks import text
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
from bdjax.attacks.tables import SERIES, TABLES
from bdjax.attacks.waves import WAVES
from bdjax.tasks import get_task
from bdjax.types import UserError

IMAGES: dict[str, Callable[..., Attack]] = {
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

TEXT: dict[str, Callable[..., Attack]] = {
    "benign": text.benign,
    "M": text.modification,
    "jumbo": text.jumbo,
}

FAMILIES: dict[str, dict[str, Callable[..., Attack]]] = {
    "images": IMAGES,
    "series": SERIES,
    "tables": TABLES,
    "text": TEXT,
    "waves": WAVES,
}
"""What a task's ``family`` says -> its attacks by name, ``"benign"`` among them."""

REFUSED = {("text", "B"): "words cannot be blended, only inserted"}
"""A family and an attack that it cannot have -> why."""


@functools.cache
def get_attack(name: str, *, task: str, locations: Locations = "all") -> Attack:
    """The registered attack ``name`` on ``task``; equal arguments, same object.

    Args:
      name: a key of ``FAMILIES[family]``, the task's family.
      task: a name that :func:`bdjax.tasks.get_task` knows.
      locations: where a patch may lie: ``"all"`` places, or ``"official"``, which
        never touches the last row and column (an off-by-one of MNTD's code).

    Raises:
      UserError: unknown attack, task or locations.
    """
    attacked = get_task(task)
    attacks = FAMILIES[attacked.modality.name]
    if name not in attacks:
        why = REFUSED.get((attacked.modality.name, name))
        raise UserError(
            f"{f'no attack {name!r}' if why else f'unknown attack {name!r}'} on "
            f"{attacked.modality.name}{f' ({why})' if why else ''}; there are "
            f"{sorted(attacks)}"
        )
    if locations not in ("all", "official"):
        raise UserError(
            f"unknown trigger locations {locations!r}; there are 'all' and 'official'"
        )
    return attacks[name](attacked, locations=locations)


__all__ = [
    "FAMILIES",
    "IMAGES",
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
