"""A graph as a function of JAX."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from bdjax.networks.base import Apply
from bdjax.networks.onnx.graph import Graph
from bdjax.networks.onnx.operators import OPERATORS
from bdjax.networks.onnx.operators.common import Node
from bdjax.types import PyTree, UserError


def function(graph: Graph, wanted: str, *, pixels: bool = False) -> Apply:
    """``apply(variables, x)``: the tensor ``wanted``, float ``[N, D]``.

    Where the graph has a fixed batch size, it sees blocks of that many.

    Args:
      graph: whose operators are all known.
      wanted: name of a tensor.
      pixels: whether to average over its axes from the third on.
    """
    nodes = graph.needed(wanted)

    def apply(variables: PyTree, x: jax.Array) -> jax.Array:
        y = evaluate(graph, nodes, variables, x)[wanted]
        y = y.mean(range(2, y.ndim)) if pixels else y
        return y.reshape(len(x), -1)

    size = graph.shape[0] if graph.shape else None
    return apply if size is None else in_blocks(apply, size)


def evaluate(
    graph: Graph, nodes: Iterable[Node], variables: PyTree, x: jax.Array
) -> dict[str, Any]:
    """Every tensor by name, as the graph has it.

    Raises:
      UserError: a node cannot be computed.
    """
    values = {"": None, **graph.constants, **variables, graph.input: jnp.asarray(x)}
    for node in nodes:
        inputs = [values[name] for name in node.inputs]
        try:
            found = OPERATORS[node.op](node, *inputs)
        except UserError:
            raise
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            where = f"{node.op} {node.name}".strip()
            why = " ".join(str(error).split())[:200]
            raise UserError(f"{where} cannot be computed in JAX: {why}") from error
        found = found if isinstance(found, tuple) else (found,)
        pairs = zip(node.outputs, found, strict=False)
        values.update((name, y) for name, y in pairs if name)
    return values


def in_blocks(apply: Apply, size: int) -> Apply:
    """A function of exactly ``size`` examples, for any number."""

    def blocked(variables: PyTree, x: jax.Array) -> jax.Array:
        count = len(x)
        width = [(0, -count % size)] + [(0, 0)] * (x.ndim - 1)
        x = jnp.pad(x, width).reshape(-1, size, *x.shape[1:])
        y = jax.vmap(apply, (None, 0))(variables, x)
        return y.reshape(-1, *y.shape[2:])[:count]

    return blocked
