"""Networks of Flax, plain JAX and Python, against the framework that they are from."""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bdjax import storage
from bdjax.networks import open_network, penultimate, weights
from bdjax.types import UserError

SHAPE, CLASSES = (8, 8, 3), 3


class Linen(nn.Module):
    """What people write: dropout, statistics of batches, a softmax at the end."""

    softmax: bool = False

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.relu(nn.Conv(4, (3, 3))(x))
        x = nn.BatchNorm(use_running_average=not train)(x).mean((1, 2))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = nn.relu(nn.Dense(5, name="hidden")(x))
        x = nn.Dense(CLASSES, name="head")(x)
        return nn.softmax(x) if self.softmax else x


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(4, 5, rngs=rngs)])
        self.head = nnx.Linear(5, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = self.drop(nnx.relu(self.norm(self.conv(x))).mean((1, 2)))
        return self.head(nnx.relu(self.blocks[0](x)))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((5, *SHAPE), np.float32)


@pytest.fixture(scope="module")
def variables(images):
    found = Linen().init(jax.random.key(0), images, train=False)
    stats = jax.tree.map(lambda a: a + 0.3, found["batch_stats"])
    return {**found, "batch_stats": stats}


def gradients(apply, variables, x):
    return jax.jit(jax.grad(lambda x: jnp.sin(apply(variables, x)).sum()))(x)


def same(network, source, images):
    """A network answers as its source does, and so do its gradients."""
    expected = np.asarray(source({}, images))
    np.testing.assert_allclose(network.ask(images), expected, atol=1e-5)
    found = jax.jit(network.apply)(network.variables, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(
        gradients(network.apply, network.variables, images),
        gradients(source, {}, images),
        atol=1e-5,
    )
    assert network.num_classes == CLASSES


def test_linen_answers_in_inference_mode(images, variables):
    network = open_network(Linen(), variables=variables)
    same(network, lambda _, x: Linen().apply(variables, x, train=False), images)
    assert network.kind == "Flax Linen module"
    assert network.layout == "NHWC"
    assert network.weights["params/head/kernel"].shape == (5, 3)
    assert network.parameters == sum(a.size for a in jax.tree.leaves(variables))


def test_a_bound_module_and_a_pair_are_opened_likewise(images, variables):
    network = open_network(Linen(), variables=variables)
    for other in ((Linen(), variables), Linen().bind(variables)):
        np.testing.assert_array_equal(
            open_network(other).ask(images), network.ask(images)
        )


def test_a_softmax_is_left_out_and_said(images, variables):
    network = open_network((Linen(softmax=True), variables))
    assert network.notes == ("its last softmax or sigmoid is left out",)
    same(network, lambda _, x: Linen().apply(variables, x, train=False), images)


@pytest.mark.parametrize("softmax", [False, True])
def test_linen_features_are_what_the_last_dense_layer_reads(images, variables, softmax):
    network = open_network((Linen(softmax=softmax), variables))
    features, layer, why = network.find_features(SHAPE, None)[:3]
    assert (layer, why) == ("head (input)", "")
    h = jax.jit(features)(network.variables, images)
    head = variables["params"]["head"]
    expected = network.ask(images)
    np.testing.assert_allclose(h @ head["kernel"] + head["bias"], expected, atol=1e-5)

    def through_features(variables, x):
        h = features(variables, x)
        return h @ head["kernel"] + head["bias"]

    np.testing.assert_allclose(
        gradients(through_features, network.variables, images),
        gradients(network.apply, network.variables, images),
        atol=1e-6,
    )
    stacked = jax.vmap(lambda x: features(network.variables, x[None]))(images)
    np.testing.assert_allclose(stacked[:, 0], h, atol=1e-6)


def test_linen_layers_go_by_name(images, variables):
    network = open_network((Linen(), variables))
    features, layer, _ = network.find_features(SHAPE, "hidden")[:3]
    assert layer == "hidden"
    automatic = network.find_features(SHAPE, None).apply(network.variables, images)
    h = features(network.variables, images)
    np.testing.assert_allclose(nn.relu(h), automatic, atol=1e-6)
    assert network.find_features(SHAPE, "tail")[:3] == (
        None,
        "",
        "no layer is called 'tail'; there are BatchNorm_0, Conv_0, Dropout_0, head, "
        "hidden",
    )


def test_nnx_answers_in_inference_mode_on_a_copy(images):
    model = Nnx(nnx.Rngs(0))
    network = open_network(model)
    assert not model.drop.deterministic
    model.eval()
    same(network, lambda _, x: model(x), images)
    assert network.kind == "Flax NNX module"
    features, layer, _ = network.find_features(SHAPE, None)[:3]
    assert layer == "head (input)"
    h = jax.jit(features)(network.variables, images)
    np.testing.assert_allclose(model.head(h), model(images), atol=1e-6)
    named, layer, _ = network.find_features(SHAPE, "blocks.0")[:3]
    assert layer == "blocks/0"
    np.testing.assert_allclose(
        nnx.relu(jax.jit(named)(network.variables, images)), h, atol=1e-6
    )


@pytest.mark.parametrize("joint", ["/", "."])
def test_weights_come_from_safetensors(tmp_path, images, variables, joint):
    path = str(tmp_path / "w.safetensors")

    def save(tree):
        arrays = weights.named(tree)
        storage.save_tensors(
            tmp_path / "w.safetensors",
            {name.replace("/", joint): a for name, a in arrays.items()},
        )

    save(variables)
    for given in (None, jax.tree.map(jnp.zeros_like, variables)):
        network = open_network(Linen(), variables=given, weights=path)
        expected = Linen().apply(variables, images, train=False)
        np.testing.assert_allclose(network.ask(images), expected, atol=1e-5)
    model, other = Nnx(nnx.Rngs(0)), Nnx(nnx.Rngs(1))
    save(open_network(model).variables)
    network = open_network(other, weights=path)
    np.testing.assert_array_equal(network.ask(images), open_network(model).ask(images))


def test_weights_of_another_network_are_refused(tmp_path, variables):
    path = tmp_path / "w.safetensors"
    arrays = weights.named(open_network(Nnx(nnx.Rngs(0))).variables)
    changes = {
        "has no head/bias": {"head/bias": None},
        "has tail, which": {"tail": np.zeros(2, np.float32)},
        "head/bias is (4,), and of the network (3,)": {"head/bias": np.zeros(4)},
    }
    for message, change in changes.items():
        new = {k: v for k, v in (arrays | change).items() if v is not None}
        storage.save_tensors(path, new)
        with pytest.raises(UserError) as caught:
            open_network(Nnx(nnx.Rngs(0)), weights=str(path))
        assert message in str(caught.value)


def test_linen_needs_all_its_variables(variables):
    with pytest.raises(UserError, match="without its variables"):
        open_network(Linen())
    with pytest.raises(UserError, match="no 'params'"):
        open_network((Linen(), variables["params"]))


def conv_head(v, x):
    x = jax.nn.relu(x)
    x = jax.lax.conv(x.transpose(0, 3, 1, 2), v["w"][:, :, None, None], (1, 1), "SAME")
    return x.mean((2, 3))


def tokens(v, x):
    return (jax.nn.relu(x.reshape(len(x), 64, 3)) @ v["w"].T).mean(1)


def turned(v, x):
    return (v["w"] @ jax.nn.relu(x.mean((1, 2))).T).T


def by_example(v, x):
    return jax.vmap(lambda x: v["w"] @ jax.nn.relu(x.mean((0, 1))))(x)


@jax.jit
def tempered(v, x):
    inner = jax.checkpoint(lambda x: jax.nn.relu(x.mean((1, 2))))
    return jax.nn.log_softmax((inner(x) @ v["w"].T + 1) / 2)


@pytest.mark.parametrize("apply", [conv_head, tokens, turned, by_example, tempered])
def test_the_penultimate_layer_of_any_function(images, apply):
    v = {"w": jnp.arange(6.0).reshape(2, 3) / 6}
    features, _, why = penultimate.find(apply, v, SHAPE)[:3]
    assert why == ""
    h = jax.jit(features)(v, images)
    assert h.shape == (5, 3)
    y = h @ v["w"].T
    if apply is tempered:
        y = jax.nn.log_softmax((y + 1) / 2)
    np.testing.assert_allclose(y, apply(v, images), atol=1e-5)
    one = jax.jit(features)(v, images[:1])
    np.testing.assert_allclose(one, h[:1], atol=1e-6)


def skips(v, x):
    x = x.mean((1, 2))
    return jax.nn.relu(x @ v["w"].T) + x[:, :2]


def attends(v, x):
    x = x.mean(1)
    return jnp.einsum("nij,nkj->nik", x, x)[:, 0]


def rectified(v, x):
    return jax.nn.relu(x.mean((1, 2)) @ v["w"].T)


def picks(v, x):
    return (x @ v["w"].T)[:, 0, 0]


def finds_most(v, x):
    return (x @ v["w"].T).max((1, 2))


def lists(v, x):
    return (x @ v["w"].T).reshape(len(x), -1)


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (picks, "not averaged, but picked"),
        (finds_most, "not averaged, but picked"),
        (lists, "not averaged, but picked"),
        (skips, "no product with weights is one that all of the answer"),
        (attends, "no product with weights is one that all of the answer"),
        (rectified, "after the last product with weights comes more: custom_jvp_call"),
    ],
)
def test_a_function_without_a_penultimate_layer(apply, message):
    features, _, why = penultimate.find(apply, {"w": jnp.ones((2, 3))}, SHAPE)[:3]
    assert features is None
    assert message in why


