"""Operators that arrange elements."""

from typing import Any

import numpy as np

from bdjax.networks.onnx.operators.common import (
    Node,
    axes,
    ints,
    of,
    static,
)


def reshape(node: Node, x: Any, shape: Any) -> Any:
    """A 0 keeps an axis, unless ``allowzero``."""
    sizes = ints(node, shape, "shapes")
    if not node.get("allowzero", 0):
        sizes = [x.shape[i] if s == 0 else s for i, s in enumerate(sizes)]
    return of(x).reshape(x, sizes)


def flatten(node: Node, x: Any) -> Any:
    """To two axes."""
    axis = node.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    rows = int(np.prod(x.shape[:axis]))
    return of(x).reshape(x, (rows, int(np.prod(x.shape[axis:]))))


def transpose(node: Node, x: Any) -> Any:
    """The other way round without ``perm``."""
    return of(x).transpose(x, node.get("perm"))


def squeeze(node: Node, x: Any, which: Any = None) -> Any:
    """All axes of one element without ``axes``."""
    return of(x).squeeze(x, axes(node, which, x.ndim))


def unsqueeze(node: Node, x: Any, which: Any = None) -> Any:
    """Axes are those of the result."""
    found = node.get("axes") if which is None else ints(node, which, "axes")
    rank = x.ndim + len(found)
    return of(x).expand_dims(x, tuple(a % rank for a in found))


def concat(node: Node, *inputs: Any) -> Any:
    """Along ``axis``."""
    return of(*inputs).concatenate(inputs, axis=node.get("axis"))


def split(node: Node, x: Any, sizes: Any = None) -> Any:
    """By sizes, or into parts of which the last may be smaller."""
    axis = node.get("axis", 0)
    size = x.shape[axis]
    if sizes is not None or node.get("split"):
        parts = ints(node, node.get("split") if sizes is None else sizes, "sizes")
        ends = np.cumsum(parts)[:-1]
    else:
        count = node.get("num_outputs", len(node.outputs))
        ends = np.arange(1, count) * -(-size // count)
    return tuple(of(x).split(x, [int(e) for e in ends], axis=axis))


def cut(
    node: Node, x: Any, starts: Any, ends: Any, which: Any = None, steps: Any = None
) -> Any:
    """Python's slices."""
    first, last = ints(node, starts, "starts"), ints(node, ends, "ends")
    chosen = range(len(first)) if which is None else ints(node, which, "axes")
    by = ints(node, 1 if steps is None else steps, "steps")
    by = by * len(first) if len(by) == 1 else by
    slices = [slice(None)] * x.ndim
    for axis, i, j, step in zip(chosen, first, last, by, strict=True):
        slices[axis] = slice(i, j, step)
    return x[tuple(slices)]


def pad(
    node: Node, x: Any, amounts: Any = None, value: Any = None, which: Any = None
) -> Any:
    """A negative amount cuts."""
    pads = ints(node, node.get("pads") if amounts is None else amounts, "pads")
    chosen = range(x.ndim) if which is None else ints(node, which, "axes")
    width = [(0, 0)] * x.ndim
    for axis, low, high in zip(
        chosen, pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True
    ):
        width[axis] = (low, high)
    cuts = [slice(max(-low, 0), min(high, 0) or None) for low, high in width]
    x = x[tuple(cuts)]
    width = [(max(low, 0), max(high, 0)) for low, high in width]
    mode = node.get("mode", "constant")
    if mode != "constant":
        return of(x).pad(x, width, mode=mode)
    value = node.get("value", 0.0) if value is None else value
    scalar = value.reshape(()) if hasattr(value, "reshape") else value
    return of(x, value).pad(x, width, constant_values=scalar)


def expand(node: Node, x: Any, shape: Any) -> Any:
    """Both ways: an axis of one element in ``shape`` leaves x's."""
    sizes = np.broadcast_shapes(x.shape, tuple(ints(node, shape, "shapes")))
    return of(x).broadcast_to(x, sizes)


def tile(node: Node, x: Any, repeats: Any) -> Any:
    """Every axis as often as said."""
    return of(x).tile(x, ints(node, repeats, "repeats"))


def shape_of(node: Node, x: Any) -> np.ndarray:
    """Static, whatever x is."""
    sizes = np.array(x.shape, np.int64)
    return sizes[slice(node.get("start", 0), node.get("end"))]


def constant_of_shape(node: Node, shape: Any) -> np.ndarray:
    """Zeros, or a value of one element."""
    value = node.get("value", np.zeros(1, np.float32))
    return np.full(ints(node, shape, "shapes"), value.reshape(()), value.dtype)


def arange(node: Node, start: Any, limit: Any, delta: Any) -> np.ndarray:
    """Static only: its length is a shape."""
    first, last, step = (static(node, v, "bounds") for v in (start, limit, delta))
    found = np.arange(first.item(), last.item(), step.item())
    return found.astype(first.dtype)


def eye_like(node: Node, x: Any) -> np.ndarray:
    """Of x's shape, in single precision."""
    rows, columns = x.shape
    return np.eye(rows, columns, node.get("k", 0), dtype=np.float32)


def depth_to_space(node: Node, x: Any) -> Any:
    """Channels become squares of pixels."""
    n, c, h, w = x.shape
    b = node.get("blocksize")
    if node.get("mode", "DCR") == "DCR":
        y = of(x).transpose(x.reshape(n, b, b, c // b**2, h, w), (0, 3, 4, 1, 5, 2))
    else:
        y = of(x).transpose(x.reshape(n, c // b**2, b, b, h, w), (0, 1, 4, 2, 5, 3))
    return y.reshape(n, c // b**2, h * b, w * b)


def space_to_depth(node: Node, x: Any) -> Any:
    """Squares of pixels become channels."""
    n, c, h, w = x.shape
    b = node.get("blocksize")
    y = x.reshape(n, c, h // b, b, w // b, b)
    return of(x).transpose(y, (0, 3, 5, 1, 2, 4)).reshape(n, -1, h // b, w // b)


def trilu(node: Node, x: Any, k: Any = None) -> Any:
    """A triangle, zeros elsewhere."""
    shift = 0 if k is None else ints(node, k, "diagonals")[0]
    return (of(x).triu if node.get("upper", 1) else of(x).tril)(x, shift)


def cumsum(node: Node, x: Any, axis: Any) -> Any:
    """Exclusive and reverse, if said."""
    (along,) = ints(node, axis, "axes")
    xp = of(x)
    y = xp.flip(x, along) if node.get("reverse", 0) else x
    total = xp.cumsum(y, along, dtype=x.dtype)
    total = total - y if node.get("exclusive", 0) else total
    return xp.flip(total, along) if node.get("reverse", 0) else total


def size_of(node: Node, x: Any) -> np.ndarray:
    """Static, whatever x is."""
    return np.array(int(np.prod(x.shape)), np.int64)


OPERATORS = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": concat,
    "Split": split,
    "Slice": cut,
    "Pad": pad,
    "Expand": expand,
    "Tile": tile,
    "Shape": shape_of,
    "Size": size_of,
    "ConstantOfShape": constant_of_shape,
    "Range": arange,
    "EyeLike": eye_like,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Trilu": trilu,
    "CumSum": cumsum,
}
