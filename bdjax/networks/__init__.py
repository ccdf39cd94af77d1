"""Networks of others: whatever they are written in, one :class:`Opened`.

A new format is a file in this room and a line in :data:`FORMATS`. Their packages are
imported when a network of theirs comes, and none is needed for the others.
"""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bdjax import checks
from bdjax.networks.base import (
    Apply,
    Ask,
    Features,
    Given,
    Layout,
    Opened,
    Web,
    no_features,
    plain_errors,
)
from bdjax.types import UserError

FORMATS = ("torch", "onnx", "flax", "exported", "keras", "web", "own", "python")
"""Modules of this room, in the order that they are asked in.

Each has ``recognises(source) -> bool``, in no time and without importing its framework,
and ``open(source, given) -> Opened``, which raises ``UserError`` in one line.
"""

_KNOWN = (
    "give a file (.onnx; .pt2, or .pt of TorchScript; .keras; .jax of jax.export), an "
    "http address, package.module:callable, a module or a function"
)


def open_network(
    source: Any,
    *,
    weights: str | None = None,
    variables: Any = None,
    web: Web = Web(),
    shapes: Sequence[tuple[int, ...]] = (),
) -> Opened:
    """Opens a network, in inference mode.

    Args:
      source: a path, an address, ``"package.module:callable"``, or an object: a torch
        module, a Flax NNX or Linen module, a Keras model, a function of JAX or NumPy.
      weights: a file of weights for what a callable builds.
      variables: of a Linen module or a JAX function ``apply(variables, x)``.
      web: how an HTTP endpoint is asked.
      shapes: that one input may have, without N, the likeliest first; JAX functions
        are traced with the first that they read, or with the usual ones.

    Raises:
      UserError: it is no network, cannot be read, or is refused (pickles are).
    """
    _check_path(source)
    given = Given(weights, variables, web, tuple(map(tuple, shapes)))
    for name in FORMATS:
        form = importlib.import_module(f"bdjax.networks.{name}")
        if form.recognises(source):
            return form.open(source, given)
    what = repr(source) if isinstance(source, str) else type(source).__name__
    raise UserError(f"{what} is no network; {_KNOWN}")


def _check_path(source: Any) -> None:
    """Refuses files that are not there or too large, before importing a framework."""
    if not isinstance(source, str | os.PathLike) or ":" in str(source):
        return
    path = Path(source)
    if not path.exists():
        raise UserError(f"there is no file {str(path)!r}; {_KNOWN}")
    if path.is_file():
        fix = "scan it where there is more, or ask it over HTTP"
        checks.fits_memory(path, path.stat().st_size, fix)


__all__ = [
    "FORMATS",
    "Apply",
    "Ask",
    "Features",
    "Given",
    "Layout",
    "Opened",
    "Web",
    "no_features",
    "open_network",
    "plain_errors",
]
