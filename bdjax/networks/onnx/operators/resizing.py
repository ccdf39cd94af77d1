"""Resize: along every axis a product with a static matrix."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from bdjax.networks.onnx.operators.common import Node, axes, static, unsupported


def resize(
    node: Node, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None
) -> Any:
    """By scales or to sizes; nearest, linear or cubic."""
    if node.get("antialias", 0):
        raise unsupported(node, "with antialias")
    if node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise unsupported(node, "that keeps the aspect ratio")
    over = axes(node, None, x.ndim) or tuple(range(x.ndim))
    if sizes is not None and np.size(static(node, sizes, "sizes")):
        to = [int(n) for n in static(node, sizes, "sizes")]
        by = [n / x.shape[a] for n, a in zip(to, over, strict=True)]
    else:
        by = [float(s) for s in static(node, scales, "scales")]
        to = [int(np.floor(x.shape[a] * s)) for s, a in zip(by, over, strict=True)]
    for axis, scale, size in zip(over, by, to, strict=True):
        if scale == 1:
            continue
        if node.get("mode", "nearest") == "nearest":
            index = _nearest(node, _places(node, x.shape[axis], size, scale))
            x = jnp.take(x, np.clip(index, 0, x.shape[axis] - 1), axis)
        else:
            matrix = _matrix(node, x.shape[axis], size, scale)
            x = jnp.moveaxis(jnp.tensordot(x, matrix, (axis, 1)), -1, axis)
    return x


def _places(node, before, after, scale):
    """Where the new elements lie among the old ones."""
    i = np.arange(after, dtype=np.float64)
    mode = node.get("coordinate_transformation_mode", "half_pixel")
    if mode == "align_corners":
        return i * (before - 1) / (after - 1) if after > 1 else 0 * i
    if mode == "asymmetric":
        return i / scale
    if mode == "pytorch_half_pixel" and after == 1:
        return 0 * i
    if mode == "half_pixel_symmetric":
        shift = before / 2 * (1 - after / (scale * before))
        return shift + (i + 0.5) / scale - 0.5
    if mode not in ("half_pixel", "pytorch_half_pixel"):
        raise unsupported(node, f"by {mode}")
    return (i + 0.5) / scale - 0.5


def _nearest(node, places):
    rule = node.get("nearest_mode", "round_prefer_floor")
    rules: dict[str, Callable[..., Any]] = {
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    return rules[rule](places).astype(np.int64)


def _matrix(node, before, after, scale):
    """float32 ``[after, before]``."""
    places = _places(node, before, after, scale)
    first = np.floor(places)
    part = places - first
    if node.get("mode") == "linear":
        taps = [(0, 1 - part), (1, part)]
    else:
        a = node.get("cubic_coeff_a", -0.75)
        taps = [(t, _cubic(np.abs(part - t), a)) for t in (-1, 0, 1, 2)]
    matrix = np.zeros((after, before))
    rows = np.arange(after)
    for tap, weight in taps:
        index = (first + tap).astype(int)
        if node.get("exclude_outside", 0):
            weight = np.where((index >= 0) & (index < before), weight, 0)
        np.add.at(matrix, (rows, np.clip(index, 0, before - 1)), weight)
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)


def _cubic(d, a):
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


OPERATORS = {"Resize": resize}