def test_functions_of_jax_have_gradients(images):
    w = jax.random.normal(jax.random.key(0), (3, CLASSES))
    network = open_network(lambda x: x.mean((1, 2)) @ w)
    same(network, lambda _, x: x.mean((1, 2)) @ w, images)
    assert network.weights is None
    assert network.variables == {}
    network = open_network(lambda v, x: x.mean((1, 2)) @ v["w"], variables={"w": w})
    same(network, lambda _, x: x.mean((1, 2)) @ w, images)
    assert network.find_features(SHAPE, None).apply is not None


def test_a_sigmoid_is_left_out(images):
    def score(x):
        return jax.nn.sigmoid(x.mean((1, 2, 3)))

    network = open_network(score)
    np.testing.assert_allclose(
        network.ask(images)[:, 0], images.mean((1, 2, 3)), atol=1e-6
    )


def test_shapes_that_are_given_are_traced_first(images):
    w = jnp.ones((8 * 8 * 3, CLASSES))

    def flat(x):
        return x.reshape(-1, 8 * 8 * 3) @ w if x.size % 7 else x[::0]

    assert open_network(flat, shapes=[SHAPE]).apply is not None


def test_functions_of_numpy_only_answer(images):
    network = open_network(lambda x: np.asarray(x).mean((1, 2)))
    assert network.apply is None
    np.testing.assert_array_equal(network.ask(images), images.mean((1, 2)))
    why = "JAX cannot trace it, so it has no gradients"
    assert network.find_features(SHAPE, None)[:3] == (None, "", why)
    labels = open_network(lambda x: np.asarray(x).mean((1, 2)).argmax(1))
    assert labels.ask(images).dtype.kind == "i"
    assert labels.ask(np.repeat(images, 60, 0)).shape == (300,)
    jax_labels = open_network(lambda x: x.mean((1, 2)).argmax(1))
    assert jax_labels.apply is None
    np.testing.assert_array_equal(jax_labels.ask(images), labels.ask(images))


