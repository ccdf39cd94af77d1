"""Convolution of any stride as one product of all patches with a matrix.

Under ``vmap`` over models it stays a (batched) matrix product, where ``lax.conv``
becomes a grouped convolution. Patches are gathered again for the gradient rather than
kept, since they take as many times the input's memory as the kernel has places.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from bdjax.models.direct import spread
from bdjax.models.products import XLA_PRECISION, Precision, product, rounded


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv(
    x_NxHxWxC: jax.Array,
    kernel_KxKxCxF: jax.Array,
    padding: int,
    precision: Precision,
    stride: int = 1,
) -> jax.Array:
    """Convolution, float32; see :func:`bdjax.models.conv.conv`."""
    return _correlate(x_NxHxWxC, kernel_KxKxCxF, padding, precision, stride)


def _forward(x, kernel, padding, precision, stride):
    return _correlate(x, kernel, padding, precision, stride), (x, kernel)


def _backward(padding, precision, stride, operands, grad_NxHxWxF):
    x_NxHxWxC, kernel_KxKxCxF = operands
    size, _, channels, features = kernel_KxKxCxF.shape
    flipped = kernel_KxKxCxF[::-1, ::-1].swapaxes(2, 3)
    wide = spread(grad_NxHxWxF, x_NxHxWxC.shape, size, padding, stride)
    grad_x = _correlate(wide, flipped, size - 1 - padding, precision, 1)
    grad_kernel = lax.dot_general(
        _patches(rounded(x_NxHxWxC, precision), size, padding, stride),
        rounded(grad_NxHxWxF, precision),
        (((0, 1, 2), (0, 1, 2)), ((), ())),
        precision=XLA_PRECISION[precision],
        preferred_element_type=jnp.float32,
    )
    return grad_x, grad_kernel.reshape(size, size, channels, features)


conv.defvjp(_forward, _backward)


def _correlate(
    x_NxHxWxC: jax.Array,
    kernel_KxKxCxF: jax.Array,
    padding: int,
    precision: Precision,
    stride: int,
) -> jax.Array:
    size, _, _, features = kernel_KxKxCxF.shape
    patches = _patches(rounded(x_NxHxWxC, precision), size, padding, stride)
    *places, depth = patches.shape
    matrix_PxF = kernel_KxKxCxF.reshape(depth, features)
    y_LxF = product(patches.reshape(-1, depth), matrix_PxF, precision)
    return y_LxF.reshape(*places, features)


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
