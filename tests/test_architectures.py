"""Strided convolutions, and the larger networks that are made of them."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.models import FORMULATIONS, MODELS, get_model, layers
from bdjax.models.conv import conv
from bdjax.models.deep import PreActivation
from bdjax.population.cost import variables_shapes
from bdjax.population.flops import count_work, shape_of

OURS = [f for f in FORMULATIONS if f not in ("auto", "lax", "tile")]
# Kernel size, padding, stride, height, width: strides that leave rows over, and none.
CASES = [
    (3, 1, 1, 5, 6),
    (3, 1, 2, 7, 8),
    (1, 0, 2, 5, 6),
    (5, 2, 3, 9, 8),
    (2, 0, 2, 7, 6),
]


def plain(x, kernel, padding, stride):
    """Convolution by loops over the kernel, in float64."""
    size, around = len(kernel), (padding, padding)
    x = np.pad(np.float64(x), ((0, 0), around, around, (0, 0)))
    rows, columns = ((s - size) // stride + 1 for s in x.shape[1:3])
    return sum(
        x[:, a:, b:][:, ::stride, ::stride][:, :rows, :columns]
        @ np.float64(kernel[a, b])
        for a in range(size)
        for b in range(size)
    )


def arrays(case):
    size, padding, stride, height, width = case
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(2, height, width, 3)))
    kernel = np.float32(rng.normal(size=(size, size, 3, 4)))
    y = plain(x, kernel, padding, stride)
    return x, kernel, y, np.float32(rng.normal(size=y.shape))


@functools.partial(jax.jit, static_argnames=("case", "formulation", "precision"))
def run(x, kernel, weight, case, formulation, precision="float32"):
    _, padding, stride, *_ = case
    apply = functools.partial(
        conv, stride=stride, padding=padding, formulation=formulation,
        precision=precision,
    )  # fmt: skip
    y, pull = jax.vjp(apply, x, kernel)
    return y, *pull(weight)


@pytest.mark.parametrize("case", CASES)
def test_strided_convolutions_equal_plain_loops_and_jax_s_gradients(case):
    x, kernel, y, weight = arrays(case)
    lax = run(x, kernel, weight, case, "lax")
    np.testing.assert_allclose(lax[0], y, rtol=1e-4, atol=1e-5)
    for formulation in OURS:
        got = run(x, kernel, weight, case, formulation)
        for one, other in zip(got, lax, strict=True):
            assert one.dtype == jnp.float32
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("formulation", OURS)
def test_bfloat16_rounds_the_operands_of_products_alone(formulation):
    case = CASES[1]
    x, kernel, _, weight = arrays(case)
    rounded = [np.float32(a.astype(jnp.bfloat16)) for a in (x, kernel, weight)]
    got = run(x, kernel, weight, case, formulation, "bfloat16")
    for one, other in zip(got, run(*rounded, case, "lax"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    exact = run(x, kernel, weight, case, formulation)[0]
    assert float(jnp.abs(got[0] - exact).max()) > 1e-3


@pytest.mark.parametrize("formulation", OURS)
def test_strided_convolutions_train_in_loops_and_side_by_side(formulation):
    _, kernel, *_ = arrays(case := CASES[1])
    rng = np.random.default_rng(1)
    x_MxTx = np.float32(rng.normal(size=(3, 2, 2, *case[3:], 3)))
    kernels = np.stack([kernel, 2 * kernel, -kernel])

    def descend(x_Tx, kernel, formulation):
        def step(kernel, x):
            apply = functools.partial(
                conv, stride=2, padding=1, formulation=formulation
            )
            grad = jax.grad(lambda k: (apply(apply(x, k)[..., :3], k) ** 2).mean())
            return kernel - 0.001 * grad(kernel), None

        return jax.lax.scan(step, kernel, x_Tx)[0]

    side = functools.partial(descend, formulation=formulation)
    got = jax.jit(jax.vmap(side))(x_MxTx, kernels)
    for m in range(3):
        one = jax.jit(descend, static_argnums=2)(x_MxTx[m], kernels[m], "lax")
        np.testing.assert_allclose(got[m], one, rtol=1e-4, atol=1e-4)
        assert np.abs(one - kernels[m]).max() > 1e-3


def test_a_convolution_names_what_it_cannot_take():
    x, kernel = jnp.zeros((1, 4, 2, 1)), jnp.zeros((3, 3, 1, 1))
    with pytest.raises(ValueError, match=r"image is \(4, 2\).*at least 3 rows"):
        conv(x, kernel)
    with pytest.raises(ValueError, match="stride is 0"):
        conv(x, kernel, padding=1, stride=0)
    with pytest.raises(ValueError, match="padding is 3"):
        conv(x, kernel, padding=3)
    with pytest.raises(ValueError, match=r"kernel is \(3, 2\).*square"):
        conv(x, kernel[:, :2])


# Networks. The sizes are those of the common CIFAR-10 networks; VGG16 without the
# biases that its normalisations make useless.
PARAMETERS = {
    "alexnet": 23_272_266,
    "depthwise_net": 9_322,
    "dropout_mlp": 821_386,
    "global_net": 24_234,
    "lenet": 136_886,
    "norm_net": 47_898,
    "preact_resnet": 464_154,
    "resnet18": 11_173_962,
    "resnet50": 23_520_842,
    "slim_vgg": 83_706,
    "strided_net": 156_074,
    "thin_resnet": 24_954,
    "vgg16": 14_728_266 - 4224,
    "wide_net": 10_402,
}
# Tested in files of their own.
ELSEWHERE = {
    "kim_cnn",
    "mlp",
    "mntd_cifar_cnn",
    "mntd_mnist_cnn",
    "mntd_speech_lstm",
    "series_lstm",
    "small_cnn",
}
WIDTHS = {
    "alexnet": 4096, "depthwise_net": 64, "dropout_mlp": 128, "global_net": 64,
    "lenet": 84, "norm_net": 64, "preact_resnet": 64, "resnet50": 2048,
    "slim_vgg": 128, "strided_net": 128, "thin_resnet": 32, "wide_net": 24 * 4 * 4,
}  # fmt: skip
WITHOUT_NORMALISATION = {"alexnet", "global_net", "lenet", "strided_net", "wide_net"}


def network(name, shape=(32, 32, 3), formulation="auto", classes=10):
    return get_model(
        name, input_shape=shape, num_classes=classes, formulation=formulation
    )


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_their_known_size(name):
    params = variables_shapes(network(name))["params"]
    assert sum(math.prod(p.shape) for p in jax.tree.leaves(params)) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "millions"), [("preact_resnet", 68.9), ("resnet50", 1298)]
)
def test_multiply_adds_are_the_published_ones(name, millions):
    model = network(name, formulation="im2col")  # which counts padding, too
    x = shape_of((1, 32, 32, 3), jnp.float32)
    count = count_work(model.apply, variables_shapes(model), x).flops / 2e6
    assert round(count, 1 if millions < 100 else 0) == millions


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, (28, 28, 1)) for name in sorted(PARAMETERS)]
    + [(name, (33, 29, 3)) for name in ("alexnet", "preact_resnet", "vgg16")],
)
def test_networks_take_images_of_any_shape(name, shape):
    model = network(name, shape, classes=7)
    variables, x = variables_shapes(model), shape_of((2, *shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    logits, kept = jax.eval_shape(model.train_apply, variables, x, key=key)
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)
    assert {"params": variables["params"]} | kept == variables
    assert bool(kept) == (name not in WITHOUT_NORMALISATION)
    features = jax.eval_shape(model.features, variables, x)
    assert features.shape == (2, WIDTHS.get(name, 512))


def test_every_network_is_known_here():
    assert set(PARAMETERS) | ELSEWHERE == set(MODELS)


def test_formulations_and_features_of_the_thin_network():
    shape = (28, 28, 1)
    variables = jax.jit(network("thin_resnet", shape).init)(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (3, *shape))
    direct, im2col = (
        jax.jit(network("thin_resnet", shape, f).apply)(variables, x)
        for f in OURS[::-1]
    )
    np.testing.assert_allclose(im2col, direct, rtol=1e-4, atol=1e-4)
    assert np.ptp(direct) > 0.1
    last = variables["params"]["logits"]
    features = jax.jit(network("thin_resnet", shape).features)(variables, x)
    expected = features @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(direct, expected, rtol=1e-4, atol=1e-4)


def leaky(x, norm):
    """A fresh normalisation, running statistics 0 and 1, then the leaky ReLU."""
    x = x / np.sqrt(1 + 1e-3) * norm["scale"] + norm["bias"]
    return np.where(x > 0, x, 0.1 * x)


@pytest.mark.parametrize(("first", "stride"), [(True, 1), (False, 2)])
def test_a_pre_activation_unit_equals_plain_loops(first, stride):
    block = PreActivation(5, stride, first, "direct", "float32")
    x = np.float32(np.random.default_rng(0).normal(size=(2, 4, 6, 2)))
    init = functools.partial(block.init, train=False)
    variables = jax.jit(init)(jax.random.key(0), x)
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda p: np.float32(p + rng.normal(size=p.shape)), variables["params"]
    )
    y = leaky(x, params["norm1"])
    short = y if first else x
    y = plain(y, params["conv1"]["kernel"], 1, stride)
    y = plain(leaky(y, params["norm2"]), params["conv2"]["kernel"], 1, 1)
    if stride == 2:
        short = (short[:, ::2] + short[:, 1::2]) / 2
        short = (short[:, :, ::2] + short[:, :, 1::2]) / 2
    y[..., 1:3] += short  # of 5 features in the middle
    apply = jax.jit(functools.partial(block.apply, train=False))
    got = apply(variables | {"params": params}, x)
    np.testing.assert_allclose(got, y, rtol=1e-4, atol=1e-4)


def test_an_average_pool_fills_up_with_its_edge():
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    got = layers.average_pool(x, 2)[0, :, :, 0]
    np.testing.assert_array_equal(got, [[2, 3.5], [6.5, 8]])
