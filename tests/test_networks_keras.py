"""Keras models, against Keras; in a process of its own backend each."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.networks import open_network
from bdjax.types import UserError

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", minversion="3.12")
if keras.backend.backend() != "jax":
    pytest.skip("Keras runs on another backend here", allow_module_level=True)

# Keras makes NumPy arrays of its variables as NumPy 1 had it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)

SHAPE = (8, 8, 3)


def build(activation=None):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Rescaling(2.0),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="relu", name="hidden"),
            layers.Dense(3, name="head", activation=activation),
        ],
        name="small",
    )


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = build("softmax")
    norm = model.layers[2]
    norm.moving_mean.assign(norm.moving_mean + 0.2)
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((5, *SHAPE), np.float32)


@pytest.fixture(scope="module", params=["object", "m.keras"])
def network(model, request, tmp_path_factory):
    if request.param == "object":
        return open_network(model)
    path = tmp_path_factory.mktemp("keras") / "m.keras"
    model.save(path)
    return open_network(path)


def test_keras_answers_and_has_gradients(network, model, images):
    expected = model(images, training=False)
    found = jax.nn.softmax(network.ask(images))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert network.notes == ("its last softmax or sigmoid is left out",)
    assert (network.kind, network.layout, network.shape) == (
        "Keras model",
        "NHWC",
        SHAPE,
    )
    assert network.num_classes == 3
    assert network.weights["head/kernel"].shape == (5, 3)

    def ours(x):
        return jnp.sin(jax.nn.softmax(network.apply(network.variables, x))).sum()

    def theirs(x):
        variables = model.trainable_variables, model.non_trainable_variables
        values = [[v.value for v in of] for of in variables]
        return jnp.sin(model.stateless_call(*values, x)[0]).sum()

    np.testing.assert_allclose(
        jax.jit(jax.grad(ours))(images), jax.jit(jax.grad(theirs))(images), atol=1e-6
    )


def test_keras_features(network, model, images):
    features, layer, _ = network.find_features(SHAPE, None)[:3]
    assert layer == "head (input)"
    part = keras.Model(model.inputs[0], model.get_layer("hidden").output)
    expected = part(images, training=False)
    h = jax.jit(features)(network.variables, images)
    np.testing.assert_allclose(h, expected, atol=1e-6)
    named, layer, _ = network.find_features(SHAPE, "hidden")[:3]
    assert layer == "hidden"
    np.testing.assert_allclose(
        jax.jit(named)(network.variables, images), expected, atol=1e-6
    )
    assert "no layer 'tail'" in network.find_features(SHAPE, "tail").why


def test_keras_files_are_read_safely(tmp_path):
    code = keras.Sequential([keras.Input(SHAPE), keras.layers.Lambda(lambda x: x + 1)])
    code.save(tmp_path / "code.keras")
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    (tmp_path / "old.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    said = {
        "code.keras": "no Keras model that can be read safely",
        "broken.keras": "no Keras model that can be read safely",
        "old.h5": "of an older Keras",
    }
    for name, message in said.items():
        with pytest.raises(UserError, match=message) as caught:
            open_network(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_keras_models_that_cannot_be_asked_are_refused():
    inputs = [keras.Input((3,)), keras.Input((3,))]
    two = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    with pytest.raises(UserError, match="takes 2 inputs"):
        open_network(two)
    with pytest.raises(UserError, match="is not built"):
        open_network(keras.Sequential([keras.layers.Dense(3)]))


@pytest.mark.slow
def test_keras_on_another_backend_only_answers(model, images, tmp_path):
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", images)
    code = (
        "import keras, numpy as np; from bdjax.networks import open_network;"
        "network = open_network('m.keras'); assert network.apply is None;"
        "print(network.notes[0]); np.save('y.npy', network.ask(np.load('x.npy')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Keras runs on numpy; KERAS_BACKEND=jax has gradients" in done.stdout
    expected = model(images, training=False)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-5)
