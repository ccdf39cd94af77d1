"""Functions of JAX whose gradient is fast in a loop on a CPU.

A function's program is run with its convolutions and max-pools replaced by such as have
gradients that XLA's CPU backend is fast at inside loops; see
:mod:`bdjax.networks.convolution`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from bdjax.networks.base import Apply
from bdjax.networks.convolution import convolve, first_max
from bdjax.networks.penultimate import CALLS
from bdjax.types import PyTree


def quick(apply: Apply) -> Apply:
    """The same function, with values and gradients that differ by rounding only."""

    def quicker(variables: PyTree, x: jax.Array) -> jax.Array:
        closed = jax.make_jaxpr(apply)(variables, x)
        args = jax.tree.leaves((variables, x))
        (y,) = _run(closed.jaxpr, closed.consts, args)
        return y

    return quicker


def _run(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def of(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        found = _outcome(eqn, [of(v) for v in eqn.invars])
        values.update(zip(eqn.outvars, found, strict=True))
    return [of(v) for v in jaxpr.outvars]


def _outcome(eqn: JaxprEqn, inputs: list[Any]) -> Sequence[Any]:
    inner = eqn.params.get(CALLS.get(eqn.primitive.name, ""))
    if isinstance(inner, ClosedJaxpr):
        return _run(inner.jaxpr, inner.consts, inputs)
    if inner is not None:
        return _run(inner, (), inputs)
    replaced = _REPLACED.get(eqn.primitive.name, lambda eqn, *inputs: None)
    if (y := replaced(eqn, *inputs)) is not None:
        return [y]
    bound = eqn.primitive.get_bind_params(eqn.params)
    # Older versions of JAX give functions apart.
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    y = eqn.primitive.bind(*functions, *inputs, **params)
    return y if eqn.primitive.multiple_results else [y]


def _conv(eqn: JaxprEqn, x: Any, kernel: Any) -> Any:
    p, rank = eqn.params, x.ndim - 2
    plain = set(p["lhs_dilation"]) <= {1} and p["batch_group_count"] == 1
    result_type = p["preferred_element_type"] or x.dtype
    same = x.dtype == kernel.dtype == result_type
    if not (plain and same and p["precision"] is None and 1 <= rank <= 3):
        return None
    # Each is (batch, channels, *places) or (out, in, *places).
    given, weights, result = p["dimension_numbers"]
    y = convolve(
        jnp.transpose(x, (given[0], *given[2:], given[1])),
        jnp.transpose(kernel, (*weights[2:], weights[1], weights[0])),
        strides=p["window_strides"],
        pads=p["padding"],
        dilations=p["rhs_dilation"],
        groups=p["feature_group_count"],
    )
    places = dict(zip((result[0], *result[2:], result[1]), range(y.ndim), strict=True))
    return jnp.transpose(y, [places[axis] for axis in range(y.ndim)])


def _max(eqn: JaxprEqn, x: Any) -> Any:
    """The greatest of windows, one axis after the other, by slices."""
    p = eqn.params
    plain = set(p["base_dilation"]) <= {1} and jnp.issubdtype(x.dtype, jnp.floating)
    if not plain or sum(p["window_dimensions"]) - x.ndim > 16:
        return None
    each = zip(
        *(p[k] for k in ("window_dimensions", "window_strides", "padding")),
        p["window_dilation"],
        strict=True,
    )
    for axis, (size, stride, pads, dilation) in reversed(list(enumerate(each))):
        width = [(0, 0)] * x.ndim
        width[axis] = pads
        x = jnp.pad(x, width, constant_values=-jnp.inf) if any(pads) else x
        last = x.shape[axis] - (size - 1) * dilation
        parts = [
            jax.lax.slice_in_dim(x, i, i + last, stride, axis)
            for i in range(0, size * dilation, dilation)
        ]
        x = parts[0]
        for part in parts[1:]:
            x = first_max(x, part)
    return x


_REPLACED: dict[str, Callable[..., Any]] = {
    "conv_general_dilated": _conv,
    "reduce_window_max": _max,
}
