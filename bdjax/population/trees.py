"""Variables and triggers as files hold them: nested dicts, or leaves by their path."""

import functools
from collections.abc import Iterable
from typing import Any

import jax

from bdjax.attacks import Attack, Trigger
from bdjax.types import PyTree, UserError


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested dicts by their path, such as ``params.conv1.kernel``."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves


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
    leaves, _ = jax.tree_util.tree_flatten_with_path(trigger._replace(bank=()))
    return nested((_name(path), leaf) for path, leaf in leaves)


def trigger_from(attack: Attack, found: dict[str, Any]) -> Trigger:
    """What :func:`trigger_dict` made of a trigger of this attack.

    Raises:
      UserError: the attack draws triggers of another form.
    """
    leaves = flat(found)
    asked, structure = jax.tree_util.tree_flatten_with_path(trigger_shape(attack))
    names = [_name(path) for path, _ in asked]
    if set(names) != set(leaves):
        raise UserError(
            f"triggers have {sorted(leaves)}, and those of attack {attack.name!r} "
            f"{sorted(names)}; read them with the bdjax that wrote them"
        )
    return jax.tree.unflatten(structure, [leaves[name] for name in names])


@functools.cache
def trigger_shape(attack: Attack) -> Trigger:
    """Shapes of one trigger."""
    return jax.eval_shape(attack.sample, jax.eval_shape(lambda: jax.random.key(0)))


def _name(path: PyTree) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
