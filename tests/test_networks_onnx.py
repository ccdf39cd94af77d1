"""Networks in ONNX: answers, gradients, features, and what is refused."""

import jax
import numpy as np
import onnx
import onnx_files as files
import pytest

from bdjax.networks import open_network
from bdjax.types import UserError


def examples(network, n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *network.shape), np.float32)


def answers_alike(network, n=5, tolerance=1e-4):
    x = examples(network, n)
    expected = network.ask(x)
    found = jax.jit(network.apply)(network.variables, x)
    np.testing.assert_allclose(found, expected, atol=tolerance)
    return expected


def check_gradient(network):
    """The gradient, along itself, by differences of onnxruntime's answers."""
    x = examples(network, 3)
    weights = np.random.default_rng(2).standard_normal(network.num_classes)

    def total(x):
        return (network.apply(network.variables, x) @ weights).sum()

    gradient = jax.jit(jax.grad(total))(x)
    slope = np.linalg.norm(gradient)
    step = 5e-3 * gradient / slope
    up, down = (network.ask(x + s * step) @ weights for s in (1, -1))
    assert slope == pytest.approx((up - down).sum() / 1e-2, rel=1e-2)


@pytest.mark.parametrize("make", [files.residual, files.attentive])
def test_answers_and_gradients_are_onnxruntimes(make, tmp_path):
    path = tmp_path / "net.ONNX"
    onnx.save(make(), path)
    network = open_network(str(path))
    assert network.kind == "ONNX"
    assert network.name == "net.ONNX"
    assert network.layout == "NCHW"
    answers_alike(network)
    check_gradient(network)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch_size_takes_any_number(batch):
    free, fixed = (open_network(files.attentive(batch=b)) for b in ("n", batch))
    expected = answers_alike(fixed, 5)
    np.testing.assert_allclose(free.ask(examples(free, 5)), expected, atol=1e-5)


def test_features_are_what_the_last_dense_layer_reads():
    network = open_network(files.residual())
    features = network.find_features(network.shape, None)
    assert features.layer == "fc (input)"
    x = examples(network, 3)
    z = features.apply(network.variables, x)
    w = network.weights
    bias = next(a for k, a in reversed(w.items()) if a.shape == (10,))
    np.testing.assert_allclose(z @ w["fc.weight"].T + bias, network.ask(x), atol=1e-4)


def test_a_softmax_at_the_end_is_left_out():
    ends, without = (open_network(files.attentive(softmax=s)) for s in (True, False))
    x = examples(ends, 3)
    np.testing.assert_array_equal(ends.ask(x), without.ask(x))
    assert "Softmax is left out" in ends.notes[0]
    assert not without.notes
    assert ends.find_features(ends.shape, None).layer == "head (input)"


def test_operators_that_nobody_knows_are_named():
    w = files.Writer()
    y = w("Grommet", w("Flatten", w("Whirl", "x")))
    with pytest.raises(UserError, match="Grommet, Whirl") as error:
        open_network(w.model(y, (3, 4, 4)))
    assert "\n" not in str(error.value)
