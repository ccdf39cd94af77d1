"""What the operators share.

An operator is ``operator(node, *inputs)``; a missing optional input is None. What does
not depend on the network's input or weights stays in NumPy, so that arithmetic on
shapes is done while JAX traces.
"""

import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.types import UserError

# ONNX's numbers of types. What is computed here is computed in single precision.
DTYPES = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32,
    7: np.int64, 9: np.bool_, 10: np.float32, 11: np.float32, 12: np.uint32,
    13: np.uint64, 16: np.float32,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """An operation of a graph.

    Attributes:
      op: the operator's name.
      name: of this node, "" if it has none.
      inputs: names of what it reads; "" is an optional one left out.
      outputs: names of what it gives, likewise.
      attributes: by name; tensors are arrays, strings are ``str``.
      opset: the version of the operators' definitions.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or what holds without it."""
        return self.attributes.get(name, default)


def unsupported(node: Node, what: str) -> UserError:
    """The error that says which part of an operator is missing here."""
    return UserError(f"{node.op} {what}")


def of(*arrays: Any) -> types.ModuleType:
    """NumPy if all are static, else JAX's."""
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np


def static(node: Node, value: Any, what: str) -> np.ndarray:
    """A value that the shapes depend on.

    Raises:
      UserError: it depends on the network's input.
    """
    if isinstance(value, jax.Array):
        raise unsupported(node, f"with {what} that depend on the input")
    return np.asarray(value)


def ints(node: Node, value: Any, what: str) -> list[int]:
    """:func:`static` whole numbers."""
    return [int(i) for i in static(node, value, what).reshape(-1)]


def cast(x: Any, dtype: Any) -> Any:
    """``x`` in a type of ONNX's, as far as JAX has it."""
    if isinstance(x, jax.Array):
        dtype = jax.dtypes.canonicalize_dtype(dtype)
    return x.astype(dtype)


def axes(node: Node, given: Any, rank: int) -> tuple[int, ...] | None:
    """The axes that an input (of newer versions) or attribute names, 0 and above."""
    found = node.get("axes") if given is None else ints(node, given, "axes")
    return None if found is None else tuple(sorted(int(a) % rank for a in found))
