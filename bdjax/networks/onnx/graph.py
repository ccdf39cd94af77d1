"""An ONNX file as a graph of nodes and arrays."""

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from bdjax.networks.onnx.operators import OPERATORS
from bdjax.networks.onnx.operators.common import DTYPES, Node
from bdjax.types import UserError

# Inputs that shapes depend on: static, although they may be real numbers.
STATIC = {"Resize": (1, 2), "OneHot": (1,), "Range": (0, 1, 2)}
LIMIT = 2**31 - 1
"""Bytes of a file with its weights; protocol buffers have no more."""


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """What a file holds.

    Attributes:
      nodes: in an order in which they can be computed.
      constants: static arrays by name.
      weights: real arrays by name, float32.
      input: name of the only input.
      dtype: of the input.
      shape: of the input, batch axis included; None for an axis that is free.
      outputs: names, and their types and shapes as far as the file says them.
      half: whether the file computes in half precision.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    input: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None
    outputs: dict[str, tuple[int, tuple[int | None, ...] | None]]
    half: bool

    def producer(self, name: str) -> Node | None:
        """The node that gives a tensor."""
        return next((n for n in self.nodes if name in n.outputs), None)

    def needed(self, wanted: str) -> list[Node]:
        """The nodes that a tensor follows from, in order."""
        names, found = {wanted}, []
        for node in reversed(self.nodes):
            if names.intersection(node.outputs):
                names.update(node.inputs)
                found.append(node)
        return found[::-1]

    def from_input(self) -> set[str]:
        """The tensors that depend on the input."""
        names = {self.input}
        for node in self.nodes:
            if names.intersection(node.inputs):
                names.update(name for name in node.outputs if name)
        return names


def load(path: str) -> Any:
    """A file's ``onnx.ModelProto``, with weights that lie beside it.

    Raises:
      UserError: there is no such file, it is too large, or no ONNX.
    """
    import onnx

    try:
        size = os.path.getsize(path)
        if size > LIMIT:
            raise UserError(f"{path} has {size / 1e9:.1f} GB; at most 2 can be read")
        proto = onnx.load(path)
    except UserError:
        raise
    except Exception as error:  # of protobuf, of onnx, of files beside it
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read as ONNX: {why}") from error
    if not proto.graph.node or not proto.opset_import:
        raise UserError(f"{path} is no ONNX network: it has no operators")
    return proto


def flat(proto: Any) -> Any:
    """The model without local functions, and what is missing here by its definition."""
    import onnx.inliner

    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    missing = [("", op) for op in unknown(proto) if "::" not in op]
    if not missing:
        return proto
    try:
        return onnx.inliner.inline_selected_functions(
            proto, missing, inline_schema_functions=True
        )
    except Exception:  # of older versions, or without types of all tensors
        return proto


def unknown(proto: Any) -> list[str]:
    """Names of the operators that there are not in JAX here."""
    found = set()
    for node in proto.graph.node:
        own = node.domain in ("", "ai.onnx")
        if not own:
            found.add(f"{node.domain}::{node.op_type}")
        elif node.op_type not in OPERATORS and node.op_type != "Constant":
            found.add(node.op_type)
    return sorted(found)


def _array(tensor):
    """A tensor in a type that is computed in: half and double become single."""
    import onnx

    array = onnx.numpy_helper.to_array(tensor)
    return np.asarray(array, DTYPES.get(tensor.data_type, array.dtype))


def _attribute(attribute):
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return _array(value)
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if isinstance(value, Iterable) else value


def _constant(node):
    """The array of a Constant."""
    (attribute,) = node.attribute
    value = _attribute(attribute)
    if attribute.name.startswith("value_float"):
        return np.asarray(value, np.float32)
    return np.asarray(value, np.int64) if "int" in attribute.name else value


def _shape(info):
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return kind.elem_type, None
    return kind.elem_type, tuple(d.dim_value or None for d in kind.shape.dim)


def read(proto: Any) -> Graph:
    """The graph of a model.

    Raises:
      UserError: it has no input, or several.
    """
    import onnx

    opset = max(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    arrays = {i.name: _array(i) for i in proto.graph.initializer}
    halves = any(i.data_type in (10, 16) for i in proto.graph.initializer)
    nodes = []
    for n in proto.graph.node:
        if n.op_type == "Constant" and n.domain in ("", "ai.onnx"):
            arrays[n.output[0]] = _constant(n)
            continue
        attributes = {a.name: _attribute(a) for a in n.attribute}
        sides = tuple(n.input), tuple(n.output)
        nodes.append(Node(n.op_type, n.name, *sides, attributes, opset))
    inputs = [i for i in proto.graph.input if i.name not in arrays]
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs)
        raise UserError(f"it has {len(inputs)} inputs ({names}); one can be scanned")
    number, shape = _shape(inputs[0])
    static = {
        n.inputs[i] for n in nodes for i in STATIC.get(n.op, ()) if i < len(n.inputs)
    }
    weights = {
        name: a
        for name, a in arrays.items()
        if a.dtype == np.float32 and a.ndim and name not in static
    }
    return Graph(
        nodes=tuple(nodes),
        constants={k: a for k, a in arrays.items() if k not in weights},
        weights=weights,
        input=inputs[0].name,
        dtype=np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number)),
        shape=shape,
        outputs={o.name: _shape(o) for o in proto.graph.output},
        half=halves,
    )
