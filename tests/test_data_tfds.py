import importlib.util
import io
import json
import logging
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bdjax import data
from bdjax.data import prepare
from bdjax.tasks import get_task
from bdjax.types import UserError

SHARED = pathlib.Path(__file__).parents[1].parent / "shared" / "data"
TASK = {"name": "tiny_digits", "num_classes": 3, "shape": (4, 5, 1)}


def pretend_tensorflow(monkeypatch, present):
    """Lets bdjax see tensorflow, or not, whatever is installed."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name: present if name == "tensorflow" else find_spec(name),
    )


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def pixels(split, i):
    return np.full((4, 5), 10 * i + (split == "test"), np.uint8)


@pytest.fixture(scope="module")
def builders():
    """Registers builders that pass PNG bytes, and so prepare without tensorflow."""
    import tensorflow_datasets as tfds

    class _Base(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.10.0")
        size, channels, splits = (4, 5), 1, {"train": 12, "test": 6}
        label = tfds.features.ClassLabel(num_classes=3)

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(*self.size, self.channels)),
                "label": self.label,
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            return {split: self._rows(split) for split in self.splits}

        def _rows(self, split):
            for i in range(self.splits[split]):
                yield i, {"image": self.encode(split, i), "label": i % 3}

        def encode(self, split, i):
            return png(pixels(split, i))

        def _generate_examples(self):
            raise NotImplementedError

    class TinyDigits(_Base):
        """Twelve and six grey images."""

    class TinyColours(_Base):
        """Colour images, some of them stored grey; no test split."""

        channels, splits = 3, {"train": 6, "validation": 3}

        def encode(self, split, i):
            grey = pixels(split, i)
            return png(grey if i % 2 else np.stack([grey, grey, grey], -1))

    class TinySizes(_Base):
        """Images of sizes that differ."""

        size = (None, None)

        def encode(self, split, i):
            return png(pixels(split, i)[: 3 if i == 5 else 4])

    class TinyBroken(_Base):
        """One image is not one."""

        def encode(self, split, i):
            return png(pixels(split, i))[: 40 if i == 5 else None]

    class TinyNumbers(_Base):
        """Labels that are no classes."""

        label = tfds.features.Scalar(np.int64)

    class TinyOffline(_Base):
        """A data set whose server does not answer."""

        def _split_generators(self, dl_manager):
            raise ConnectionError("no route\nto host")

    return [TinyDigits, TinyColours, TinySizes, TinyBroken, TinyNumbers, TinyOffline]


@pytest.fixture(scope="module")
def prepared(builders, tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        pretend_tensorflow(patch, present=True)
        for builder in builders[:-1]:
            prepare.prepare(builder.name, str(root))
    return root


@pytest.fixture
def damaged(prepared, tmp_path, monkeypatch):
    """Returns a copy of tiny_digits to damage; tensorflow is out of reach."""
    pretend_tensorflow(monkeypatch, present=None)
    shutil.copytree(prepared / "tiny_digits", tmp_path / "tiny_digits")
    return tmp_path / "tiny_digits" / "1.10.0"


def check_error(path, message, **change):
    with pytest.raises(UserError, match=message) as error:
        data.load("tfds", **{**TASK, **change}, path=str(path))
    assert "\n" not in str(error.value)


def test_prepared_data_are_read(prepared, caplog, capfd):
    seen = []
    digits = data.load(
        "tfds", **TASK, path=str(prepared), progress=lambda *at: seen.append(at)
    )
    assert (digits.x.shape, digits.x.dtype) == ((18, 4, 5, 1), np.uint8)
    assert (digits.y.dtype, digits.num_train) == (np.int32, 12)
    for split, rows in (("train", slice(0, 12)), ("test", slice(12, 18))):
        # tfds shuffles; the pixels tell which row is which.
        order = np.argsort(digits.x[rows, 0, 0, 0])
        want = np.stack([pixels(split, i) for i in range(len(order))])
        assert np.array_equal(digits.x[rows][order][..., 0], want)
        assert np.array_equal(digits.y[rows][order], np.arange(len(order)) % 3)
    assert seen == [(12, 18), (18, 18)]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")


def test_batches_make_no_difference(prepared, monkeypatch):
    whole = data.load("tfds", **TASK, path=str(prepared))
    monkeypatch.setattr("bdjax.data.tfds._BATCH", 5)
    parts = data.load("tfds", **TASK, path=str(prepared))
    assert np.array_equal(whole.x, parts.x)
    assert np.array_equal(whole.y, parts.y)


def test_colours_and_no_test_split(prepared):
    task = {"name": "tiny_colours", "num_classes": 3, "shape": (4, 5, 3)}
    colours = data.load("tfds", **task, path=str(prepared))
    assert colours.num_train == len(colours.x) == 6
    assert sorted(colours.x[:, 1, 1, 2]) == [0, 10, 20, 30, 40, 50]


def test_the_default_directory(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert data.load("tfds", **TASK).num_train == 12


def test_versions_and_configurations(prepared, tmp_path):
    source = prepared / "tiny_digits" / "1.10.0"
    # 1.9.0 is older than 1.10.0, and broken: it must not be the one that is opened.
    (tmp_path / "tiny_digits" / "1.9.0").mkdir(parents=True)
    shutil.copytree(source, tmp_path / "tiny_digits" / "1.10.0")
    assert data.load("tfds", **TASK, path=str(tmp_path)).num_train == 12
    check_error(tmp_path, "1.9.0 is damaged", name="tiny_digits:1.9.0")
    shutil.copytree(source, tmp_path / "other" / "plain" / "1.0.0")
    for name in ("other", "other/plain", "other/plain:1.0.0"):
        task = {**TASK, "name": name}
        assert data.load("tfds", **task, path=str(tmp_path)).num_train == 12
    shutil.copytree(source, tmp_path / "other" / "noisy" / "1.0.0")
    check_error(tmp_path, "other/noisy, other/plain: choose one", name="other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (28, 28, 1)}, r"\(4, 5, 1\), but the task takes \(28, 28, 1\)"),
        ({"shape": (20,)}, r"\(4, 5, 1\), but the task takes \(20,\)"),
        ({"num_classes": 10}, "has 3 classes, but the task has 10"),
        ({"name": "tiny_sizes"}, r"record [0-9]+ of split .* of shape \(3, 5, 1\)"),
        ({"name": "tiny_broken"}, "tiny_broken/1.10.0 is damaged"),
        ({"name": "tiny_numbers"}, r"with a class label 'label' \(it has image, la"),
    ],
)
def test_data_that_do_not_fit(prepared, change, message):
    check_error(prepared, message, **change)


def test_not_prepared_without_tensorflow(tmp_path, monkeypatch):
    pretend_tensorflow(monkeypatch, present=None)
    root = tmp_path / "my data"
    check_error(
        root,
        "'tiny_digits' is not prepared in .*my data: pip install -e '.\\[prepare\\]', "
        "then run: python -m bdjax.data.prepare --name tiny_digits --data_dir '.*'",
    )
    assert not root.exists()


def test_not_prepared_with_tensorflow(builders, tmp_path, monkeypatch):
    pretend_tensorflow(monkeypatch, present=True)
    assert data.load("tfds", **TASK, path=str(tmp_path)).num_train == 12
    assert (tmp_path / "tiny_digits" / "1.10.0").is_dir()
    check_error(tmp_path, "no data set 'tiny_birds'", name="tiny_birds")
    check_error(tmp_path, "'tiny_offline' .* failed: no route to", name="tiny_offline")


@pytest.mark.parametrize(
    "file", ["dataset_info.json", "features.json", "test", "train"]
)
@pytest.mark.parametrize("kind", ["lost", "empty", "cut", "zeroed"])
def test_damage(damaged, file, kind):
    (path,) = damaged.glob(f"*{file}*")
    assert data.load("tfds", **TASK, path=str(damaged.parents[1])).num_train == 12
    content = path.read_bytes()
    half = len(content) // 2
    if kind == "lost":
        path.unlink()
    else:
        zeroed = bytes(half) + content[half:]
        path.write_bytes({"empty": b"", "cut": content[:half]}.get(kind, zeroed))
    check_error(
        damaged.parents[1],
        "1.10.0 is damaged .*: delete .*, then run: python -m bdjax.data.prepare",
    )


def test_other_format(damaged):
    info = json.loads((damaged / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    (damaged / "dataset_info.json").write_text(json.dumps(info))
    check_error(damaged.parents[1], "was prepared as tfrecord, only array_record")


def test_prepare_command(builders, tmp_path, monkeypatch, capsys):
    pretend_tensorflow(monkeypatch, present=True)
    flags = ["--name", "tiny_digits", "--data_dir", str(tmp_path)]
    for _ in range(2):
        assert prepare.main(flags) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == f"prepared: {tmp_path}/tiny_digits/1.10.0"
    pretend_tensorflow(monkeypatch, present=None)
    assert prepare.main(flags) == 2
    assert "needs tensorflow: pip install" in capsys.readouterr().err


def test_prepare_runs_as_a_module_without_warnings():
    command = [sys.executable, "-W", "error", "-m", "bdjax.data.prepare", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--data_dir" in done.stdout
    assert done.stderr == ""


def test_importing_loads_no_reader():
    heavy = "{'tensorflow_datasets', 'mlxtend', 'PIL'}"
    code = f"import sys, bdjax.data; print({heavy} & set(sys.modules))"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_cifar10_as_tfds_prepares_it(tmp_path):
    """Of the stock builder's name, version and features, with a few made-up images."""
    import tensorflow_datasets as tfds

    names = [f"class {i}" for i in range(10)]
    images = np.random.default_rng(0).integers(0, 256, (26, 32, 32, 3), np.uint8)

    class Cifar10(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Twenty images for training and six for testing."""

        VERSION = tfds.core.Version("3.0.2")

        def _info(self):
            features = {
                "id": tfds.features.Text(),
                "image": tfds.features.Image(shape=(32, 32, 3)),
                "label": tfds.features.ClassLabel(names=names),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            return {
                "train": self._rows("train", range(20)),
                "test": self._rows("test", range(20, 26)),
            }

        def _rows(self, split, rows):
            for i in rows:
                name = f"{split}_{i:05d}"
                yield (
                    name,
                    {"id": name, "image": png(images[i]), "label": names[i % 10]},
                )

        def _generate_examples(self):
            raise NotImplementedError

    builder = Cifar10(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    task = get_task("cifar10")
    found = task.load("tfds", path=str(tmp_path))
    assert (found.name, found.num_classes, found.num_train) == ("cifar10", 10, 20)
    assert (found.x.shape, found.x.dtype) == ((26, *task.shape), np.uint8)
    expected = {images[i].tobytes(): (i % 10, i < 20) for i in range(26)}
    for row, (x, y) in enumerate(zip(found.x, found.y, strict=True)):
        assert expected.pop(x.tobytes()) == (y, row < 20)
    assert not expected


@pytest.mark.slow
def test_real_mnist():
    root = SHARED / "tfds"
    if not root.exists():
        pytest.skip(f"{root} is not here")
    task = {"name": "mnist", "num_classes": 10, "shape": (28, 28, 1)}
    mnist = data.load("tfds", **task, path=str(root))
    assert mnist.x.shape == (70000, 28, 28, 1)
    assert mnist.num_train == 60000
    same = data.load("npz", **task, path=str(SHARED / "mnist.npz"))
    for rows in (slice(0, 60000), slice(60000, 70000)):
        images = [
            {
                (image.tobytes(), y)
                for image, y in zip(d.x[rows], d.y[rows], strict=True)
            }
            for d in (mnist, same)
        ]
        assert images[0] == images[1]
