"""A user's own arrays: which task they make, what is refused, that it all runs."""

import jax
import numpy as np
import pytest

from bdjax.attacks import attacks_on
from bdjax.experiments.configurations import load as load_experiment
from bdjax.experiments.overrides import change
from bdjax.experiments.zoo import MOST_TEST, load_data, resolve
from bdjax.mntd import FitConfig, MetaDetector, load
from bdjax.mntd.classifier import Meta, MetaClassifier
from bdjax.mntd.coverage import covering
from bdjax.population import Examples, Execution, Recipe
from bdjax.population.train import train_models
from bdjax.tasks import SERIES, get_task
from bdjax.tasks.npz import name_of
from bdjax.types import UserError
from bdjax.verdicts import Calibration

ROWS = 80


def write(path, shape, *, dtype=np.float32, classes=2, rows=ROWS, **arrays):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(rows, *shape))
    x = (255 * x).astype(dtype) if np.dtype(dtype).kind == "u" else x.astype(dtype)
    arrays = {"x_train": x, "y_train": np.arange(rows) % classes} | arrays
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def config(path, *, arg="smoke", **changes):
    made = load_experiment(f"mntd_npz:{arg}")
    changes = {"zoo.data.path": str(path)} | {
        name.replace("__", "."): value for name, value in changes.items()
    }
    return resolve(change(made, changes))


@pytest.mark.parametrize(
    ("shape", "dtype", "name", "network", "kind"),
    [
        ((28, 28), "u1", "npz:28x28x1:3", "mntd_mnist_cnn", "images"),
        ((28, 28), "f4", "npz:28x28x1:3", "mntd_mnist_cnn", "images"),
        ((9, 24), "u1", "npz:9x24x1:3", "small_cnn", "images"),
        ((32, 20, 3), "f8", "npz:32x20x3:3", "mntd_cifar_cnn", "images"),
        ((8, 8, 1), "u1", "npz:8x8x1:3", "small_cnn", "images"),
        ((64, 48, 3), "u1", "npz:64x48x3:3", "thin_resnet", "images"),
        ((24, 3), "f4", "npz:24x3:3", "series_lstm", "series"),
        ((7,), "f4", "npz:7:3", "mlp", "tables"),
    ],
)
def test_the_task_follows_from_the_file(tmp_path, shape, dtype, name, network, kind):
    path = write(tmp_path / "a.npz", shape, dtype=dtype, classes=3)
    made = config(path)
    assert made.zoo.task == name
    task = get_task(name)
    assert get_task(name) is task
    assert (task.model, task.modality.name, task.num_classes) == (network, kind, 3)
    model = task.network()
    x = jax.ShapeDtypeStruct((5, *task.shape), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.eval_shape(model.apply, variables, x).shape == (5, 3)
    for attack in ("benign", "M", "B", "jumbo"):
        drawn = jax.eval_shape(attacks_on(kind)[attack](task).sample, jax.random.key(0))
        assert drawn.form.pattern.shape == task.shape
    dataset = task.load("npz", path=str(path))
    assert dataset.name == "a"
    assert dataset.x.shape == (ROWS, *task.shape)
    assert (dataset.units is None) == (kind == "images")


def test_sizes_of_zero_are_shares_of_the_rows(tmp_path):
    path = write(tmp_path / "a.npz", (7,))
    data = config(path).zoo.data
    assert (data.defender, data.attacker, data.test) == (20, 40, 20)
    more = {"x_test": np.zeros((3000, 7), "f4"), "y_test": np.zeros(3000, int)}
    data = config(write(tmp_path / "b.npz", (7,), **more)).zoo.data
    assert (data.defender, data.attacker, data.test) == (20, 40, MOST_TEST)
    data = config(path, zoo__data__defender=30, zoo__data__test=5).zoo.data
    assert (data.defender, data.attacker, data.test) == (30, 40, 5)


@pytest.mark.parametrize(
    "shape",
    [(1, 28, 28), (3, 32, 32), (4, 32, 32), (13, 64, 64), (3, 48, 64), (32, 9, 9)],
)
def test_images_with_channels_first_are_refused(tmp_path, shape):
    path = write(tmp_path / "a.npz", shape, dtype="u1")
    with pytest.raises(
        UserError, match=r"channels first: save x\.transpose\(0, 2, 3, 1"
    ):
        config(path)
    turned = (*shape[1:], shape[0])
    name = name_of(turned, np.dtype("u1"), 2)
    assert name == f"npz:{'x'.join(map(str, turned))}:2"
    get_task(name)
    # What the refusal offers is taken, and what is not offered is not.
    named = f"npz:{'x'.join(map(str, shape))}:2"
    with pytest.raises(UserError) as error:
        name_of(shape, np.dtype("u1"), 2)
    if named in str(error.value):
        assert config(path, zoo__task=named).zoo.task == named
        assert get_task(named).shape == shape
    else:
        with pytest.raises(UserError, match="too small; if they are channels first"):
            get_task(named)


@pytest.mark.parametrize(("channels", "steps"), [(1, 24), (9, 128), (6, 24)])
def test_series_with_channels_first_are_refused(channels, steps):
    shape, dtype = (channels, steps), np.dtype("f4")
    with pytest.raises(
        UserError, match=r"first: save x\.transpose\(0, 2, 1\)"
    ) as error:
        name_of(shape, dtype, 2)
    for name in (f"npz:{channels}x{steps}:2", f"npz:{channels}x{steps}x1:2"):
        assert name in str(error.value)
    get_task(f"npz:{channels}x{steps}:2")
    assert name_of(shape[::-1], dtype, 2) == f"npz:{steps}x{channels}:2"


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((6, 9, 3), "u1"), ((4, 32, 4), "u1"), ((28, 28, 40), "f4"), ((8, 8, 8), "f4"),
        ((64, 48, 13), "f4"), ((5, 90), "u1"), ((24, 60), "f4"), ((2, 3), "f4"),
    ],
)  # fmt: skip
def test_odd_shapes_that_are_channels_last(shape, dtype):
    assert name_of(shape, np.dtype(dtype), 2).startswith(
        f"npz:{'x'.join(map(str, shape))}"
    )


