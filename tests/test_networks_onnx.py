"""Networks in ONNX: answers, gradients, features, and what is refused."""

import field
import jax
import numpy as np
import onnx
import onnx_files as files
import pytest

from bdjax import scan
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
    z = jax.jit(features.apply)(network.variables, x)
    w = network.weights
    bias = next(a for k, a in reversed(w.items()) if a.shape == (10,))
    np.testing.assert_allclose(z @ w["fc.weight"].T + bias, network.ask(x), atol=1e-4)


def test_a_softmax_at_the_end_is_left_out():
    ends, without = (open_network(files.attentive(softmax=s)) for s in (True, False))
    x = examples(ends, 3)
    np.testing.assert_array_equal(ends.ask(x), without.ask(x))
    assert "softmax is left out" in ends.notes[0]
    assert not without.notes
    assert ends.find_features(ends.shape, None).layer == "head (input)"


def test_operators_that_nobody_knows_are_named():
    w = files.Writer()
    y = w("Grommet", w("Flatten", w("Whirl", "x")))
    with pytest.raises(UserError, match="Grommet, Whirl") as error:
        open_network(w.model(y, (3, 4, 4)))
    assert "\n" not in str(error.value)


def test_a_single_sigmoid_at_the_end_is_left_out():
    w = files.Writer()
    y = w("Gemm", w("Flatten", "x"), w.weight(12, 1))
    network = open_network(w.model(w("Sigmoid", y), (3, 4)))
    assert network.num_classes == 1
    assert answers_alike(network).min() < 0


def test_channels_last_is_seen():
    w = files.Writer()
    x = w("Conv", w("Transpose", "x", perm=[0, 3, 1, 2]), w.weight(4, 3, 3, 3))
    y = w("Gemm", w("Flatten", w("GlobalAveragePool", x)), w.weight(4, 5))
    network = open_network(w.model(y, (8, 8, 3)))
    assert network.layout == "NHWC"
    answers_alike(network)


def test_free_sizes_are_tried():
    w = files.Writer()
    x = w("Relu", w("Conv", "x", w.weight(4, 3, 3, 3)))
    y = w("Gemm", w("Flatten", w("GlobalAveragePool", x)), w.weight(4, 5))
    network = open_network(w.model(y, ("c", "h", "w")))
    assert network.shape == (None, None, None)
    assert network.num_classes == 5
    x = np.ones((2, 3, 9, 7), np.float32)
    found = network.apply(network.variables, x)
    np.testing.assert_allclose(found, network.ask(x), atol=1e-5)


def head(w, x, inner=12):
    return w("Gemm", w("Flatten", x), w.weight(inner, 5, name="head.weight"))


def test_half_precision_is_computed_in_single():
    w = files.Writer()
    half = w.array(np.float16(w.rng.standard_normal((12, 5))))
    x = w("Cast", w("Flatten", "x"), to_type=onnx.TensorProto.FLOAT16)
    network = open_network(w.model(w("MatMul", x, half), (3, 4)))
    assert all(a.dtype == np.float32 for a in network.weights.values())
    answers_alike(network, tolerance=2e-2)


def test_bytes_as_inputs_have_gradients():
    w = files.Writer()
    x = w("Cast", "x", to_type=onnx.TensorProto.FLOAT)
    x = w("Div", x, w.array(np.float32(255)))
    network = open_network(w.model(head(w, x), (3, 4), kind=onnx.TensorProto.UINT8))
    x = np.random.default_rng(0).integers(0, 256, (3, 3, 4)).astype(np.float32)
    found = network.apply(network.variables, x)
    np.testing.assert_allclose(found, network.ask(x), atol=1e-5)
    assert np.abs(
        jax.grad(lambda x: network.apply(network.variables, x).sum())(x)
    ).all()


def test_a_quantised_network_only_answers():
    w = files.Writer()
    scale, zero = w.array(np.float32(0.1)), w.array(np.uint8(128))
    x = w("QuantizeLinear", "x", scale, zero)
    network = open_network(
        w.model(head(w, w("DequantizeLinear", x, scale, zero)), (3, 4))
    )
    assert network.apply is None
    assert "quantised (DequantizeLinear, QuantizeLinear)" in network.notes[0]
    assert "quantised" in network.find_features((3, 4), None).why
    assert network.ask(examples(network, 4)).shape == (4, 5)


def test_what_only_onnxruntime_knows_is_named_and_answers():
    w = files.Writer(opset=20)
    x = w("GridSample", "x", w.array(np.zeros((1, 2, 2, 2), np.float32)))
    network = open_network(w.model(head(w, x), (3, 4, 4), batch=1))
    assert network.apply is None
    assert "GridSample" in network.notes[0]
    assert network.ask(examples(network, 2)).shape == (2, 5)


def test_control_flow_only_answers():
    w = files.Writer()
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["x"], ["z"])],
        "branch",
        [],
        [onnx.helper.make_empty_tensor_value_info("z")],
    )
    x = w("If", w.array(np.array(True)), then_branch=branch, else_branch=branch)
    network = open_network(w.model(head(w, x), (3, 4)))
    assert network.apply is None
    assert "If" in network.notes[0]


