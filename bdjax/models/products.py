"""Matrix products in a chosen precision, forward and backward.

``"bfloat16"`` rounds the operands of every product, those of its gradients included,
and accumulates in float32; everything between products stays float32. On a CPU with
AMX such products are four times as fast as float32 ones, in these forms only: row-major
operands, the second one transposed or not, and a float32 result.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS = ("float32", "tf32", "bfloat16")

XLA_PRECISION = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "default"}


def rounded(x: jax.Array, precision: Precision) -> jax.Array:
    """An operand as the products of this precision take it."""
    return x.astype(jnp.bfloat16) if precision == "bfloat16" else x


def bits(x: jax.Array) -> jax.Array:
    """bfloat16 as integers of the same bits, anything else as it is.

    For copies, since XLA's CPU backend moves bfloat16 by way of float32.
    """
    if x.dtype != jnp.bfloat16:
        return x
    return lax.bitcast_convert_type(x, jnp.uint16)


def from_bits(x: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """What :func:`bits` was given."""
    return x if x.dtype == dtype else lax.bitcast_convert_type(x, dtype)


def flip(x_NxK: jax.Array) -> jax.Array:
    """``x.T``, laid out anew.

    A plain transpose XLA would fold into the product, and then take a slow one.
    """
    rows, columns = x_NxK.shape
    half = 2 if columns % 2 == 0 else 1
    x = x_NxK.reshape(rows, half, columns // half)
    return x.transpose(1, 2, 0).reshape(columns, rows)


def product(
    a_NxK: jax.Array, b: jax.Array, precision: Precision, *, transpose_b: bool = False
) -> jax.Array:
    """``a @ b``, or ``a @ b.T``, float32; no gradient is defined in this precision."""
    axis = 1 if transpose_b else 0
    return lax.dot_general(
        rounded(a_NxK, precision),
        rounded(b, precision),
        (((1,), (axis,)), ((), ())),
        precision=XLA_PRECISION[precision],
        preferred_element_type=jnp.float32,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(a_NxK: jax.Array, b_KxM: jax.Array, precision: Precision) -> jax.Array:
    """``a @ b``, whose gradients are products of the same precision."""
    return product(a_NxK, b_KxM, precision)


def _forward(a_NxK, b_KxM, precision):
    a_NxK, b_KxM = rounded(a_NxK, precision), rounded(b_KxM, precision)
    return product(a_NxK, b_KxM, precision), (a_NxK, b_KxM)


def _backward(precision, operands, grad_NxM):
    a_NxK, b_KxM = operands
    grad_NxM = rounded(grad_NxM, precision)
    grad_a = product(grad_NxM, b_KxM, precision, transpose_b=True)
    grad_b = product(flip(a_NxK), grad_NxM, precision)
    return grad_a, grad_b


matmul.defvjp(_forward, _backward)
