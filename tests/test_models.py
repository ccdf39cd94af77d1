import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import stats

from bdjax import tree
from bdjax.models import FORMULATIONS, MODELS, PRECISIONS, get_model, products
from bdjax.models.conv import conv_relu
from bdjax.types import UserError

# Kernel size, channels in and out, height, width: odd ones lose a row or column.
SHAPES = [(3, 1, 2, 7, 8), (3, 3, 5, 8, 5), (5, 1, 3, 9, 11), (5, 3, 1, 6, 7)]
BATCH = 3
OURS = [f for f in FORMULATIONS if f not in ("auto", "lax")]


def arrays(shape, seed=0):
    size, channels, features, height, width = shape
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(channels, height, width, BATCH))
    kernel = rng.normal(size=(size, size, channels, features))
    return tuple(map(np.float32, (x, kernel, rng.normal(size=features))))


def conv_relu_pool(x_CxHxWxN, kernel, bias, **options):
    """Batch innermost, as the oracle has it."""
    y = conv_relu(x_CxHxWxN.transpose(3, 1, 2, 0), kernel, bias, pool=True, **options)
    return y.transpose(3, 1, 2, 0)


@functools.partial(jax.jit, static_argnames=("formulation", "precision"))
def forward_and_gradients(
    x, kernel, bias, weight, formulation="auto", precision="float32"
):
    apply = functools.partial(
        conv_relu_pool, formulation=formulation, precision=precision
    )
    y, pull = jax.vjp(apply, x, kernel, bias)
    return y, *pull(weight)


def both(formulation, x, kernel, bias, weight):
    args = tuple(map(np.float32, (x, kernel, bias, weight)))
    return [forward_and_gradients(*args, formulation=f) for f in (formulation, "lax")]


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_equals_plain_loops(shape, formulation):
    x, kernel, bias = arrays(shape)
    expected = oracles.conv_relu_pool(x, kernel, bias)
    weight = np.zeros_like(expected, np.float32)
    y, *_ = forward_and_gradients(x, kernel, bias, weight, formulation=formulation)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert 0 < np.mean(expected == 0) < 0.9