def test_what_onnx_defines_by_others_is_taken_apart():
    w = files.Writer(opset=23)
    x = w("Attention", "x", "x", "x")
    network = open_network(w.model(head(w, x, 2 * 6 * 4), (2, 6, 4)))
    answers_alike(network)


def test_labels_alone_and_the_first_of_several_outputs():
    w = files.Writer()
    y = head(w, "x")
    label = w("ArgMax", y, axis=1, keepdims=0)
    both = open_network(w.model([label, y], (3, 4)))
    assert answers_alike(both).shape == (5, 5)
    assert "is read" in both.notes[0]
    only = open_network(w.model(label, (3, 4)))
    x = examples(only, 5)
    np.testing.assert_array_equal(only.ask(x), both.ask(x).argmax(1))
    assert only.apply is None


def test_scores_in_whole_numbers_are_no_labels_and_have_no_gradient():
    w = files.Writer()
    whole = w("Cast", head(w, "x"), to_type=onnx.TensorProto.INT32)
    network = open_network(w.model(whole, (3, 4)))
    assert network.ask(examples(network, 3)).shape == (3, 5)
    assert network.apply is None
    assert "whole numbers" in network.notes[-1]


def test_layers_by_name():
    network = open_network(files.residual())
    x = examples(network, 3)
    last = network.find_features(network.shape, "fc")
    assert last.layer == "fc (input)"
    pooled = network.find_features(network.shape, "pool")
    assert pooled.layer == "pool (output)"
    values = [jax.jit(f.apply)(network.variables, x) for f in (last, pooled)]
    np.testing.assert_array_equal(*values)
    with pytest.raises(UserError, match=r"unknown layer 'fcc'; did you mean 'fc'\?"):
        network.find_features(network.shape, "fcc")


def test_under_vmap_and_in_a_loop():
    network = open_network(files.residual())
    x = examples(network, 3)
    one = jax.jit(jax.grad(lambda v, x: (network.apply(v, x) ** 2).sum(), 1))
    stacked = jax.tree.map(lambda a: a[None], network.variables)

    @jax.jit
    def steps(x):
        def step(i, x):
            return x - 0.1 * jax.vmap(one, (0, None))(stacked, x)[0]

        return jax.lax.fori_loop(0, 2, step, x)

    by_hand = x - 0.1 * one(network.variables, x)
    by_hand = by_hand - 0.1 * one(network.variables, by_hand)
    np.testing.assert_allclose(steps(x), by_hand, atol=1e-4)


def test_weights_beside_the_file(tmp_path):
    model = files.attentive()
    onnx.save(model, tmp_path / "a.onnx", save_as_external_data=True, size_threshold=0)
    answers_alike(open_network(tmp_path / "a.onnx"))
    next(tmp_path.glob("*[!x]")).unlink()
    assert refusal(tmp_path / "a.onnx").startswith(f"{tmp_path}/a.onnx cannot be read")


def refusal(source, **given):
    """The one line that a network is refused with."""
    with pytest.raises(UserError) as error:
        open_network(source, **given)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_report_calls_a_file_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets").mkdir()
    onnx.save(files.residual(), "nets/a.onnx")
    report = scan("nets/a.onnx", preprocess="0..1", budget=1e-3, progress=False)
    assert report.source == "nets/a.onnx"


def test_refusals(tmp_path):
    path = tmp_path / "a.onnx"
    assert refusal(path).startswith(f"there is no file '{path}'")
    path.mkdir()
    assert "Is a directory" in refusal(path)
    path.rmdir()
    path.write_bytes(b"<html>not found</html>")
    assert "cannot be read as ONNX" in refusal(str(path))
    path.write_bytes(b"")
    assert "it has no operators" in refusal(path)
    assert "holds its weights" in refusal(path, weights="w.safetensors")
    w = files.Writer()
    two = w.model(head(w, w("Add", "x", "other")), (3, 4))
    two.graph.input.append(onnx.helper.make_tensor_value_info("other", 1, ["n", 3, 4]))
    assert "2 inputs (x, other)" in refusal(two)
    w = files.Writer()
    assert "answers with shape (2, 3, 4)" in refusal(w.model(w("Relu", "x"), (3, 4)))
    network = open_network(files.residual())
    with pytest.raises(UserError, match=r"\(3, 8, 8\).*says \(3, 16, 16\)"):
        network.ask(np.zeros((1, 3, 8, 8), np.float32))


@pytest.mark.parametrize("name", ["clean0", "bad0"])
@pytest.mark.skipif(not field.FIELD.exists(), reason="shared/field is not here")
def test_networks_of_others(name):
    path = field.FIELD / "mnist_bn_pytorch" / f"{name}.onnx"
    network = open_network(path)
    known = next(n for n in field.batch_norms() if n.name == name)
    x = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
    planes = x.transpose(0, 3, 1, 2)
    expected = jax.jit(known.apply)(known.variables, x)
    np.testing.assert_allclose(network.ask(planes), expected, atol=0.02)  # float16
    features = network.find_features((1, 28, 28), None)
    found = jax.jit(features.apply)(network.variables, planes)
    expected = jax.jit(known.features)(known.variables, x)
    np.testing.assert_allclose(found, expected, atol=0.02)
