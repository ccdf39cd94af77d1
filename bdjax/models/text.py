"""Kim's convolutional network for sentences (EMNLP 2014; MNTD's official code).

It reads word vectors: which ones, and that they are not trained, is its caller's
business. All its filters of all widths are one product with every word, of which
shifted slices are summed: a twelfth of the patches' memory, one large product under
``vmap``, and no convolution. Of the maximum over time only one place a filter has a
gradient, so that this is written by hand.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from bdjax.models.layers import Network, torch_bias, torch_kernel
from bdjax.models.products import XLA_PRECISION, Precision, flip, product, rounded

WIDTHS = (3, 4, 5)
FILTERS = 100


class KimCNN(Network):
    """Filters of 3, 4 and 5 words, ReLU, maximum over time, dropout, one layer.

    Of word vectors float ``[B, L, E]``, L >= 5; raises ``ValueError`` where a sentence
    is shorter than the widest filter. 360,601 parameters for word vectors of dimension
    300 and one logit.
    """

    dropout = 0.5

    def _penultimate(self, x_BxLxE: jax.Array, train: bool) -> jax.Array:
        length, dimension = x_BxLxE.shape[1:]
        if length < max(WIDTHS):
            raise ValueError(
                f"a sentence has {length} words; the filters need {max(WIDTHS)}"
            )
        kernels, biases = [], []
        for width in WIDTHS:
            shape = (width, dimension, FILTERS)
            kernels.append(self.param(f"kernel{width}", torch_kernel, shape))
            bias_init = torch_bias(width * dimension)
            biases.append(self.param(f"bias{width}", bias_init, (FILTERS,)))
        peaks = lax_peaks if self.formulation == "lax" else product_peaks
        return nn.relu(
            peaks(x_BxLxE, kernels, self.precision) + jnp.concatenate(biases)
        )


def product_peaks(
    x_BxLxE: jax.Array, kernels: Sequence[jax.Array], precision: Precision
) -> jax.Array:
    """The maximum over time of convolutions of several widths.

    Args:
      x_BxLxE: float32, as long as the widest kernel or longer.
      kernels: float32 ``[W, E, F]`` each, W differing, F not.
      precision: of the products.

    Returns:
      float32 ``[B, len(kernels) * F]``. The first of equal places takes the gradient.
    """
    taps = [k.transpose(1, 0, 2).reshape(k.shape[1], -1) for k in kernels]
    widths = tuple(len(k) for k in kernels)
    return _peaks(x_BxLxE, jnp.concatenate(taps, axis=1), widths, precision)


def lax_peaks(
    x_BxLxE: jax.Array, kernels: Sequence[jax.Array], precision: Precision
) -> jax.Array:
    """The same by ``lax.conv``, differentiated by JAX; for comparison."""
    peaks = [
        lax.conv_general_dilated(
            rounded(x_BxLxE, precision),
            rounded(kernel, precision),
            window_strides=(1,),
            padding="VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
            precision=XLA_PRECISION[precision],
        ).max(axis=1)
        for kernel in kernels
    ]
    return jnp.concatenate(peaks, axis=1).astype(jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _peaks(x_BxLxE, taps_ExK, widths, precision):
    return _forward(x_BxLxE, taps_ExK, widths, precision)[0]


def _forward(x_BxLxE, taps_ExK, widths, precision):
    x_BxLxE, taps_ExK = rounded(x_BxLxE, precision), rounded(taps_ExK, precision)
    batch, length, dimension = x_BxLxE.shape
    words = product(x_BxLxE.reshape(-1, dimension), taps_ExK, precision)
    words = words.reshape(batch, length, sum(widths), -1)
    peaks, places, tap = [], [], 0
    for width in widths:
        # Of every place in time, the sum of its taps' words.
        last = length - width + 1
        shifted = [words[:, k : last + k, tap + k] for k in range(width)]
        y = functools.reduce(jnp.add, shifted)
        peaks.append(y.max(axis=1))
        places.append(y.argmax(axis=1))
        tap += width
    saved = x_BxLxE, taps_ExK, jnp.stack(places, axis=1)
    return jnp.concatenate(peaks, axis=1), saved


def _backward(widths, precision, saved, grad_BxP):
    x_BxLxE, taps_ExK, place_BxWxF = saved
    batch, length, dimension = x_BxLxE.shape
    grad_BxWxF = rounded(grad_BxP, precision).reshape(place_BxWxF.shape)
    time = jnp.arange(length)[:, None]
    grads = [
        jnp.where(time == place_BxWxF[:, i, None] + k, grad_BxWxF[:, i, None], 0)
        for i, width in enumerate(widths)
        for k in range(width)
    ]
    grad = jnp.concatenate(grads, axis=2).reshape(batch * length, -1)
    grad_x = product(grad, taps_ExK, precision, transpose_b=True)
    grad_taps = product(flip(x_BxLxE.reshape(-1, dimension)), grad, precision)
    return grad_x.reshape(x_BxLxE.shape), grad_taps


_peaks.defvjp(_forward, _backward)
