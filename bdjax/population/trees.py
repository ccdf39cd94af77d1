"""Variables and triggers as files hold them: nested dicts, or leaves by their path."""

import functools
from collections.abc import Iterable
from typing import Any

import jax

from bdjax.attacks import Attack, Trigger
from bdjax.types import PyTree, UserError


def flat(tree: PyTree) -> dict[str, Any]:
    """Leaves by their path, such as ``params.conv1.kernel``."""
    leaves = jax.tree.leaves_with_path(tree)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {name(path): leaf for path, leaf in leaves}


def nested(leaves: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Nested dicts of leaves that go by their path."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves:
        *parents, name = path.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = leaf
    return tree


def trigger_dict(trigger: Trigger) -> dict[str, Any]:
    """One trigger, or stacked ones, as nested dicts; without the bank."""
    return nested(flat(trigger._replace(bank=())).items())


def trigger_from(attack: Attack, found: dict[str, Any]) -> Trigger:
    """What :func:`trigger_dict` made of a trigger of this attack.

    Raises:
      UserError: the attack draws triggers of another form.
    """
    leaves, names = flat(found), list(flat(trigger_shape(attack)))
    if set(names) != set(leaves):
        raise UserError(
            f"triggers have {sorted(leaves)}, and those of attack {attack.name!r} "
            f"{sorted(names)}; read them with the bdjax that wrote them"
        )
    structure = jax.tree.structure(trigger_shape(attack))
    return jax.tree.unflatten(structure, [leaves[name] for name in names])


@functools.cache
def trigger_shape(attack: Attack) -> Trigger:
    """Shapes of one trigger."""
    return jax.eval_shape(attack.sample, jax.eval_shape(lambda: jax.random.key(0)))