def test_rare_and_many_classes_are_split_at_the_defaults(tmp_path):
    rare = (np.arange(600) % 150 == 0).astype(int)
    for y in (np.arange(600) % 120, np.arange(600) % 200, rare):
        path = write(tmp_path / "a.npz", (3,), rows=600, y_train=y)
        for seed in range(8):
            made = config(path, seed=seed)
            dataset, splits = load_data(made)
            assert set(dataset.y[splits.defender]) == set(y)
            assert not np.intersect1d(splits.defender, splits.attacker).size
    assert config(path, arg="official").zoo.data.split == "official"


def test_a_full_name_is_taken_at_its_word(tmp_path):
    path = write(tmp_path / "a.npz", (24, 24))
    assert config(path).zoo.task == "npz:24x24x1:2"
    assert config(path, zoo__task="npz:24x24:2").zoo.task == "npz:24x24:2"
    assert get_task("npz:24x24:2").modality is SERIES


def test_other_tasks_are_left_alone():
    made = load_experiment("mntd_tabular:smoke")
    assert resolve(made) is made


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y_train": np.zeros(ROWS, int)}, "a single class, 0: a classifier"),
        ({"y_train": np.arange(ROWS) % 2 * 2}, "labels up to 2 but no row of class 1"),
        ({"y_train": np.arange(ROWS) % 2 - 1}, "label -1: number the classes 0, 1"),
        ({"y_train": np.array(["a", "b"] * 40)}, r"dtype <U1.*integer label a row"),
        ({"y_train": np.arange(ROWS) % 2 + 0.5}, "dtype float64.*integer label"),
        ({"y_train": np.arange(9)}, "80 rows but y_train has 9"),
        ({"x_train": np.zeros((ROWS, 7), object)}, "dtype object|damaged"),
        ({"x_train": np.zeros(ROWS)}, r"examples of shape \(\); give images"),
        ({"x_train": np.zeros((ROWS, 2, 2, 2, 2))}, r"shape \(2, 2, 2, 2\); give"),
        ({"y_train": None}, "no array 'y_train', it has x_train"),
        (
            {"x_test": np.zeros((2, 6)), "y_test": np.zeros(2, int)},
            r"holds examples of shape \(6,\), but the task takes \(7,\)",
        ),
    ],
)
def test_files_that_make_no_task(tmp_path, arrays, message):
    path = write(tmp_path / "a.npz", (7,), **arrays)
    with pytest.raises(UserError, match=message) as error:
        config(path)
    assert "\n" not in str(error.value)


def test_other_mistakes(tmp_path):
    with pytest.raises(UserError, match="give its path"):
        config("")
    with pytest.raises(UserError, match="3 x 9 pixels are too small"):
        get_task(name_of((3, 9, 1), np.dtype("u1"), 2))
    for name in ("npz:7", "npz:7:1", "npz:0:2", "npz:1x2x3x4:2", "npz:a:2"):
        with pytest.raises(UserError, match="npz:HxWxC:K for images"):
            get_task(name)
    for value in (np.nan, -np.inf, 1e300, 3e38):
        x = np.zeros((ROWS, 7))
        x[13, 2] = value
        path = write(tmp_path / "a.npz", (7,), x_train=x)
        with pytest.raises(UserError, match=r"NaN.* beyond float32 in row 13"):
            get_task("npz:7:2").load("npz", path=str(path))