def test_answers_of_another_form_are_refused(images):
    network = open_network(lambda x: np.asarray(x).mean(1))
    with pytest.raises(UserError, match=r"answered \(5, 8, 3\) to 5 inputs"):
        network.ask(images)
    network = open_network(lambda x: np.asarray(x).missing)
    with pytest.raises(UserError, match="failed on inputs of shape"):
        network.ask(images)


def test_several_outputs_have_the_answer_among_them(images):
    network = open_network(lambda x: {"hidden": x, "z": x.mean((1, 2))})
    np.testing.assert_allclose(network.ask(images), images.mean((1, 2)), atol=1e-6)
    assert "the first of shape [N, C]" in network.notes[0]


class Counting(nnx.Module):
    """It keeps count of calls, and takes its mode as an argument."""

    def __init__(self, rngs):
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Conv(3, CLASSES, (1, 1), rngs=rngs)
        self.calls = nnx.Variable(jnp.zeros(()))

    def __call__(self, x, train=True):
        self.calls[...] += 1
        return self.head(self.drop(x, deterministic=not train)).mean((1, 2))


def test_nnx_modules_may_keep_count_and_take_their_mode(images):
    model = Counting(nnx.Rngs(0))
    network = open_network(model)
    expected = model(images, train=False)
    np.testing.assert_allclose(network.ask(images), expected, atol=1e-6)
    h = network.find_features(SHAPE, None).apply(network.variables, images)
    np.testing.assert_allclose(h, images.mean((1, 2)), atol=1e-6)


