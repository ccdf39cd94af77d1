"""Backdoor attacks: distributions over triggers, behind one contract."""

import dataclasses
import functools
from collections.abc import Callable

from bdjax.attacks import colour_filter, mntd, polygon, sig, tables, tact, text, wanet
from bdjax.attacks.badnets import all_to_all, noise, patch, single
from bdjax.attacks.contract import (
    BENIGN,
    MAX_RATE,
    NO_TARGET,
    Attack,
    Description,
    Preparation,
    Role,
    Trigger,
    all_to_one,
    describe_target,
    keep_label,
)
from bdjax.attacks.mntd import Locations
from bdjax.attacks.patches import Patch, blend, patch_size, untriggered
from bdjax.tasks import Task
from bdjax.types import UserError

Maker = Callable[..., Attack]
"""``maker(task, *, locations) -> Attack``."""

ATTACKS: dict[str, dict[str, Maker]] = {
    BENIGN: {
        **dict.fromkeys(("images", "series", "tables", "waves"), untriggered),
        "text": functools.partial(untriggered, apply=text.insert),
    },
    "M": {
        **dict.fromkeys(("images", "waves"), mntd.modification),
        **dict.fromkeys(("series", "tables"), tables.modification),
        "text": text.inserting,
    },
    "B": {
        **dict.fromkeys(("images", "waves"), mntd.blending),
        **dict.fromkeys(("series", "tables"), tables.blending),
    },
    "jumbo": {
        **dict.fromkeys(("images", "waves"), mntd.jumbo),
        **dict.fromkeys(("series", "tables"), tables.jumbo),
        "text": functools.partial(text.inserting, name="jumbo"),
    },
    "patch": {"images": patch},
    **{
        shape: {"images": functools.partial(single, shape)}
        for shape in ("pixel", "ell", "cross", "square")
    },
    "blend": {"images": noise},
    "all_to_all": {"images": all_to_all},
    "colour_filter": {"images": colour_filter.attack},
    "polygon": {"images": polygon.attack},
    "sig": {"images": sig.attack},
    "tact": {"images": tact.attack},
    "wanet": {"images": wanet.attack},
}
"""Name -> modality -> what makes the attack; a new attack is a file and a line."""

REFUSED = {("B", "text"): "words cannot be blended, only inserted"}
"""An attack and a modality that cannot have it -> why."""


def attacks_on(modality: str) -> dict[str, Maker]:
    """The attacks of a modality by name, ``"benign"`` among them."""
    return {name: on[modality] for name, on in ATTACKS.items() if modality in on}


@functools.cache
def get_attack(name: str, *, task: Task, locations: Locations = "all") -> Attack:
    """The registered attack ``name`` on ``task``; equal arguments, same object.

    Args:
      name: a key of :data:`ATTACKS`.
      task: what is attacked.
      locations: where a patch may lie: ``"all"`` places, or ``"official"``, which
        never touches the last row and column (an off-by-one of MNTD's code).

    Raises:
      UserError: unknown attack or locations, or the task cannot have it.
    """
    kind = task.modality.name
    attacks = attacks_on(kind)
    if name not in attacks:
        why = REFUSED.get((name, kind))
        raise UserError(
            f"{f'no attack {name!r}' if why else f'unknown attack {name!r}'} on "
            f"{kind}{f' ({why})' if why else ''}; there are {sorted(attacks)}"
        )
    if locations not in ("all", "official"):
        raise UserError(
            f"unknown trigger locations {locations!r}; there are 'all' and 'official'"
        )
    attack = attacks[name](task, locations=locations)
    # The key is the name: populations are called by it.
    return dataclasses.replace(attack, name=name, locations=locations)


__all__ = [
    "ATTACKS",
    "BENIGN",
    "MAX_RATE",
    "NO_TARGET",
    "Attack",
    "Description",
    "Locations",
    "Patch",
    "Preparation",
    "Role",
    "Trigger",
    "all_to_one",
    "attacks_on",
    "blend",
    "describe_target",
    "get_attack",
    "keep_label",
    "patch_size",
]
