"""What the CIFAR-10 network adds: padding, convolutions without pooling, dropout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax import tree
from bdjax.models import FORMULATIONS, get_model
from bdjax.models.conv import conv_relu
from bdjax.population.cost import variables_shapes


def network(formulation="auto"):
    return get_model(
        "mntd_cifar_cnn",
        input_shape=(32, 32, 3),
        num_classes=10,
        formulation=formulation,
    )


@functools.cache
def start():
    return jax.jit(network().init)(jax.random.key(0))


def plain(x, kernel, bias, padding, pool):
    """Convolution by loops over the kernel, in float64."""
    size = len(kernel)
    x = np.pad(np.float64(x), ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    height, width = (s - size + 1 for s in x.shape[1:3])
    y = sum(
        x[:, a : a + height, b : b + width] @ np.float64(kernel[a, b])
        for a in range(size)
        for b in range(size)
    )
    y = np.maximum(y + bias, 0)
    if pool:
        y = y[:, : height // 2 * 2, : width // 2 * 2]
        y = np.maximum(y[:, ::2], y[:, 1::2])
        y = np.maximum(y[:, :, ::2], y[:, :, 1::2])
    return y


@pytest.mark.parametrize("formulation", [f for f in FORMULATIONS if f != "lax"])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(("size", "padding"), [(3, 1), (3, 2), (5, 1)])
def test_padded_convolutions(size, padding, pool, formulation):
    rng = np.random.default_rng(0)
    x, kernel, bias = (
        np.float32(rng.normal(size=shape))
        for shape in ((3, 7, 6, 2), (size, size, 2, 4), (4,))
    )
    expected = plain(x, kernel, bias, padding, pool)
    weight = np.float32(rng.normal(size=expected.shape))

    def run(formulation):
        apply = functools.partial(
            conv_relu, padding=padding, pool=pool, formulation=formulation
        )
        y, pull = jax.vjp(apply, x, kernel, bias)
        return y, *pull(weight)

    ours, lax = run(formulation), run("lax")
    np.testing.assert_allclose(ours[0], expected, rtol=1e-4, atol=1e-5)
    for got, wanted in zip(ours, lax, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_it_has_the_published_size():
    shapes = jax.tree.leaves(variables_shapes(network()))
    assert sum(np.prod(s.shape) for s in shapes) == 1_182_762


@pytest.mark.parametrize("formulation", ["tile", "im2col", "direct"])
def test_formulations_give_the_same_logits(formulation):
    x = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    got = network(formulation).apply(start(), x)
    np.testing.assert_allclose(got, network("lax").apply(start(), x), atol=1e-5)


def test_dropout_is_for_training_alone_and_follows_the_key():
    x = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    apply = functools.partial(network().apply, start(), x)
    keys = jax.random.split(jax.random.key(2))
    first, again, other = (
        apply(train=True, key=key) for key in (keys[0], keys[0], keys[1])
    )
    np.testing.assert_array_equal(first, again)
    assert float(jnp.abs(first - other).max()) > 1e-4
    np.testing.assert_array_equal(apply(), apply(key=keys[0]))
    assert tree.all_finite(first)