@pytest.mark.parametrize("formulation", OURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_formulations_have_the_same_gradients(shape, formulation):
    x, kernel, bias = arrays(shape)
    out = oracles.conv_relu_pool(x, kernel, bias).shape
    weight = np.random.default_rng(1).normal(size=out)
    for got, lax in zip(*both(formulation, x, kernel, bias, weight), strict=True):
        np.testing.assert_allclose(got, lax, rtol=1e-4, atol=1e-4)
        assert np.abs(lax).max() > 0.1


@pytest.mark.parametrize("case", ["constant", "two levels", "dead", "on the edge"])
@pytest.mark.parametrize("formulation", OURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_tied_and_dead_windows_give_the_same_gradients_exactly(
    shape, case, formulation
):
    # Small integers, so that every sum is exact and a tie is one in both.
    size, channels, features, height, width = shape
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, (channels, height, width, BATCH))
    kernel = rng.integers(-1, 2, (size, size, channels, features))
    bias = rng.integers(0, 3, features)
    if case == "constant":
        x = np.ones_like(x)
        kernel[0, 0] = 2
        bias += size**2 * channels
    if case == "dead":
        bias[0] = -100
    if case == "on the edge":  # exactly 0 before ReLU, whose gradient there is 0
        x, bias = np.ones_like(x), -kernel.sum((0, 1, 2))
    rows, columns = (height - size + 1) // 2, (width - size + 1) // 2
    weight = rng.integers(1, 4, (features, rows, columns, BATCH))
    ours, lax = both(formulation, x, kernel, bias, weight)
    for got, expected in zip(ours, lax, strict=True):
        np.testing.assert_array_equal(got, expected)
    y, grad_x, _, grad_bias = map(np.asarray, ours)
    if case == "constant":  # the first of the tied places takes everything
        assert (y > 0).all()
        expected = np.zeros_like(x)
        for i, j, a, b, c in np.ndindex(rows, columns, size, size, channels):
            share = kernel[a, b, c] @ weight[:, i, j]
            expected[c, 2 * i + a, 2 * j + b] += share
        np.testing.assert_array_equal(grad_x, expected)
        np.testing.assert_array_equal(grad_bias, weight.sum((1, 2, 3)))
    if case == "dead":
        assert not y[0].any()
        assert grad_bias[0] == 0
    if case == "on the edge":
        assert not y.any()
        assert not grad_x.any()
        assert not grad_bias.any()


def bf16(x):
    """Rounded to bfloat16, as float32 again."""
    return np.float32(np.asarray(x).astype(jnp.bfloat16))


def exactly(x):
    return np.asarray(x, np.float64)


@pytest.mark.parametrize("formulation", OURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_convolution_rounds_the_operands_of_its_products_alone(
    shape, formulation
):
    x, kernel, bias = arrays(shape)
    rounded = bf16(x), bf16(kernel)
    expected = oracles.conv_relu_pool(*rounded, bias)
    weight = np.random.default_rng(1).normal(size=expected.shape).astype(np.float32)
    got = forward_and_gradients(
        x, kernel, bias, weight, formulation=formulation, precision="bfloat16"
    )
    assert {a.dtype for a in got} == {jnp.dtype("float32")}
    np.testing.assert_allclose(got[0], expected, rtol=1e-5, atol=1e-5)

    def gradients(weight):
        return forward_and_gradients(*rounded, bias, weight, formulation="lax")[1:]

    # The bias has no product: its gradient is a sum of what came in.
    *right, _ = gradients(bf16(weight))
    right.append(gradients(weight)[-1])
    for one, other in zip(got[1:], right, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    # And all that is near float32, though not float32.
    for one, other in zip(
        got, forward_and_gradients(x, kernel, bias, weight), strict=True
    ):
        error = np.abs(one - other).mean() / np.abs(other).mean()
        assert 1e-4 < error < 0.1 or one.ndim == 1


@pytest.mark.parametrize("shape", [(4, 6, 3), (5, 7, 2), (1, 1, 1)])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_equal_numpy_s_forward_and_backward(shape, precision):
    n, k, m = shape
    rng = np.random.default_rng(3)
    a, b, grad = (
        rng.normal(size=s).astype(np.float32) for s in ((n, k), (k, m), (n, m))
    )
    y, pull = jax.vjp(lambda a, b: products.matmul(a, b, precision), a, b)
    got = y, *pull(grad)
    if precision == "bfloat16":
        a, b, grad = bf16(a), bf16(b), bf16(grad)
    a, b, grad = exactly(a), exactly(b), exactly(grad)
    for one, other in zip(got, (a @ b, grad @ b.T, a.T @ grad), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    if precision == "bfloat16":
        assert (bf16(got[0]) != got[0]).any()  # sums are float32


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (1, 5), (2, 2)])
def test_flip_is_the_transpose(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(products.flip(jnp.asarray(x)), x.T)


def test_tf32_is_float32_on_a_cpu():
    x, kernel, bias = arrays(SHAPES[1])
    weight = np.ones((5, 3, 1, BATCH), np.float32)
    run = functools.partial(forward_and_gradients, x, kernel, bias, weight)
    for one, other in zip(run(precision="tf32"), run(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_networks_take_every_precision_and_answer_in_float32(variables, images):
    exact = np.asarray(forward()(variables, images))
    run = jax.jit(mnist_model().apply, static_argnames="precision")
    got = {p: np.asarray(run(variables, images, precision=p)) for p in PRECISIONS}
    assert {y.dtype for y in got.values()} == {np.dtype("float32")}
    np.testing.assert_array_equal(got["float32"], exact)
    np.testing.assert_array_equal(got["tf32"], exact)
    error = np.abs(got["bfloat16"] - exact).max() / np.ptp(exact)
    assert 1e-5 < error < 0.02


def descend(x_TxCxHxWxN, kernel, bias, formulation):
    """A few steps of gradient descent inside a scan, as training runs it."""

    def step(state, x):
        def loss(state):
            return (conv_relu_pool(x, *state, formulation=formulation) ** 2).mean()

        value, grads = jax.value_and_grad(loss)(state)
        return jax.tree.map(lambda w, g: w - 0.1 * g, state, grads), value

    return jax.lax.scan(step, (kernel, bias), x_TxCxHxWxN)


@pytest.mark.parametrize("formulation", OURS)
@pytest.mark.parametrize("shared_x", [True, False])
def test_formulations_agree_inside_scan_and_vmap_over_models(shared_x, formulation):
    models = [arrays(SHAPES[1], seed) for seed in range(3)]
    x, kernel, bias = map(np.stack, zip(*models, strict=True))
    x = np.stack([x, x[::-1], 2 * x], axis=1)  # [M, T, ...]
    x = x[0] if shared_x else x
    run = functools.partial(descend, formulation=formulation)
    axes = (None if shared_x else 0, 0, 0)
    stacked = jax.jit(jax.vmap(run, in_axes=axes))(x, kernel, bias)
    run = jax.jit(functools.partial(descend, formulation="lax"))
    for m in range(3):
        one = run(x if shared_x else x[m], kernel[m], bias[m])
        got = jax.tree.map(lambda leaf, m=m: leaf[m], stacked)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
            got,
            one,
        )
        assert np.abs(one[0][0] - kernel[m]).max() > 1e-2


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_convolution_names_what_it_cannot_take(formulation):
    apply = functools.partial(conv_relu_pool, formulation=formulation)
    with pytest.raises(ValueError, match=r"kernel size is 4.*odd"):
        apply(jnp.zeros((1, 8, 8, 1)), jnp.zeros((4, 4, 1, 1)), jnp.zeros(1))
    with pytest.raises(ValueError, match=r"image is \(9, 5\).*at least 6 rows"):
        apply(jnp.zeros((1, 9, 5, 1)), jnp.zeros((5, 5, 1, 1)), jnp.zeros(1))


def mnist_model(formulation="tile"):
    return get_model(
        "mntd_mnist_cnn",
        input_shape=(28, 28, 1),
        num_classes=10,
        formulation=formulation,
    )


@pytest.fixture(scope="module")
def starts():
    """Sixteen random starts of the network, stacked."""
    init = jax.jit(mnist_model().init)
    keys = jax.random.split(jax.random.key(0), 16)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(init, keys))


@pytest.fixture(scope="module")
def variables(starts):
    return tree.index(starts, 0)


@pytest.fixture(scope="module")
def images():
    # No symmetry that could hide a swap of axes.
    return np.random.default_rng(3).uniform(size=(4, 28, 28, 1)).astype(np.float32)


@functools.cache
def forward(formulation="tile"):
    return jax.jit(mnist_model(formulation).apply)


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_network_equals_plain_loops(variables, images, formulation):
    expected = oracles.mnist_net(variables, images)
    logits = forward(formulation)(variables, images)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-2


def test_network_has_the_published_number_of_parameters(variables):
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 281_034


def test_initial_weights_are_uniform_as_in_pytorch(starts):
    params = starts["params"]
    fan_in = {"conv1": 25, "conv2": 400, "hidden": 512, "logits": 512}
    assert params.keys() == fan_in.keys()
    for name, layer in params.items():
        bound = fan_in[name] ** -0.5
        for kind, leaf in layer.items():
            values = np.ravel(leaf)
            largest = np.abs(values).max()
            assert 0.95 * bound < largest <= bound * (1 + 1e-6), (name, kind)
            assert abs(values.mean()) < 5 * bound / (3 * values.size) ** 0.5
            some = values[:: 1 + values.size // 4000]
            uniform = stats.uniform(-bound, 2 * bound)
            assert stats.kstest(some, uniform.cdf).pvalue > 1e-3, (name, kind)
            assert len(np.unique(leaf, axis=0)) == 16  # every model its own


def test_logits_follow_from_features_by_the_last_layer(variables, images):
    model = mnist_model()
    features = jax.jit(model.features)(variables, images)
    assert (features.min(), features.max() > 0) == (0, True)
    last = variables["params"]["logits"]
    expected = np.asarray(features) @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(
        forward()(variables, images), expected, rtol=1e-5, atol=1e-5
    )


def test_a_row_of_the_batch_touches_its_own_logits_only(variables, images):
    before = np.asarray(forward()(variables, images))
    changed = images.copy()
    changed[2] = 1 - changed[2]
    after = np.asarray(forward()(variables, changed))
    others = [0, 1, 3]
    np.testing.assert_allclose(after[others], before[others], rtol=1e-5, atol=1e-6)
    assert np.abs(after[2] - before[2]).max() > 1e-2
    order = [3, 1, 0, 2]
    shuffled = forward()(variables, images[order])
    np.testing.assert_allclose(shuffled, before[order], rtol=1e-5, atol=1e-6)


def test_training_mode_and_key_change_nothing_without_dropout(variables, images):
    logits = mnist_model().apply(variables, images, train=True, key=jax.random.key(0))
    expected = forward()(variables, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_equal_arguments_give_the_same_model():
    # What compiled programs are cached by.
    assert mnist_model() is mnist_model()


def test_unknown_names_are_answered_with_those_there_are():
    shape = {"input_shape": (28, 28, 1), "num_classes": 10}
    with pytest.raises(UserError, match="'resnet9'") as error:
        get_model("resnet9", **shape)
    assert all(repr(name) in str(error.value) for name in MODELS)
    with pytest.raises(UserError, match="'fft'") as error:
        get_model("mntd_mnist_cnn", formulation="fft", **shape)
    assert all(repr(name) in str(error.value) for name in FORMULATIONS)
