"""Convolutions that are fast in a loop and under ``vmap`` over models.

On a CPU, XLA runs the gradients of ``lax.conv`` inside a loop body 20 to 50 times
slower than outside, and under ``vmap`` over models every convolution becomes a grouped
one on any backend. The formulations here avoid one or both; which is the fastest
depends on backend, shape and precision, and never changes the result.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from bdjax.models import direct, im2col, tile
from bdjax.models.pool import max_pool
from bdjax.models.products import Precision, matmul

Formulation = Literal["auto", "tile", "im2col", "direct", "lax"]
FORMULATIONS = ("auto", "tile", "im2col", "direct", "lax")


def conv_relu(
    x_NxHxWxC: jax.Array,
    kernel_KxKxCxF: jax.Array,
    bias_F: jax.Array,
    *,
    padding: int = 0,
    pool: bool = False,
    formulation: Formulation = "auto",
    precision: Precision = "float32",
) -> jax.Array:
    """``relu(conv(x, kernel) + bias)``, and 2x2 max-pooling of it if ``pool``.

    All formulations give the same values and gradients up to rounding (in bfloat16
    ``"lax"``, which is for comparison, rounds its results, too), ties in a
    pooling window included (the first of the tied positions takes the gradient). A
    last odd row or column of a pooled convolution is dropped.

    Args:
      x_NxHxWxC: float32 activations.
      kernel_KxKxCxF: float32 kernel of odd size.
      bias_F: float32 bias.
      padding: rows and columns of zeros on every side, less than the kernel's size.
      pool: whether to pool.
      formulation: how to compute it; ``"auto"`` is :func:`fastest`.
      precision: of its matrix products, see :mod:`bdjax.models.products`.

    Returns:
      float32 ``[N, H + 2 * padding - K + 1, W + 2 * padding - K + 1, F]``, or half of
      that in height and width.

    Raises:
      ValueError: the kernel's size is even or not above the padding, or the image is
        smaller than it needs.
    """
    size = _checked_size(x_NxHxWxC, kernel_KxKxCxF, padding, pool)
    if size % 2 == 0:
        raise ValueError(f"kernel size is {size}; conv_relu needs an odd one")
    if formulation == "auto":
        formulation = fastest(size, pool, precision)
    if formulation == "tile" and pool:
        around = (padding, padding)
        x = jnp.pad(x_NxHxWxC, ((0, 0), around, around, (0, 0)))
        height, width = ((s - size + 1) // 2 * 2 + size - 1 for s in x.shape[1:3])
        x = x[:, :height, :width]
        x = x.transpose(3, 1, 2, 0)
        y = tile.conv_relu_pool(x, kernel_KxKxCxF, bias_F, precision)
        return y.transpose(3, 1, 2, 0)
    if formulation in ("tile", "im2col"):
        x = x_NxHxWxC.transpose(3, 1, 2, 0)
        y = im2col.conv_relu(x, kernel_KxKxCxF, bias_F, padding, precision)
        y = y.transpose(3, 1, 2, 0)
    else:
        convolve = direct.conv if formulation == "direct" else direct.lax_conv
        y = convolve(x_NxHxWxC, kernel_KxKxCxF, padding, precision)
        y = jax.nn.relu(y.astype(jnp.float32) + bias_F)
    return max_pool(y) if pool else y


def conv(
    x_NxHxWxC: jax.Array,
    kernel_KxKxCxF: jax.Array,
    *,
    stride: int = 1,
    padding: int = 0,
    formulation: Formulation = "auto",
    precision: Precision = "float32",
) -> jax.Array:
    """``conv(x, kernel)`` alone, of any kernel size and stride.

    ``"direct"`` and ``"lax"`` are :func:`conv_relu`'s; ``"im2col"`` and ``"tile"``
    are one product of all patches with a matrix, which under ``vmap`` over models is a
    batched product. A 1x1 kernel is a product in all but ``"lax"``.

    Args:
      x_NxHxWxC: float32 activations.
      kernel_KxKxCxF: float32 kernel.
      stride: in both directions; the first place is the corner.
      padding: rows and columns of zeros on every side, less than the kernel's size.
      formulation: how to compute it.
      precision: of its matrix products.

    Returns:
      float32 ``[N, (H + 2 * padding - K) // stride + 1, likewise W, F]``.

    Raises:
      ValueError: the kernel is not square or its size not above the padding, the
        stride is below 1, or the image is smaller than the kernel.
    """
    size = _checked_size(x_NxHxWxC, kernel_KxKxCxF, padding)
    if stride < 1:
        raise ValueError(f"stride is {stride}; it must be at least 1")
    how = padding, precision, stride
    if formulation == "lax":
        y = direct.lax_conv(x_NxHxWxC, kernel_KxKxCxF, *how)
        return y.astype(jnp.float32)
    if size == 1:
        x = x_NxHxWxC[:, ::stride, ::stride]
        y = matmul(x.reshape(-1, x.shape[3]), kernel_KxKxCxF[0, 0], precision)
        return y.reshape(*x.shape[:3], -1)
    if formulation == "auto":
        formulation = fastest(size, False, precision)
    return direct.conv(x_NxHxWxC, kernel_KxKxCxF, *how, formulation != "direct")


def _checked_size(
    x_NxHxWxC: jax.Array, kernel_KxKxCxF: jax.Array, padding: int, pool: bool = False
) -> int:
    """The kernel's size; raises ``ValueError`` if something does not fit it."""
    size = kernel_KxKxCxF.shape[0]
    if kernel_KxKxCxF.shape[1] != size:
        raise ValueError(f"kernel is {kernel_KxKxCxF.shape[:2]}; it must be square")
    if not 0 <= padding < size:
        raise ValueError(f"padding is {padding}; it must be below the kernel's {size}")
    least = size + pool - 2 * padding
    if min(x_NxHxWxC.shape[1:3]) < least:
        raise ValueError(
            f"image is {x_NxHxWxC.shape[1:3]}; a {size}x{size} kernel"
            f"{' with pooling' if pool else ''} needs at least {least} rows and columns"
        )
    return size


def fastest(size: int, pool: bool, precision: Precision) -> Formulation:
    """The formulation that was measured to be fastest.

    ``bdjax bench --set=formulations`` compares them. On an accelerator it is yet a
    guess: matrix products alone.

    Args:
      size: of the kernel.
      pool: whether pooling follows.
      precision: of the products.
    """
    half = precision == "bfloat16"
    if pool and (size >= 5 or half):
        return "tile"
    return "direct" if jax.default_backend() == "cpu" and not half else "im2col"
