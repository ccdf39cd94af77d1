"""Kim's network: one product and shifted sums against plain convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.models import get_model
from bdjax.models.text import FILTERS, WIDTHS, KimCNN, lax_peaks, product_peaks
from bdjax.tasks import get_task

B, L, E = 3, 9, 4


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=(w, E, 6)).astype(np.float32) for w in (3, 4, 5)]
    return rng.normal(size=(B, L, E)).astype(np.float32), kernels


def slow_peaks(x, kernels):
    """Maximum over every place of every filter, written as loops."""
    peaks = []
    for kernel in kernels:
        width = len(kernel)
        at = [
            np.einsum("bwe,wef->bf", x[:, t : t + width], kernel)
            for t in range(x.shape[1] - width + 1)
        ]
        peaks.append(np.max(at, axis=0))
    return np.concatenate(peaks, axis=1)


@pytest.mark.parametrize("peaks", [product_peaks, lax_peaks])
@pytest.mark.parametrize("length", [5, L])
def test_peaks_are_those_of_the_loops(parts, peaks, length):
    x, kernels = parts[0][:, :length], parts[1]
    found = peaks(jnp.asarray(x), kernels, "float32")
    np.testing.assert_allclose(found, slow_peaks(x, kernels), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_that_jax_derives(parts):
    x, kernels = parts
    weight = np.random.default_rng(1).normal(size=(B, 18)).astype(np.float32)

    def loss(peaks):
        return lambda x, k: (peaks(x, k, "float32") * weight).sum()

    ours, theirs = (
        jax.grad(loss(peaks), argnums=(0, 1))(jnp.asarray(x), kernels)
        for peaks in (product_peaks, lax_peaks)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        ours,
        theirs,
    )


def test_vmap_over_networks_changes_nothing(parts):
    x, kernels = parts
    two = [jnp.stack([k, 2 * k[::-1]]) for k in kernels]
    both = jax.vmap(lambda k: product_peaks(x, k, "float32"))(two)
    for i in range(2):
        alone = product_peaks(x, [k[i] for k in two], "float32")
        np.testing.assert_allclose(both[i], alone, rtol=1e-5, atol=1e-5)


def test_bfloat16_rounds_operands_and_nothing_else(parts):
    x, kernels = parts
    rounded = [np.asarray(jnp.asarray(a, jnp.bfloat16), np.float32) for a in kernels]
    x16 = np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32)
    found = product_peaks(jnp.asarray(x), kernels, "bfloat16")
    np.testing.assert_allclose(found, slow_peaks(x16, rounded), rtol=1e-5, atol=1e-5)
    assert np.abs(found - slow_peaks(x, kernels)).max() > 1e-4
    grads = jax.grad(lambda k: product_peaks(x, k, "bfloat16").sum())(kernels)
    assert all(g.dtype == jnp.float32 for g in grads)


def test_the_network_has_the_papers_parameters():
    variables = jax.eval_shape(get_task("mr").network().init, jax.random.key(0))
    sizes = [leaf.size for leaf in jax.tree.leaves(variables)]
    assert sum(sizes) == 360_601


@pytest.mark.parametrize("formulation", ["auto", "lax"])
def test_the_whole_network_against_numpy(formulation):
    model = get_model(
        "kim_cnn", input_shape=(L, E), num_classes=1, formulation=formulation
    )
    variables = model.init(jax.random.key(2))
    p = jax.tree.map(np.asarray, variables["params"])
    x = np.random.default_rng(3).normal(size=(B, 7, E)).astype(np.float32)
    peaks = slow_peaks(x, [p[f"kernel{w}"] for w in WIDTHS])
    hidden = np.maximum(peaks + np.concatenate([p[f"bias{w}"] for w in WIDTHS]), 0)
    np.testing.assert_allclose(model.features(variables, x), hidden, atol=1e-5)
    logits = hidden @ p["logits"]["kernel"] + p["logits"]["bias"]
    np.testing.assert_allclose(model.apply(variables, x), logits, atol=1e-5)
    assert logits.shape == (B, 1)
    assert hidden.shape == (B, 3 * FILTERS)
    for width in WIDTHS:  # PyTorch's start
        bound = (width * E) ** -0.5
        for name in (f"kernel{width}", f"bias{width}"):
            assert 0.9 * bound < np.abs(p[name]).max() <= bound


def test_dropout_is_on_in_training_only():
    model = get_model("kim_cnn", input_shape=(L, E), num_classes=2)
    variables, x = model.init(jax.random.key(0)), jnp.ones((2, L, E))
    asked = model.apply(variables, x)
    np.testing.assert_array_equal(asked, model.apply(variables, x))
    trained = [
        model.apply(variables, x, train=True, key=jax.random.key(i)) for i in (0, 1)
    ]
    assert np.abs(trained[0] - trained[1]).max() > 1e-3


def test_a_sentence_shorter_than_a_filter_is_named():
    with pytest.raises(ValueError, match="has 4 words; the filters need 5"):
        KimCNN().init(jax.random.key(0), jnp.zeros((1, 4, E)))


def test_it_is_pytorchs_convolution():
    torch = pytest.importorskip("torch")
    model = get_model("kim_cnn", input_shape=(L, E), num_classes=1)
    variables = model.init(jax.random.key(5))
    p = jax.tree.map(lambda a: torch.tensor(np.array(a)), variables["params"])
    x = torch.randn(2, 12, E, generator=torch.Generator().manual_seed(0))
    hidden = [
        torch.relu(
            torch.nn.functional.conv1d(
                x.transpose(1, 2), p[f"kernel{w}"].permute(2, 1, 0), p[f"bias{w}"]
            )
        ).amax(2)
        for w in WIDTHS
    ]
    logits = torch.cat(hidden, 1) @ p["logits"]["kernel"] + p["logits"]["bias"]
    found = model.apply(variables, jnp.asarray(x.numpy()))
    np.testing.assert_allclose(found, logits.numpy(), atol=1e-5)
