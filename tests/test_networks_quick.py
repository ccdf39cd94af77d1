"""Functions with convolutions that are fast in loops, against the functions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.networks.quick import quick


class Net(nn.Module):
    """Strides, groups, dilation, pools, a transposed convolution."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3), strides=2, use_bias=False)(x))
        x = nn.BatchNorm(use_running_average=True)(x)
        x = nn.max_pool(x, (3, 3), strides=(2, 1), padding="SAME")
        x = x + nn.gelu(nn.Conv(8, (3, 3), feature_group_count=8)(x))
        x = jax.checkpoint(nn.silu)(nn.Conv(6, (2, 3), kernel_dilation=2)(x))
        x = nn.avg_pool(nn.ConvTranspose(6, (3, 3), strides=(2, 2))(x), (2, 2))
        return nn.Dense(5)(x.reshape(len(x), -1))


def linen():
    net = Net()
    x = jax.random.normal(jax.random.key(0), (3, 12, 11, 2))
    x = x.at[:, 6:].set(0)  # ties in max-pools
    return net.apply, jax.jit(net.init)(jax.random.key(1), x), x


def channels_first():
    x = jax.random.normal(jax.random.key(0), (3, 4, 9))
    kernel = jax.random.normal(jax.random.key(1), (6, 4, 3))

    def apply(v, x):
        y = jax.lax.conv_general_dilated(x, v, (2,), "SAME")
        y = jax.lax.reduce_window(
            y, -jnp.inf, jax.lax.max, (1, 2, 2), (1, 2, 1), "VALID"
        )
        return y.reshape(len(x), -1)

    return apply, kernel, x


@pytest.mark.parametrize("make", [linen, channels_first])
def test_the_same_answers_and_gradients(make):
    apply, variables, x = make()
    outcomes = [
        jax.jit(jax.value_and_grad(lambda v, x, f=f: (f(v, x) ** 2).sum(), (0, 1)))(
            variables, x
        )
        for f in (apply, quick(apply))
    ]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *outcomes
    )


def test_under_vmap_and_in_a_loop():
    apply, variables, x = linen()
    stacked = jax.tree.map(lambda a: a[None], variables)

    def steps(f):
        def gradient(v, x):
            return jax.grad(lambda x: (f(v, x) ** 2).sum())(x)

        def step(i, x):
            return x - 0.1 * jax.vmap(gradient, (0, None))(stacked, x)[0]

        return jax.jit(lambda x: jax.lax.fori_loop(0, 2, step, x))(x)

    np.testing.assert_allclose(steps(quick(apply)), steps(apply), atol=1e-5)
