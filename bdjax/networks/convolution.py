"""Convolutions whose gradient is fast in a loop on a CPU.

XLA's CPU backend is fast inside a loop for convolutions of channels-last images with a
kernel in the usual layout, and 10 to 40 times slower for those that differentiating
them yields. Detectors differentiate in loops, networks of others come in all layouts.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Geometry(NamedTuple):
    """How a convolution goes over its input, a number or pair a spatial axis."""

    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilations: tuple[int, ...]
    groups: int = 1


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    groups: int = 1,
) -> jax.Array:
    """Convolution of one to three spatial axes.

    Args:
      x: float ``[N, *places, C]``.
      kernel: float ``[*size, C / groups, F]``.
      strides: steps from window to window.
      pads: zeros before and after; negative ones cut.
      dilations: steps within a window.
      groups: parts that channels come in.

    Returns:
      float ``[N, *places, F]``.
    """
    how = tuple(strides), tuple((int(a), int(b)) for a, b in pads), tuple(dilations)
    geometry = Geometry(*how, groups)
    if groups > 1 and groups == x.shape[-1] == kernel.shape[-1]:
        return _by_channel(x, kernel, geometry)
    return _convolve(x, kernel, geometry)


def first_max(a: jax.Array, b: jax.Array) -> jax.Array:
    """The greater, NaN if one is; of equals the first, which takes the gradient.

    From the last axis of a window to the first, it gives ties to the place that
    frameworks do; images have many, in their plain parts.
    """
    return jnp.where((b > a) | jnp.isnan(b), b, a)


def _by_channel(x, kernel, geometry):
    """Products of shifted images, which are elementwise forth and back."""
    rank = len(geometry.strides)
    around = [(0, 0, 0), *((*p, 0) for p in geometry.pads), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), around)
    size = kernel.shape[:rank]
    reach = [
        ((n - (k - 1) * d - 1) // s) * s + 1
        for n, k, d, s in zip(
            x.shape[1:-1], size, geometry.dilations, geometry.strides, strict=True
        )
    ]
    total = jnp.zeros((), x.dtype)
    for place in np.ndindex(*size):
        window = [
            slice(i * d, i * d + r, s)
            for i, d, r, s in zip(
                place, geometry.dilations, reach, geometry.strides, strict=True
            )
        ]
        total = total + x[(slice(None), *window)] * kernel[place][0]
    return total


def _forward(x, kernel, g):
    places = "DHW"[-len(g.strides) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        g.strides,
        g.pads,
        rhs_dilation=g.dilations,
        dimension_numbers=(f"N{places}C", f"{places}IO", f"N{places}C"),
        feature_group_count=g.groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x, kernel, geometry):
    return _forward(x, kernel, geometry)


def _keep(x, kernel, geometry):
    return _forward(x, kernel, geometry), (x, kernel)


def _back(geometry, kept, grad):
    x, kernel = kept
    strides, pads, dilations, groups = geometry
    rank = len(strides)
    *size, inner, features = kernel.shape
    flipped = jnp.flip(kernel, range(rank))
    flipped = flipped.reshape(*size, inner, groups, features // groups)
    flipped = jnp.moveaxis(flipped, -1, rank).swapaxes(-1, -2)
    flipped = flipped.reshape(*size, features // groups, groups * inner)
    # Zeros are written out: XLA is slow for convolutions that dilate their input.
    around = [(0, 0, 0)]
    for i, (n, m) in enumerate(zip(x.shape[1:-1], grad.shape[1:-1], strict=True)):
        span = (size[i] - 1) * dilations[i] + 1
        low = span - 1 - pads[i][0]
        high = n + span - 2 - (m - 1) * strides[i] - low
        around.append((low, high, strides[i] - 1))
    around.append((0, 0, 0))
    wide = lax.pad(grad, jnp.zeros((), grad.dtype), around)
    ones = (1,) * rank
    there = Geometry(ones, ((0, 0),) * rank, dilations, groups)
    _, of_kernel = jax.vjp(lambda kernel: _forward(x, kernel, geometry), kernel)
    return _forward(wide, flipped, there), *of_kernel(grad)


_convolve.defvjp(_keep, _back)
