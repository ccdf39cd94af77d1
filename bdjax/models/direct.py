"""Convolution by ``lax.conv``, whose gradients are written as forward convolutions.

XLA's CPU backend is fast, inside loops too, for a convolution of channels-last images
with a kernel in the usual layout, and 30 to 50 times slower for the layouts that
differentiating it yields.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from bdjax.models.products import XLA_PRECISION, Precision, rounded


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(
    x_NxHxWxC: jax.Array,
    kernel_KxKxCxF: jax.Array,
    padding: int,
    precision: Precision,
) -> jax.Array:
    """Convolution of stride 1, float32; see :func:`bdjax.models.conv.conv_relu`."""
    return lax_conv(x_NxHxWxC, kernel_KxKxCxF, padding, precision, jnp.float32)


def lax_conv(
    x_NxHxWxC: jax.Array,
    kernel_KxKxCxF: jax.Array,
    padding: int,
    precision: Precision,
    out: jnp.dtype | None = None,
) -> jax.Array:
    """``lax.conv`` of stride 1 on rounded operands, differentiated by JAX.

    Args:
      x_NxHxWxC: float32.
      kernel_KxKxCxF: float32.
      padding: on every side.
      precision: of the products.
      out: the result's type; None for that of the operands, which JAX can
        differentiate.
    """
    return lax.conv_general_dilated(
        rounded(x_NxHxWxC, precision),
        rounded(kernel_KxKxCxF, precision),
        window_strides=(1, 1),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=XLA_PRECISION[precision],
        preferred_element_type=out,
    )


def _forward(x, kernel, padding, precision):
    return conv(x, kernel, padding, precision), (x, kernel)


def _backward(padding, precision, operands, grad_NxHxWxF):
    x_NxHxWxC, kernel_KxKxCxF = operands
    flipped = kernel_KxKxCxF[::-1, ::-1].swapaxes(2, 3)
    around = len(kernel_KxKxCxF) - 1 - padding
    grad_x = lax_conv(grad_NxHxWxF, flipped, around, precision, jnp.float32)
    grad_kernel = _kernel_gradient(
        x_NxHxWxC, grad_NxHxWxF, len(kernel_KxKxCxF), padding, precision
    )
    return grad_x, grad_kernel


def _kernel_gradient(
    x_NxHxWxC: jax.Array,
    grad_NxHxWxF: jax.Array,
    size: int,
    padding: int,
    precision: Precision,
) -> jax.Array:
    """Input, shifted by each place in the kernel, times output gradient."""
    around = (padding, padding)
    x = jnp.pad(rounded(x_NxHxWxC, precision), ((0, 0), around, around, (0, 0)))
    features = grad_NxHxWxF.shape[3]
    grad_LxF = rounded(grad_NxHxWxF, precision).reshape(-1, features)
    window = (*grad_NxHxWxF.shape[:3], x.shape[3])

    def place(i: jax.Array) -> jax.Array:
        part = lax.dynamic_slice(x, (0, i // size, i % size, 0), window)
        return lax.dot_general(
            part.reshape(-1, x.shape[3]),
            grad_LxF,
            (((0,), (0,)), ((), ())),
            precision=XLA_PRECISION[precision],
            preferred_element_type=jnp.float32,
        )

    grad_KxCxF = lax.map(place, jnp.arange(size**2))
    return grad_KxCxF.reshape(size, size, -1, features)


conv.defvjp(_forward, _backward)
