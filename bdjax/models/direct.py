"""Convolution of any stride whose gradients are written as forward ones.

By ``lax.conv``: XLA's CPU backend is fast, inside loops too, for a convolution of
channels-last images with a kernel in the usual layout, and 30 to 50 times slower for
the layouts that differentiating it yields.

Or as one product of all patches with a matrix: under ``vmap`` over models it stays a
(batched) matrix product, where ``lax.conv`` becomes a grouped convolution. Patches are
gathered again for the gradient rather than kept, since they take as many times the
input's memory as the kernel has places.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from bdjax.models.products import XLA_PRECISION, Precision, product, rounded


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def conv(
    x_NxHxWxC: jax.Array,
    kernel_KxKxCxF: jax.Array,
    padding: int,
    precision: Precision,
    stride: int = 1,
    gathers: bool = False,
) -> jax.Array:
    """Convolution, float32, by ``lax.conv`` or, if it ``gathers``, of patches.

    See :func:`bdjax.models.conv.conv`.
    """
    if not gathers:
        out = jnp.float32
        return lax_conv(x_NxHxWxC, kernel_KxKxCxF, padding, precision, stride, out=out)
    size, _, _, features = kernel_KxKxCxF.shape
    patches = _patches(rounded(x_NxHxWxC, precision), size, padding, stride)
    *places, depth = patches.shape
    matrix_PxF = kernel_KxKxCxF.reshape(depth, features)
    y_LxF = product(patches.reshape(-1, depth), matrix_PxF, precision)
    return y_LxF.reshape(*places, features)


def lax_conv(
    x_NxHxWxC: jax.Array,
    kernel_KxKxCxF: jax.Array,
    padding: int,
    precision: Precision,
    stride: int = 1,
    *,
    out: jnp.dtype | None = None,
) -> jax.Array:
    """``lax.conv`` on rounded operands, differentiated by JAX.

    Args:
      x_NxHxWxC: float32.
      kernel_KxKxCxF: float32.
      padding: on every side.
      precision: of the products.
      stride: in both directions.
      out: the result's type; None for that of the operands, which JAX can
        differentiate.
    """
    return lax.conv_general_dilated(
        rounded(x_NxHxWxC, precision),
        rounded(kernel_KxKxCxF, precision),
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=XLA_PRECISION[precision],
        preferred_element_type=out,
    )


def spread(
    grad_NxHxWxF: jax.Array,
    shape: tuple[int, ...],
    size: int,
    padding: int,
    stride: int,
) -> jax.Array:
    """The output gradient of a strided convolution as one of stride 1 would have it.

    With zeros between its rows and columns and, where the stride leaves the last ones
    of the input out, behind them; its convolution with the flipped kernel, of padding
    ``size - 1 - padding``, is the gradient of the input.

    Args:
      grad_NxHxWxF: float.
      shape: of the convolution's input, NHWC.
      size: of the kernel.
      padding: of the convolution.
      stride: of the convolution.
    """
    if stride == 1:
        return grad_NxHxWxF
    # Written out, since XLA's CPU backend is slow for convolutions that dilate.
    behind = [
        (0, places + 2 * padding - size - (rows - 1) * stride, stride - 1)
        for places, rows in zip(shape[1:3], grad_NxHxWxF.shape[1:3], strict=True)
    ]
    zero = jnp.zeros((), grad_NxHxWxF.dtype)
    return lax.pad(grad_NxHxWxF, zero, [(0, 0, 0), *behind, (0, 0, 0)])


def _forward(x, kernel, *options):
    return conv(x, kernel, *options), (x, kernel)


def _backward(padding, precision, stride, gathers, operands, grad_NxHxWxF):
    x_NxHxWxC, kernel_KxKxCxF = operands
    size = len(kernel_KxKxCxF)
    flipped = kernel_KxKxCxF[::-1, ::-1].swapaxes(2, 3)
    wide = spread(grad_NxHxWxF, x_NxHxWxC.shape, size, padding, stride)
    grad_x = conv(wide, flipped, size - 1 - padding, precision, 1, gathers)
    x_NxHxWxC = rounded(x_NxHxWxC, precision)
    grad_NxHxWxF = rounded(grad_NxHxWxF, precision)
    if not gathers:
        grad_kernel = _kernel_gradient(
            x_NxHxWxC, grad_NxHxWxF, size, padding, precision, stride
        )
        return grad_x, grad_kernel
    grad_PxF = lax.dot_general(
        _patches(x_NxHxWxC, size, padding, stride),
        grad_NxHxWxF,
        (((0, 1, 2), (0, 1, 2)), ((), ())),
        precision=XLA_PRECISION[precision],
        preferred_element_type=jnp.float32,
    )
    return grad_x, grad_PxF.reshape(kernel_KxKxCxF.shape)


def _patches(x_NxHxWxC: jax.Array, size: int, padding: int, stride: int) -> jax.Array:
    """The patch under every output place: ``[N, H', W', K * K * C]``."""
    around = (padding, padding)
    x = jnp.pad(x_NxHxWxC, ((0, 0), around, around, (0, 0)))
    rows, columns = ((s - size) // stride * stride + 1 for s in x.shape[1:3])
    parts = [
        x[:, a : a + rows : stride, b : b + columns : stride]
        for a in range(size)
        for b in range(size)
    ]
    return jnp.concatenate(parts, axis=3)


def _kernel_gradient(
    x_NxHxWxC: jax.Array,
    grad_NxHxWxF: jax.Array,
    size: int,
    padding: int,
    precision: Precision,
    stride: int,
) -> jax.Array:
    """Input, shifted by each place in the kernel, times output gradient."""
    around = (padding, padding)
    x = jnp.pad(x_NxHxWxC, ((0, 0), around, around, (0, 0)))
    batch, rows, columns, features = grad_NxHxWxF.shape
    grad_LxF = grad_NxHxWxF.reshape(-1, features)
    reach = ((rows - 1) * stride + 1, (columns - 1) * stride + 1)
    window = (batch, *reach, x.shape[3])

    def place(i: jax.Array) -> jax.Array:
        part = lax.dynamic_slice(x, (0, i // size, i % size, 0), window)
        if stride > 1:
            part = part[:, ::stride, ::stride]
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
