"""Weights of JAX networks by name, and their safetensors files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bdjax import storage
from bdjax.types import PyTree, UserError, Variables


def by_path(tree: PyTree) -> dict[str, Any]:
    """Leaves by their path, such as ``params/Dense_0/kernel``."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def named(variables: PyTree) -> dict[str, np.ndarray]:
    """Arrays of numbers by their path, such as ``params/Dense_0/kernel``."""
    return {
        name: np.asarray(leaf)
        for name, leaf in by_path(variables).items()
        if jax.numpy.issubdtype(leaf.dtype, jax.numpy.number)
    }


def read(path: str) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file, by name.

    Raises:
      UserError: it is missing, no safetensors file, or damaged.
    """
    if Path(path).suffix != ".safetensors":
        raise UserError(
            f"{path}: weights of JAX networks are read from .safetensors; write them "
            "by safetensors.numpy.save_file(arrays, path), names joined by /"
        )
    return storage.load_tensors(Path(path))


def nested(arrays: Mapping[str, np.ndarray]) -> Variables:
    """Nested dicts of what goes by names joined by ``/``, or else by ``.``."""
    separator = "/" if any("/" in name for name in arrays) else "."
    tree: dict[str, Any] = {}
    for path, leaf in arrays.items():
        *parents, name = path.split(separator)
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = leaf
    return tree


def fitted(arrays: Mapping[str, np.ndarray], into: PyTree, path: str) -> PyTree:
    """The tree ``into`` with its arrays from a file, by name.

    Args:
      arrays: from :func:`read`; names joined by ``/`` or ``.``.
      into: whose structure and shapes they must have.
      path: of the file, for messages.

    Raises:
      UserError: names or shapes differ.
    """
    found = {name.replace(".", "/"): array for name, array in arrays.items()}
    here, structure = jax.tree.flatten_with_path(into)
    new = []
    for keys, leaf in here:
        name = jax.tree_util.keystr(keys, simple=True, separator="/")
        if (array := found.pop(name.replace(".", "/"), None)) is None:
            raise UserError(f"{path} has no {name}, which the network has")
        if array.shape != leaf.shape:
            raise UserError(
                f"{path}: {name} is {array.shape}, and of the network {leaf.shape}; "
                "these are another network's weights"
            )
        new.append(jax.numpy.asarray(array, leaf.dtype))
    if found:
        raise UserError(f"{path} has {min(found)}, which the network has not")
    return jax.tree.unflatten(structure, new)
