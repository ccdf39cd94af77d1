"""Networks in ONNX: answers by onnxruntime, gradients by an interpreter in JAX.

The interpreter is held against onnxruntime when a network is opened; where it differs,
or lacks an operator, the network only answers, and a note says why.
"""

import itertools
import os
from typing import Any

import jax
import numpy as np

from bdjax.networks.base import Apply, Ask, Given, Layout, Opened, no_features
from bdjax.networks.onnx import answers, features
from bdjax.networks.onnx.graph import Graph, flat, load, read, unknown
from bdjax.networks.onnx.interpreter import function
from bdjax.networks.onnx.operators.common import DTYPES
from bdjax.types import UserError

Shape = tuple[int, ...]
TOLERANCE = 1e-3
"""What answers of the two may differ by, as a share of the answers' spread."""
QUANTISED = {
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger"),
    *("QLinearConv", "QLinearMatMul", "MatMulInteger"),
}


def recognises(source: Any) -> bool:
    """Whether it is the path of an ``.onnx`` file, or an ``onnx.ModelProto``."""
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return str(path).lower().endswith(".onnx") and "://" not in str(path)
    kind = type(source)
    return kind.__name__ == "ModelProto" and kind.__module__.startswith("onnx")


def open(source: Any, given: Given) -> Opened:
    """Opens an ONNX network.

    Raises:
      UserError: a package is missing, or it is no network that can be asked.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"ONNX networks need the package {error.name}: pip install onnx onnxruntime"
        ) from error
    if given.weights is not None or given.variables is not None:
        raise UserError("an ONNX network holds its weights; leave weights out")
    is_path = isinstance(source, str | os.PathLike)
    name = os.path.basename(os.fspath(source)) if is_path else source.graph.name
    proto = flat(load(os.fspath(source)) if is_path else source)
    lacking = unknown(proto)
    try:
        graph = read(proto)
        output, notes = _output(graph)
        ask = answers.asker(answers.session(proto, output, name), graph)
        probe = _probe(graph, ask, given.shapes)
    except UserError as error:
        also = f"; operators that bdjax lacks: {', '.join(lacking)}" if lacking else ""
        raise UserError(f"{name}: {error}{also}") from error
    apply, why = _apply(graph, output, lacking, probe)
    if why:
        notes.append(f"it only answers, without gradients: {why}")
    find = features.finder(graph, output)
    return Opened(
        name=name,
        kind="ONNX",
        ask=ask,
        apply=apply,
        variables=graph.weights if apply else {},
        find_features=find if apply else lambda shape, layer: no_features(why),
        layout=_layout(graph),
        shape=graph.shape[1:] if graph.shape else None,
        num_classes=probe[1].shape[1] if probe and probe[1].ndim == 2 else None,
        weights=graph.weights or None,
        notes=tuple(notes),
    )


def _output(graph: Graph) -> tuple[str, list[str]]:
    """The tensor of answers, and notes."""
    kinds = {name: DTYPES.get(number) for name, (number, _) in graph.outputs.items()}
    real = [name for name, kind in kinds.items() if kind == np.float32]
    flat_ones = [n for n in real if len(graph.outputs[n][1] or (0, 0)) <= 2]
    whole = [n for n, k in kinds.items() if k and np.issubdtype(k, np.integer)]
    found = (flat_ones or real or whole)[:1]
    if not found:
        raise UserError(f"none of its outputs ({', '.join(kinds)}) holds numbers")
    (name,) = found
    notes = []
    if len(kinds) > 1:
        notes.append(f"of its outputs ({', '.join(kinds)}), {name!r} is read")
    node = graph.producer(name)
    last = (graph.outputs[name][1] or (None,))[-1]
    ends = {"Softmax", "LogSoftmax"} | ({"Sigmoid"} if last == 1 else set())
    if node is not None and node.op in ends and node.get("axis", -1) in (1, -1):
        end = "sigmoid" if node.op == "Sigmoid" else "softmax"
        notes.append(f"its last {end} is left out: answers are what it reads")
        name = node.inputs[0]
    return name, notes


def _shapes(graph: Graph, likely: tuple[Shape, ...]) -> list[Shape]:
    """Of one input: the file's, or some that agree with what the file leaves free."""
    if graph.shape is None:
        return list(likely)
    if None not in graph.shape[1:]:
        return [graph.shape[1:]]  # type: ignore[list-item]
    found = list(likely)
    for channels, side in itertools.product((3, 1), (32, 28, 224)):
        fill = {1: channels} if len(graph.shape) == 4 else {}
        found.append(
            tuple(n or fill.get(i, side) for i, n in enumerate(graph.shape))[1:]
        )
    return found


def _probe(
    graph: Graph, ask: Ask, likely: tuple[Shape, ...]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Random inputs and answers; None if no shape that was tried fits."""
    rng = np.random.default_rng(0)
    shapes = _shapes(graph, likely)
    for shape in shapes:
        count = (graph.shape or (None,))[0] or 2
        x = rng.standard_normal((count, *shape)).astype(np.float32)
        if graph.dtype == np.uint8:
            x = rng.integers(0, 256, x.shape).astype(np.float32)
        try:
            return x, ask(x)
        except UserError:
            if graph.shape and graph.shape[1:] == shape:
                raise
    return None


def _apply(
    graph: Graph,
    output: str,
    lacking: list[str],
    probe: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[Apply | None, str]:
    """The network in JAX, or why not."""
    if quantised := sorted(QUANTISED.intersection(n.op for n in graph.nodes)):
        return None, f"it is quantised ({', '.join(quantised)})"
    if lacking:
        return None, f"bdjax lacks its operators {', '.join(lacking)}"
    if graph.dtype != np.uint8 and not np.issubdtype(graph.dtype, np.floating):
        return None, f"its input is of type {graph.dtype}"
    apply = function(graph, output)
    if probe is None:
        return apply, ""
    x, expected = probe
    if np.issubdtype(expected.dtype, np.integer):
        return None, "it answers labels"
    try:
        with jax.default_matmul_precision("highest"):
            found = np.asarray(jax.jit(apply)(graph.weights, x))
    except UserError as error:
        return None, str(error)
    if np.issubdtype(found.dtype, np.integer):
        return None, "it answers with whole numbers"
    spread = np.nanmax(expected) - np.nanmin(expected)
    worst = np.nanmax(np.abs(found - expected), initial=0)
    bound = (TOLERANCE * (10 if graph.half else 1)) * max(float(spread), 1e-6)
    same_holes = np.array_equal(np.isnan(found), np.isnan(expected))
    if found.shape != expected.shape or not (worst <= bound and same_holes):
        return None, (
            f"in JAX its answers differ from onnxruntime's by {worst:.2g}, of a spread "
            f"of {spread:.2g}"
        )
    return apply, ""


def _layout(graph: Graph) -> Layout | None:
    """Of images: by the axis with one or three channels, if only one is like that."""
    if graph.shape is None or len(graph.shape) != 4:
        return None
    first, last = (graph.shape[i] in (1, 3) for i in (1, 3))
    if first == last:
        return None
    return "NCHW" if first else "NHWC"