CODE = """
import flax.linen as nn, jax, jax.numpy as jnp, numpy as np
from flax import nnx
class Head(nnx.Module):
    def __init__(self):
        self.out = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
    def __call__(self, x):
        return self.out(x.mean((1, 2)))
class Small(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x.mean((1, 2)))
def build():
    return Small(), Small().init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
def bare():
    return Small()
def factory():
    return predict
def predict(x):
    return np.asarray(x).mean((1, 2))
def broken():
    raise RuntimeError("no\\nway")
def path():
    return "model.onnx"
def three(a, b, c): ...
head = Head()
NUMBER = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "theirs.py").write_text(CODE)
    yield tmp_path
    sys.modules.pop("theirs", None)


def test_callables_go_by_name(module, images):
    kinds = {
        "build": "Flax Linen module",
        "Head": "Flax NNX module",
        "head": "Flax NNX module",
        "predict": "Python function",
        "factory": "Python function",
    }
    for name, kind in kinds.items():
        network = open_network(f"theirs:{name}")
        assert (network.kind, network.name) == (kind, f"theirs:{name}")
        assert network.ask(images).shape == (5, 3)
    built = weights.named(open_network("theirs:build").variables)
    storage.save_tensors(module / "w.safetensors", built)
    assert open_network("theirs:bare", weights="w.safetensors").apply is not None


def test_callables_that_are_none_are_said_in_one_line(module):
    (module / "bad.py").write_text("1 / 0")
    (module / "needs.py").write_text("import nothing_of_the_kind")
    said = {
        "nowhere:build": "there is no module 'nowhere'",
        "needs:build": "no module 'nothing_of_the_kind' (it imports",
        "bad:build": "importing bad failed: ZeroDivisionError",
        "theirs:missing": "theirs has no 'missing'",
        "theirs:broken": "theirs:broken() failed: RuntimeError: no;",
        "theirs:path": "theirs:path gave 'model.onnx', no network",
        "theirs:NUMBER": "theirs:NUMBER is int, no network",
        "theirs:three": "three takes 3 arguments",
        "theirs:bare": "without its variables",
    }
    for spec, message in said.items():
        with pytest.raises(UserError) as caught:
            open_network(spec)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def export_of(function, batch, *, order=1, leading=()):
    from jax import export

    (size,) = export.symbolic_shape(batch)
    x = jax.ShapeDtypeStruct((size, *SHAPE), jnp.float32)
    return export.export(jax.jit(function))(*leading, x).serialize(vjp_order=order)


def write(path, data):
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("batch", ["b", "2"])
def test_exported_programs_keep_their_gradients(tmp_path, images, batch):
    def source(_, x):
        return jnp.tanh(x.mean((1, 2))) ** 2

    data = export_of(lambda x: source(None, x), batch)
    # Told by what is in it.
    network = open_network(write(tmp_path / "m.bin", bytes(data)))
    same(network, source, images)
    assert (network.kind, network.shape) == ("jax.export program", SHAPE)
    mapped = jax.vmap(lambda x: network.apply({}, x[None])[0])
    np.testing.assert_allclose(mapped(images), network.ask(images), atol=1e-6)
    one = jax.vmap(jax.grad(lambda x: network.apply({}, x[None]).sum()))
    expected = jax.grad(lambda x: source({}, x).sum())(images)
    np.testing.assert_allclose(jax.jit(one)(images), expected, atol=1e-6)
    assert "closed" in network.find_features(SHAPE, None).why


def test_exported_programs_without_gradients_only_answer(tmp_path, images):
    data = export_of(lambda x: x.mean((1, 2)), "b", order=0)
    network = open_network(write(tmp_path / "m.jax", bytes(data)))
    assert network.apply is None
    assert "vjp_order=1" in network.notes[-1]
    np.testing.assert_allclose(network.ask(images), images.mean((1, 2)), atol=1e-6)


def test_exported_programs_of_variables_take_them(tmp_path, images):
    v = {"head": {"w": np.ones((3, 2), np.float32)}}
    data = export_of(lambda v, x: x.mean((1, 2)) @ v["head"]["w"], "b", leading=(v,))
    path = write(tmp_path / "m.jax", bytes(data))
    with pytest.raises(UserError, match="give its weights"):
        open_network(path)
    storage.save_tensors(tmp_path / "w.safetensors", weights.named(v))
    network = open_network(path, weights=str(tmp_path / "w.safetensors"))
    expected = images.mean((1, 2)) @ v["head"]["w"]
    np.testing.assert_allclose(network.ask(images), expected, atol=1e-5)
    assert gradients(network.apply, network.variables, images).shape == images.shape
    assert network.parameters == 6


def test_files_that_are_no_exported_program_are_refused(tmp_path):
    target = "xla_ffi_python_cpu_callback"

    def calls_back(x):
        shape = jax.ShapeDtypeStruct((2, 3), x.dtype)
        return jax.ffi.ffi_call(target, shape)(x, index=np.uint64(3))

    with pytest.raises(UserError, match=r"no program of jax\.export"):
        open_network(write(tmp_path / "m.jax", b"not one"))
    whole = export_of(lambda x: x.mean((1, 2)), "b")
    with pytest.raises(UserError, match=r"no program of jax\.export"):
        open_network(write(tmp_path / "m.jax", bytes(whole[: len(whole) // 2])))
    from jax import export

    x = jax.ShapeDtypeStruct((2, *SHAPE), jnp.float32)
    checks = [export.DisabledSafetyCheck.custom_call(target)]
    data = export.export(jax.jit(calls_back), disabled_checks=checks)(x).serialize()
    with pytest.raises(UserError, match="calls back into Python"):
        open_network(write(tmp_path / "m.jax", bytes(data)))


def test_every_image_network_of_ours_has_its_penultimate_layer():
    from bdjax.models import get_model

    for name in ("lenet", "global_net"):
        model = get_model(name, input_shape=(32, 32, 3), num_classes=4)
        variables = jax.eval_shape(model.init, jax.random.key(0))
        layer = penultimate.find(model.apply, variables, (32, 32, 3)).layer
        assert layer == "logits (input)"
