"""Arithmetic and memory traffic of any traceable function, read off its jaxpr."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval

from bdjax.types import PyTree

# What fuses into nothing: these read their operands from memory, write to it, or both.
_READS = {"dynamic_slice", "gather"}
_WRITES = {"dynamic_update_slice": 1, "scatter": 2, "scatter-add": 2}
_PRODUCTS = {"dot_general", "conv_general_dilated"}
_WHOLE = {"reduce_window_max", "reduce_window_sum", "select_and_scatter_add", "sort"}


@dataclasses.dataclass(frozen=True, order=True)
class Work:
    """Arithmetic and traffic of a computation.

    Attributes:
      flops: of matrix products and convolutions, two a multiply-add. Elementwise
        operations do not count: next to products they are limited by memory.
      bytes: least that moves from and to memory, were every elementwise operation
        fused into its neighbours: operands and results of products, slices copied,
        pooling windows. What caches keep from memory is not taken off.
    """

    flops: int
    bytes: int

    def __mul__(self, times: float) -> "Work":
        """So many times the work."""
        return Work(round(times * self.flops), round(times * self.bytes))

    def __add__(self, other: "Work") -> "Work":
        """Both, one after the other."""
        return Work(self.flops + other.flops, self.bytes + other.bytes)


def shape_of(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array in name only, for whatever takes arrays and is only traced."""
    return jax.ShapeDtypeStruct(shape, dtype)


def tree_bytes(tree: PyTree) -> int:
    """Bytes of all leaves, arrays or shapes of them."""
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(tree))


def count_work(function: Callable, *shapes: PyTree) -> Work:
    """Work of ``function(*shapes)``, from its jaxpr.

    A loop counts as often as it runs, where that is static; a ``while`` loop whose
    bound is data counts *once*. Of a branch, the costliest counts.

    Args:
      function: any traceable function.
      shapes: its arguments, arrays or ``jax.ShapeDtypeStruct``.
    """
    return _walk(jax.make_jaxpr(function)(*shapes).jaxpr)


def _walk(jaxpr: core.Jaxpr) -> Work:
    # As XLA does. The input gradient of a first layer, say, is traced but not used.
    jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    total = Work(0, 0)
    for equation in jaxpr.eqns:
        inner = [_walk(_open(j)) for j in core.jaxprs_in_params(equation.params)]
        if not inner or equation.primitive.name in _WRITES:  # scatters hold one, too
            total += _own(equation)
        elif equation.primitive.name == "cond":
            total += max(inner)
        else:
            times = equation.params.get("length", 1)
            total += functools.reduce(Work.__add__, inner) * times
    return total


def _open(jaxpr: Any) -> core.Jaxpr:
    return jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr


def _own(equation: core.JaxprEqn) -> Work:
    """Work of an equation that holds no other."""
    name = equation.primitive.name
    read = [v.aval for v in equation.invars]
    written = [v.aval for v in equation.outvars]
    if name in _READS:
        return Work(0, tree_bytes(written))
    if name in _WRITES:
        # dynamic_update_slice(operand, update, ...), scatter(operand, indices, update)
        return Work(0, tree_bytes(read[_WRITES[name]]))
    if name in _WHOLE:
        return Work(0, tree_bytes((read, written)))
    if name not in _PRODUCTS:
        return Work(0, 0)
    count = _dot if name == "dot_general" else _convolution
    return Work(
        2 * count(equation.params, *read, *written), tree_bytes((read, written))
    )


def _dot(params: dict[str, Any], lhs: Any, rhs: Any, out: Any) -> int:
    del rhs
    (contracted, _), _ = params["dimension_numbers"]
    return math.prod(out.shape) * math.prod(lhs.shape[d] for d in contracted)


def _convolution(params: dict[str, Any], lhs: Any, rhs: Any, out: Any) -> int:
    """Multiply-adds of a convolution but those with zeros of padding and dilation."""
    numbers = params["dimension_numbers"]
    places = math.prod(
        _meetings(lhs.shape[i], rhs.shape[k], out.shape[o], *settings)
        for i, k, o, *settings in zip(
            numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:],
            params["window_strides"], params["padding"],
            params["lhs_dilation"], params["rhs_dilation"],
            strict=True,
        )
    )  # fmt: skip
    batch, features = (out.shape[d] for d in numbers.out_spec[:2])
    return places * batch * features * rhs.shape[numbers.rhs_spec[1]]


def _meetings(
    size: int,
    taps: int,
    outputs: int,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    spread: int,
) -> int:
    """Pairs of output and tap along one axis that meet a true element of the input."""
    output, tap = np.arange(outputs)[:, None], np.arange(taps)
    at = output * stride + tap * spread - padding[0]
    inside = (at >= 0) & (at < (size - 1) * dilation + 1)
    return int((inside & (at % dilation == 0)).sum())
