"""Convolution as patches times matrix, a row of the output at a time.

The input is laid out once for every horizontal offset of the kernel, rows outermost, so
that the patches of an output row are ``K`` rows of that in one piece. They stay in the
cache between being gathered and being used, and are gathered again for the weight
gradient rather than kept. The input gradient is the convolution of the padded output
gradient with the flipped kernel, so that one routine does all the work.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from bdjax.models.products import Precision, bits, from_bits, product, rounded


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def conv_relu(
    x_CxHxWxN: jax.Array,
    kernel_KxKxCxF: jax.Array,
    bias_F: jax.Array,
    padding: int,
    precision: Precision,
) -> jax.Array:
    """``relu(conv(x, kernel) + bias)``; see :func:`bdjax.models.conv.conv_relu`."""
    return _forward(x_CxHxWxN, kernel_KxKxCxF, bias_F, padding, precision)[0]


def _forward(x_CxHxWxN, kernel_KxKxCxF, bias_F, padding, precision):
    x = _padded(rounded(x_CxHxWxN, precision), padding)
    y = _correlate(x, kernel_KxKxCxF, precision, bias_F)
    return y, (x, kernel_KxKxCxF, y)


def _backward(padding, precision, residuals, grad):
    x, kernel_KxKxCxF, y = residuals
    size = kernel_KxKxCxF.shape[0]
    grad = jnp.where(y > 0, grad, 0)
    grad_bias = grad.sum((1, 2, 3))
    grad = rounded(grad, precision)
    flipped = kernel_KxKxCxF[::-1, ::-1].swapaxes(2, 3)
    wide = _padded(grad, size - 1 - padding)
    return (
        _correlate(wide, flipped, precision),
        _kernel_gradient(x, grad, size, precision),
        grad_bias,
    )


conv_relu.defvjp(_forward, _backward)


def _correlate(
    x_CxHxWxN: jax.Array,
    kernel_KxKxCxF: jax.Array,
    precision: Precision,
    bias_F: jax.Array | None = None,
) -> jax.Array:
    """Valid convolution, and ReLU after a bias; float32 ``[F, H', W', N]``."""
    rows = _Rows(x_CxHxWxN, kernel_KxKxCxF.shape[0])
    features = kernel_KxKxCxF.shape[3]
    matrix_FxP = kernel_KxKxCxF.transpose(3, 0, 1, 2).reshape(features, -1)
    matrix_FxP = rounded(matrix_FxP, precision)

    def row(h: jax.Array, out: jax.Array) -> jax.Array:
        y_FxL = product(matrix_FxP, rows.patches(h), precision)
        if bias_F is not None:
            y_FxL = jax.nn.relu(y_FxL + bias_F[:, None])
        return lax.dynamic_update_slice_in_dim(out, y_FxL[:, None], h, 1)

    out = jnp.zeros((features, rows.height, rows.length))
    out = lax.fori_loop(0, rows.height, row, out)
    return out.reshape(features, rows.height, -1, x_CxHxWxN.shape[3])


def _kernel_gradient(
    x_CxHxWxN: jax.Array, grad_FxHxWxN: jax.Array, size: int, precision: Precision
) -> jax.Array:
    """Sum over all places of output gradient times patch, float32 ``[K, K, C, F]``."""
    rows = _Rows(x_CxHxWxN, size)
    features, channels = len(grad_FxHxWxN), len(x_CxHxWxN)
    grad_FxHxL = bits(grad_FxHxWxN).reshape(features, rows.height, -1)

    def row(h: jax.Array, out: jax.Array) -> jax.Array:
        grad_FxL = lax.dynamic_index_in_dim(grad_FxHxL, h, 1, keepdims=False)
        grad_FxL = from_bits(grad_FxL, grad_FxHxWxN.dtype)
        return out + product(grad_FxL, rows.patches(h), precision, transpose_b=True)

    out = jnp.zeros((features, size * size * channels))
    out = lax.fori_loop(0, rows.height, row, out)
    return out.reshape(features, size, size, channels).transpose(1, 2, 3, 0)


class _Rows:
    """The rows of a valid convolution's output.

    All shapes end in width times batch as one axis: an offset in width is then one of
    the flat index, copies are of long runs, and XLA's loops have no indices to take
    apart.

    Attributes:
      height: how many there are.
      length: width times batch of the output.
    """

    def __init__(self, x_CxHxWxN: jax.Array, size: int):
        channels, height, width, batch = x_CxHxWxN.shape
        self._dtype = x_CxHxWxN.dtype
        self._step, self._depth = size * channels, size * size * channels
        self.height, self.length = height - size + 1, (width - size + 1) * batch
        x_HxCxL = bits(x_CxHxWxN).transpose(1, 0, 2, 3).reshape(height, channels, -1)

        def shift(offset: jax.Array, out: jax.Array) -> jax.Array:
            part = lax.dynamic_slice_in_dim(x_HxCxL, offset * batch, self.length, 2)
            return lax.dynamic_update_slice_in_dim(out, part, offset * channels, 1)

        # A loop, because XLA fuses copies without one into a single slow gather.
        out = jnp.zeros((height, self._step, self.length), x_HxCxL.dtype)
        out = lax.fori_loop(0, size, shift, out)
        self._shifted = out.reshape(-1, self.length)

    def patches(self, h: jax.Array) -> jax.Array:
        """The patches of output row ``h``, one a column: ``[K * K * C, W' * N]``."""
        part = lax.dynamic_slice_in_dim(self._shifted, h * self._step, self._depth, 0)
        return from_bits(part, self._dtype)


def _padded(x_CxHxWxN: jax.Array, padding: int) -> jax.Array:
    around = (padding, padding)
    return jnp.pad(x_CxHxWxN, ((0, 0), around, around, (0, 0)))
