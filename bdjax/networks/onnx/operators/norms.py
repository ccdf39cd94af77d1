"""Normalisations and reductions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bdjax.networks.onnx.operators.common import Node, axes, of, unsupported

# What each reduction is, given NumPy or JAX's, the array, axes and ``keepdims``.
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": lambda xp, x, **how: xp.sum(x, dtype=x.dtype, **how),
    "ReduceMean": lambda xp, x, **how: xp.mean(x, **how),
    "ReduceMax": lambda xp, x, **how: xp.max(x, **how),
    "ReduceMin": lambda xp, x, **how: xp.min(x, **how),
    "ReduceProd": lambda xp, x, **how: xp.prod(x, dtype=x.dtype, **how),
    "ReduceL1": lambda xp, x, **how: xp.sum(xp.abs(x), dtype=x.dtype, **how),
    "ReduceL2": lambda xp, x, **how: xp.sqrt(xp.sum(x * x, dtype=x.dtype, **how)),
    "ReduceSumSquare": lambda xp, x, **how: xp.sum(x * x, dtype=x.dtype, **how),
    "ReduceLogSum": lambda xp, x, **how: xp.log(xp.sum(x, **how)),
    "ReduceLogSumExp": lambda xp, x, **how: jax.nn.logsumexp(x, **how),
}


def reduction(function: Callable[..., Any]) -> Any:
    """All axes without ``axes``, or none if ``noop_with_empty_axes``."""

    def operator(node, x, which=None):
        chosen = axes(node, which, x.ndim)
        if not chosen:
            chosen = () if node.get("noop_with_empty_axes", 0) else None
        keep = bool(node.get("keepdims", 1))
        return function(of(x), x, axis=chosen, keepdims=keep)

    return operator


def _per_channel(a, x):
    return a.reshape(-1, *[1] * (x.ndim - 2))


def batch_norm(node: Node, x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
    """By stored statistics."""
    if node.get("training_mode", 0):
        raise unsupported(node, "in training mode")
    factor = scale * lax.rsqrt(jnp.asarray(var) + node.get("epsilon", 1e-5))
    return (x - _per_channel(mean, x)) * _per_channel(factor, x) + _per_channel(bias, x)


def _standardised(x, over, epsilon):
    mean = x.mean(over, keepdims=True)
    centred = x - mean
    inverse = lax.rsqrt(jnp.mean(centred**2, over, keepdims=True) + epsilon)
    return centred * inverse, mean, inverse


def layer_norm(node: Node, x: Any, scale: Any, bias: Any = None) -> tuple[Any, ...]:
    """Over the last axes."""
    over = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    y, mean, inverse = _standardised(x, over, node.get("epsilon", 1e-5))
    y = y * scale
    return (y if bias is None else y + bias), mean, inverse


def rms_norm(node: Node, x: Any, scale: Any) -> Any:
    """Over the last axes, without their mean."""
    over = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    power = jnp.mean(x**2, over, keepdims=True)
    return x * lax.rsqrt(power + node.get("epsilon", 1e-5)) * scale


def instance_norm(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    """Over each channel of each example."""
    y, _, _ = _standardised(x, tuple(range(2, x.ndim)), node.get("epsilon", 1e-5))
    return y * _per_channel(scale, x) + _per_channel(bias, x)


def group_norm(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    """Scales are of channels; of groups before version 21."""
    groups, channels = node.get("num_groups"), x.shape[1]
    y, _, _ = _standardised(
        x.reshape(len(x), groups, -1), (2,), node.get("epsilon", 1e-5)
    )
    if node.opset < 21:
        scale, bias = (jnp.repeat(a, channels // groups) for a in (scale, bias))
    return y.reshape(x.shape) * _per_channel(scale, x) + _per_channel(bias, x)


def lp_norm(node: Node, x: Any) -> Any:
    """To length one; zeros stay."""
    axis = node.get("axis", -1)
    if node.get("p", 2) == 1:
        length = jnp.sum(jnp.abs(x), axis, keepdims=True)
    else:
        square = jnp.sum(x * x, axis, keepdims=True)
        length = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return jnp.where(length > 0, x / jnp.where(length > 0, length, 1), 0)


def local_response(node: Node, x: Any) -> Any:
    """By the squares of the channels around."""
    size = node.get("size")
    before = (size - 1) // 2
    pad = [(0, 0)] * x.ndim
    pad[1] = (before, size - 1 - before)
    squares = jnp.pad(x * x, pad)
    total = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    factor = node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * total
    return x / factor ** node.get("beta", 0.75)


def mean_variance(node: Node, x: Any) -> Any:
    """To mean 0 and variance 1."""
    over = tuple(node.get("axes", (0, 2, 3)))
    centred = x - x.mean(over, keepdims=True)
    return centred / (jnp.std(x, over, keepdims=True) + np.float32(1e-9))


OPERATORS = {
    **{name: reduction(function) for name, function in REDUCTIONS.items()},
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "LpNormalization": lp_norm,
    "LRN": local_response,
    "MeanVarianceNormalization": mean_variance,
}
