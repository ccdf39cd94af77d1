"""Networks of others: whatever they are written in, one :class:`Opened`.

A new format is a file in this room and a line in :data:`FORMATS`. Their packages are
imported when a network of theirs comes, and none is needed for the others.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from bdjax.networks.base import (
    Apply,
    Ask,
    Features,
    Given,
    Layout,
    Opened,
    Web,
    no_features,
    said_in_callback,
)
from bdjax.types import UserError

FORMATS = ("torch", "onnx", "flax", "exported", "keras", "web", "python")
"""Modules of this room, in the order that they are asked in.

Each has ``recognises(source) -> bool``, in no time and without importing its framework,
and ``open(source, given) -> Opened``, which raises ``UserError`` in one line.
"""


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
    given = Given(weights, variables, web, tuple(map(tuple, shapes)))
    for name in FORMATS:
        form = importlib.import_module(f"bdjax.networks.{name}")
        if form.recognises(source):
            return form.open(source, given)
    what = repr(source) if isinstance(source, str) else type(source).__name__
    known = "a file (.pt2, .pt of TorchScript, .onnx, .jax, .keras), an http address"
    raise UserError(
        f"{what} is no network; give {known}, package.module:callable, a module or a "
        "function"
    )


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
    "said_in_callback",
]
