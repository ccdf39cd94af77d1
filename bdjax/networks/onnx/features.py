"""The penultimate layer of a graph."""

from collections.abc import Callable

from bdjax import checks
from bdjax.networks.base import Features, no_features
from bdjax.networks.onnx.graph import Graph
from bdjax.networks.onnx.interpreter import function
from bdjax.networks.onnx.operators.common import Node
from bdjax.types import UserError

# What may follow the last dense layer: nothing that mixes or bends its outputs.
BEHIND = {
    *("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout", "Cast"),
    *("Add", "Sub", "Mul", "Div", "Softmax", "LogSoftmax", "BatchNormalization"),
}
POOLS = {"GlobalAveragePool", "ReduceMean", "AveragePool"}
"""They commute with a convolution of one pixel."""


def finder(
    graph: Graph, output: str
) -> Callable[[tuple[int, ...], str | None], Features]:
    """``Opened.find_features`` of a graph.

    A layer by name is its output, the last dense one's its input.
    """

    def find(shape: tuple[int, ...], layer: str | None) -> Features:
        last = _last(graph, output)
        if layer is None or last.layer.startswith(f"{layer} (input"):
            return last
        return Features(function(graph, _named(graph, layer)), f"{layer} (output)")

    return find


def _named(graph: Graph, layer: str) -> str:
    """The tensor of that name, or the first that the node of that name gives."""
    known = graph.from_input()
    if layer in known:
        return layer
    nodes = [n for n in graph.nodes if n.outputs[0] in known]
    for node in nodes:
        if layer in (node.name, _name(graph, node)):
            return node.outputs[0]
    names = dict.fromkeys(_name(graph, n) for n in nodes[-20:])
    raise UserError(f"unknown layer {layer!r}; {checks.there_are(names, layer)}")


def _last(graph: Graph, output: str) -> Features:
    known, name, pooled = graph.from_input(), output, False
    while (node := graph.producer(name)) is not None:
        data = [i for i in node.inputs if i in known]
        if len(data) != 1:
            return no_features(
                f"its answers come from {node.op} of {len(data)} tensors, and no dense "
                "layer; name one"
            )
        if node.op in ("Gemm", "MatMul") and not pooled:
            return _read(graph, node, data[0])
        if node.op == "Conv" and _is_of_one_pixel(graph, node):
            mean = function(graph, data[0], pixels=True)
            return Features(mean, f"{_name(graph, node)} (input, mean over pixels)")
        pooled |= node.op in POOLS
        if node.op not in BEHIND | POOLS:
            return no_features(
                f"its answers come from {node.op}, and no dense layer; name one"
            )
        name = data[0]
    return no_features("it has no dense layer")


def _is_of_one_pixel(graph: Graph, node: Node) -> bool:
    """Whether a convolution is a dense layer of every pixel; by weights if not said."""
    weight = graph.weights.get(node.inputs[1])
    kernel = node.get("kernel_shape", () if weight is None else weight.shape[2:])
    return bool(kernel) and set(kernel) == {1}


def _name(graph: Graph, node: Node) -> str:
    """For people: of the module whose weight it reads, or its own."""
    for name in node.inputs:
        if name in graph.weights and name.endswith(".weight"):
            return name.removesuffix(".weight")
    return node.name or node.outputs[0]


def _read(graph: Graph, node: Node, data: str) -> Features:
    first = node.inputs[0] == data
    if not first or node.get("transA", 0):
        return no_features(
            f"{_name(graph, node)} has its inputs the other way round; name one"
        )
    return Features(function(graph, data), f"{_name(graph, node)} (input)")
