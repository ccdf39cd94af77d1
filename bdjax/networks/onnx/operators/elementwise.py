"""Operators that act on every element."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.networks.onnx.operators.common import (
    DTYPES,
    Node,
    cast,
    of,
    static,
    unsupported,
)

Operator = Callable[..., Any]

# Operators that NumPy and JAX have under these names.
SAME = {
    "Abs": "abs", "Neg": "negative", "Exp": "exp", "Log": "log", "Sqrt": "sqrt",
    "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign", "Sin": "sin",
    "Cos": "cos", "Tan": "tan", "Asin": "arcsin", "Acos": "arccos", "Atan": "arctan",
    "Sinh": "sinh", "Cosh": "cosh", "Tanh": "tanh", "Asinh": "arcsinh",
    "Acosh": "arccosh", "Atanh": "arctanh", "Not": "logical_not", "IsNaN": "isnan",
    "Add": "add", "Sub": "subtract", "Mul": "multiply", "And": "logical_and",
    "Or": "logical_or", "Xor": "logical_xor", "Equal": "equal", "Less": "less",
    "Greater": "greater", "LessOrEqual": "less_equal",
    "GreaterOrEqual": "greater_equal", "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor",
    "BitwiseNot": "bitwise_not",
}  # fmt: skip


def same(name: str) -> Operator:
    """The operator that NumPy and JAX call ``name``."""
    return lambda node, *inputs: getattr(of(*inputs), name)(*inputs)


def folded(name: str) -> Operator:
    """An operator of two, over any number of inputs."""

    def operator(node, first, *others):
        for other in others:
            first = getattr(of(first, other), name)(first, other)
        return first

    return operator


def mean(node: Node, *inputs: Any) -> Any:
    """Of all inputs."""
    return folded("add")(node, *inputs) / np.float32(len(inputs))


def div(node: Node, a: Any, b: Any) -> Any:
    """Whole numbers are cut toward zero."""
    xp = of(a, b)
    if not np.issubdtype(a.dtype, np.integer):
        return xp.divide(a, b)
    return xp.abs(a) // xp.abs(b) * xp.sign(a) * xp.sign(b)


def mod(node: Node, a: Any, b: Any) -> Any:
    """The remainder, with the divisor's sign or the dividend's."""
    return (of(a, b).fmod if node.get("fmod", 0) else of(a, b).mod)(a, b)


def power(node: Node, a: Any, b: Any) -> Any:
    """A whole static exponent is a product, whose gradient has no logarithm."""
    whole = not isinstance(b, jax.Array) and np.ndim(b) == 0 and float(b).is_integer()
    return cast(of(a, b).power(a, int(b) if whole and b >= 0 else b), a.dtype)


def clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    """Bounds are inputs, or attributes in old versions."""
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    xp = of(x, low, high)
    x = x if low is None else cast(xp.maximum(x, low), x.dtype)
    return x if high is None else cast(xp.minimum(x, high), x.dtype)


def where(node: Node, condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition holds."""
    return of(condition, a, b).where(condition, a, b)


def is_inf(node: Node, x: Any) -> Any:
    """Of the signs asked for."""
    found = of(x).isinf(x)
    if not node.get("detect_negative", 1):
        found = found & (x > 0)
    return found if node.get("detect_positive", 1) else found & (x < 0)


def softmax(function: Operator) -> Operator:
    """Before version 13, all axes from the given one on are one."""

    def operator(node, x):
        if node.opset >= 13:
            return function(x, axis=node.get("axis", -1))
        axis = node.get("axis", 1) % max(x.ndim, 1)
        rows = int(np.prod(x.shape[:axis]))
        return function(x.reshape(rows, -1), axis=-1).reshape(x.shape)

    return operator


def hardmax(node: Node, x: Any) -> Any:
    """One for the first maximum."""
    axis = node.get("axis", -1)
    best = jnp.argmax(x, axis)
    return jax.nn.one_hot(best, x.shape[axis], axis=axis, dtype=x.dtype)


def gelu(node: Node, x: Any) -> Any:
    """Exact or by tanh."""
    return jax.nn.gelu(x, approximate=node.get("approximate", "none") == "tanh")


def hard_sigmoid(node: Node, x: Any) -> Any:
    """A clipped line."""
    return jnp.clip(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0, 1)


def selu(node: Node, x: Any) -> Any:
    """With the constants of the attributes."""
    alpha, gamma = node.get("alpha", 1.6732632), node.get("gamma", 1.0507010)
    return gamma * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0)))


def shrink(node: Node, x: Any) -> Any:
    """Zero within ``lambd``, beyond it nearer by ``bias``."""
    bound, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    return jnp.where(x < -bound, x + bias, jnp.where(x > bound, x - bias, 0))


def to_type(node: Node, x: Any) -> Any:
    """Half and double precision become single precision."""
    number = node.get("to")
    if number not in DTYPES:
        raise unsupported(node, f"to type {number}")
    return cast(x, DTYPES[number])


def dropout(node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    """Nothing, in inference; a mask that keeps all."""
    if training is not None and static(node, training, "training modes").any():
        raise unsupported(node, "in training mode")
    return x, np.ones(x.shape, bool)


OPERATORS: dict[str, Operator] = {
    **{name: same(other) for name, other in SAME.items()},
    "Sum": folded("add"),
    "Max": folded("maximum"),
    "Min": folded("minimum"),
    "Mean": mean,
    "Div": div,
    "Mod": mod,
    "Pow": power,
    "Reciprocal": lambda node, x: 1 / x,
    "Clip": clip,
    "Where": where,
    "IsInf": is_inf,
    "Cast": to_type,
    "CastLike": lambda node, x, like: cast(x, like.dtype),
    "Identity": lambda node, x: x,
    "Dropout": dropout,
    "Relu": lambda node, x: jax.nn.relu(x),
    "LeakyRelu": lambda node, x: jax.nn.leaky_relu(x, node.get("alpha", 0.01)),
    "ThresholdedRelu": lambda node, x: jnp.where(x > node.get("alpha", 1.0), x, 0),
    "PRelu": lambda node, x, slope: jnp.where(x < 0, slope * x, x),
    "Elu": lambda node, x: jax.nn.elu(x, node.get("alpha", 1.0)),
    "Celu": lambda node, x: jax.nn.celu(x, node.get("alpha", 1.0)),
    "Selu": selu,
    "Gelu": gelu,
    "Erf": lambda node, x: jax.scipy.special.erf(x),
    "Sigmoid": lambda node, x: jax.nn.sigmoid(x),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda node, x: x * jnp.clip(x / 6 + 0.5, 0, 1),
    "Swish": lambda node, x: x * jax.nn.sigmoid(node.get("alpha", 1.0) * x),
    "Mish": lambda node, x: x * jnp.tanh(jax.nn.softplus(x)),
    "Softplus": lambda node, x: jax.nn.softplus(x),
    "Softsign": lambda node, x: x / (1 + jnp.abs(x)),
    "Shrink": shrink,
    "Softmax": softmax(jax.nn.softmax),
    "LogSoftmax": softmax(jax.nn.log_softmax),
    "Hardmax": hardmax,
}
