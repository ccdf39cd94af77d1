"""The convolution that is fast in loops, against JAX's."""

import jax
import numpy as np
import pytest
from jax import lax

from bdjax.networks.convolution import convolve

CASES = [
    # places, kernel, channels, features, strides, pads, dilations, groups
    ((7, 6), (3, 3), 4, 6, (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((7, 8), (3, 2), 4, 6, (2, 3), ((0, 2), (1, 0)), (1, 1), 1),
    ((9, 8), (2, 3), 4, 6, (2, 1), ((4, 0), (1, -1)), (2, 1), 2),
    ((9, 8), (3, 3), 4, 4, (2, 1), ((1, 1), (2, 1)), (1, 2), 4),
    ((8, 8), (1, 1), 3, 5, (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    ((11,), (4,), 4, 8, (3,), ((1, 2),), (2,), 4),
    ((4, 5, 6), (2, 2, 3), 2, 3, (1, 2, 1), ((0, 1),) * 3, (1, 1, 1), 1),
]


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_jax(case):
    places, size, channels, features, strides, pads, dilations, groups = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *places, channels), np.float32)
    kernel = rng.standard_normal((*size, channels // groups, features), np.float32)
    axes = "DHW"[-len(size) :]

    def expected(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            pads,
            rhs_dilation=dilations,
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
            feature_group_count=groups,
        )

    def found(x, kernel):
        return convolve(
            x, kernel, strides=strides, pads=pads, dilations=dilations, groups=groups
        )

    y = expected(x, kernel)
    grad = rng.standard_normal(y.shape, np.float32)
    for one, other in zip(
        *(values(f, x, kernel, grad) for f in (found, expected)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def values(function, x, kernel, grad):
    """The convolution and its gradients."""

    @jax.jit
    def run(x, kernel, grad):
        y, back = jax.vjp(function, x, kernel)
        return y, *back(grad)

    return run(x, kernel, grad)