def test_units_and_imbalance(tmp_path):
    x = np.random.default_rng(0).normal([5, -900], [1, 300], (ROWS, 2))
    y = (np.arange(ROWS) < 10).astype(int)
    path = write(tmp_path / "a.npz", (2,), x_train=x, y_train=y)
    dataset = get_task("npz:2:2").load("npz", path=str(path))
    assert (dataset.x.min(), dataset.x.max()) == (0, 1)
    np.testing.assert_allclose(
        dataset.x * dataset.units.scale + dataset.units.offset, x, rtol=1e-4, atol=1e-3
    )
    assert any("88% of the training rows are of class 0" in n for n in dataset.notes)


def test_features_of_any_numbers_keep_their_digits(tmp_path):
    """Seconds since 1970 of one hour: float32 has steps of two minutes there."""
    seconds = 1_600_000_000 + np.arange(ROWS) * 45
    x = np.stack([seconds, np.arange(ROWS) % 2], axis=1)
    for dtype in (np.int64, np.float64):
        path = write(tmp_path / "a.npz", (2,), x_train=x.astype(dtype))
        assert config(path).zoo.task == "npz:2:2"
        dataset = get_task("npz:2:2").load("npz", path=str(path))
        np.testing.assert_allclose(dataset.x[:, 0], np.linspace(0, 1, ROWS), atol=1e-6)
        np.testing.assert_array_equal(dataset.x[:, 1], x[:, 1])
        assert len(dataset.notes) == 1
        assert dataset.notes[0].startswith("feature 0 varies by 3555 around 1.6e+09")
    path = write(tmp_path / "a.npz", (9, 9), x_train=np.zeros((ROWS, 9, 9), int))
    with pytest.raises(UserError, match="dtype int64: save images as uint8"):
        get_task("npz:9x9x1:2").load("npz", path=str(path))


@pytest.mark.parametrize("shape", [(6, 9, 2), (5, 2), (4,)])
def test_models_train_on_any_shape(tmp_path, shape):
    rng = np.random.default_rng(0)
    y = np.arange(ROWS) % 3
    x = rng.uniform(size=(ROWS, *shape)) * 0.2 + 0.3 * y.reshape(-1, *[1] * len(shape))
    path = write(tmp_path / "a.npz", shape, x_train=x, y_train=y)
    task = get_task(name_of(shape, x.dtype, 3))
    dataset = task.load("npz", path=str(path))
    _, _, quality = train_models(
        task.network(),
        attacks_on(task.modality.name)["M"](task),
        Recipe(steps=120, batch_size=16, learning_rate=0.01),
        jax.random.split(jax.random.key(0), 2),
        np.arange(60),
        np.arange(60, ROWS),
        Examples(dataset.x, dataset.y),
        execution=Execution(devices=1),
    )
    assert (np.asarray(quality.accuracy) > 0.8).all()


@pytest.mark.parametrize("units", [None, "own"])
def test_a_detector_asks_in_the_users_units(tmp_path, units):
    rng = np.random.default_rng(0)
    scaled = None
    if units:
        scaled = np.float32([10, -900, 0]), np.float32([2, 300, 1])
    config = FitConfig(queries=4, hidden=3)
    queries = rng.uniform(size=(4, 3)).astype(np.float32)
    weights = MetaClassifier(3).init(jax.random.key(0), np.zeros(8, np.float32))
    detector = MetaDetector(
        task="npz:3:2", meta=Meta(queries, jax.device_get(weights)), config=config,
        calibration=Calibration(np.array([0, 1]), 0.0, 0.0, "a test"),
        coverage=covering(rng.normal(size=(3, 4, 2))), num_classes=2,
        value_range=(0.0, 1.0), validation_auc=1.0, units=scaled,
        columns=("age", "hours", "sex=Male"),
    )  # fmt: skip
    detector.save(tmp_path / "d")
    seen = []

    def network(x):
        seen.append(x)
        return rng.normal(size=(4, 2)).astype(np.float32)

    for each in (detector, load(tmp_path / "d")):
        each.score(network)
    expected = queries * scaled[1] + scaled[0] if units else queries
    assert len(seen) == 4
    for i, x in enumerate(seen):
        assert x.dtype == np.float32
        wanted = expected[[0, 1, 0, 1]] if i % 2 else expected
        np.testing.assert_allclose(x, wanted, rtol=1e-6)
    seen[0][:] = 0  # a copy
    np.testing.assert_array_equal(detector.queries, queries)
    assert (load(tmp_path / "d").units is None) == (units is None)
    assert load(tmp_path / "d").columns == ("age", "hours", "sex=Male")
    with pytest.raises(UserError, match="columns from 'age' to 'sex=Male'"):
        detector.score(lambda x: x)
