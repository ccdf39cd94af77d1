import pathlib
import zipfile

import numpy as np
import pytest

from bdjax import data
from bdjax.types import UserError

SHARED = pathlib.Path(__file__).parents[1].parent / "shared" / "data"
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (30, 6, 5, 3), np.uint8)
Y = np.arange(30) % 3


def write(path, **arrays):
    full = {"x_train": X[:20], "y_train": Y[:20], "x_test": X[20:], "y_test": Y[20:]}
    full |= arrays
    np.savez_compressed(path, **{k: v for k, v in full.items() if v is not None})
    return path


def load(path, shape=(6, 5, 3)):
    return data.load("npz", name="mine", num_classes=3, shape=shape, path=str(path))


def check_error(path, message, **kwargs):
    with pytest.raises(UserError, match=message) as error:
        load(path, **kwargs)
    assert "\n" not in str(error.value)


def test_round_trip(tmp_path):
    mine = load(write(tmp_path / "a.npz"))
    assert np.array_equal(mine.x, X)
    assert np.array_equal(mine.y, Y)
    assert (mine.x.dtype, mine.y.dtype) == (np.uint8, np.int32)
    assert (mine.name, mine.num_classes, mine.num_train) == ("mine", 3, 20)


def test_without_test_split(tmp_path):
    mine = load(write(tmp_path / "a.npz", x_test=None, y_test=None))
    assert np.array_equal(mine.x, X[:20])
    assert mine.num_train == 20


def test_grey_images_gain_a_channel(tmp_path):
    path = write(tmp_path / "a.npz", x_train=X[:20, ..., 0], x_test=X[20:, ..., 0])
    assert np.array_equal(load(path, shape=(6, 5, 1)).x, X[..., :1])


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_floats_become_float32(tmp_path, dtype):
    x = (X / 255).astype(dtype)
    mine = load(write(tmp_path / "a.npz", x_train=x[:20], x_test=x[20:]))
    assert mine.x.dtype == np.float32
    assert np.array_equal(mine.x, x.astype(np.float32))


def test_orders(tmp_path):
    path = write(tmp_path / "a.npz", x_test=np.asfortranarray(X[20:]))
    assert np.array_equal(load(path).x, X)


def test_vectors_need_not_lie_in_the_unit_interval(tmp_path):
    x = RNG.normal(size=(30, 4)).astype(np.float32)
    path = write(tmp_path / "a.npz", x_train=x[:20], x_test=x[20:])
    assert np.array_equal(load(path, shape=(4,)).x, x)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y_train": None}, "no array 'y_train', it has x_train, x_test, y_test"),
        ({"x_test": None}, "no array 'x_test'"),
        ({"x_train": X[:20, :4]}, r"x_train in .*a.npz holds .* \(4, 5, 3\).*\(6, 5"),
        (
            {"x_train": X[:20].transpose(0, 3, 1, 2)},
            r"\(3, 6, 5\), channels first, .* save x\.transpose\(0, 2, 3, 1\)",
        ),
        ({"x_test": X[20:, ..., 0]}, r"x_test in .* shape \(6, 5\), but the task"),
        ({"x_test": np.uint8(3)}, r"x_test in .* holds examples of shape \(\)"),
        ({"y_train": Y[:19]}, "x_train in .* has 20 rows but y_train has 19"),
        ({"x_test": X[:0], "y_test": Y[:0]}, "x_test in .* is empty"),
        ({"y_test": Y[20:] + 1}, "y_test in .* holds label 3 in row 0.* 0 to 2"),
        ({"y_train": Y[:20] - 1}, "y_train in .* label -1 in row 0"),
        ({"y_train": Y[:20] + 2**32}, "label 4294967296 in row 0"),
        ({"y_train": Y[:20] / 1}, r"dtype float64 and shape \(20,\): save one"),
        ({"y_train": np.eye(3, dtype=int)[Y[:20]]}, r"shape \(20, 3\): save one"),
        ({"y_train": Y[:20].astype(object)}, "y_train in .* has dtype object"),
        ({"x_train": X[:20].astype(object)}, "x_train in .* has dtype object"),
        ({"x_train": X[:20].astype(int)}, "x_train in .* dtype int64: save .* uint8"),
        ({"x_train": X[:20] / 255}, "x_train is float64 but x_test is uint8"),
    ],
)
def test_wrong_arrays(tmp_path, arrays, message):
    check_error(write(tmp_path / "a.npz", **arrays), message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "x_test in .* NaN.* in row 4"),
        (np.inf, "x_test in .* infinity.* in row 4"),
        (1e300, "x_test in .* beyond float32 in row 4"),
        (-0.5, r"x_test in .* spans \[-0.5, 1\], but .* \[0, 1\]: rescale"),
        (255, r"x_test in .* spans \[0, 255\]"),
        (1.00001, r"x_test in .* spans \[0, 1\.00001\], but"),
        (-2e-6, r"x_test in .* spans \[-2e-06, 1\], but"),
    ],
)
def test_wrong_floats(tmp_path, value, message):
    x = X / 255
    x[0, 0, 0], x[20:, 0, 0] = [0, 0, 1], [0, 0, 1]
    x[24, 1, 2, 0] = value
    check_error(write(tmp_path / "a.npz", x_train=x[:20], x_test=x[20:]), message)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_rounding_carried_out_of_range_is_clipped(tmp_path, dtype):
    x = (X / 255).astype(dtype)
    x[0, 0, 0, :2] = np.nextafter(dtype(1), dtype(2)), np.nextafter(dtype(0), dtype(-1))
    x[0, 0, 0, 2] = -1e-7
    mine = load(write(tmp_path / "a.npz", x_train=x[:20], x_test=x[20:]))
    np.testing.assert_array_equal(mine.x, np.clip(x, 0, 1).astype(np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"\n<html><body>404</body></html>", "a web page, not an npz file"),
        (b"\x1f\x8b\x08", "compressed with gzip, not an npz file: unpack it"),
    ],
)
def test_what_one_gets_in_place_of_a_file(tmp_path, content, message):
    (tmp_path / "a.npz").write_bytes(content)
    check_error(tmp_path / "a.npz", message)


def test_files_that_are_no_npz(tmp_path):
    check_error(tmp_path / "none.npz", "none.npz does not exist")
    check_error(tmp_path, "cannot read .*directory")
    np.save(tmp_path / "a.npy", X)
    check_error(tmp_path / "a.npy", "a.npy is not an npz file: save np.savez")
    (tmp_path / "empty.npz").touch()
    check_error(tmp_path / "empty.npz", "is not an npz file")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    check_error(tmp_path / "b.npz", "no array 'x_train', it has readme.txt")
    with pytest.raises(UserError, match="source 'npz' reads a file: give its path"):
        data.load("npz", name="mine", num_classes=3, shape=(6, 5, 3))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_cut_off_file(tmp_path, share):
    path = write(tmp_path / "a.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    check_error(path, "a.npz is truncated or damaged .*: copy or write it again")


def test_a_flipped_bit_gives_the_data_or_one_line(tmp_path):
    path = write(tmp_path / "a.npz")
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        end = archive.start_dir
    messages = []
    for at in range(4, end, 97):
        path.write_bytes(content[:at] + bytes([content[at] ^ 8]) + content[at + 1 :])
        try:
            mine = load(path)
        except UserError as error:
            messages.append(str(error))
        else:
            # Time stamps and the like may change; the arrays may not.
            assert np.array_equal(mine.x, X)
            assert np.array_equal(mine.y, Y)
    assert not [message for message in messages if "\n" in message]
    assert sum("damaged" in message for message in messages) > 20


def test_array_shorter_than_its_header(tmp_path):
    with zipfile.ZipFile(write(tmp_path / "a.npz")) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content[:-1] if name == "x_test.npy" else content)
    check_error(tmp_path / "b.npz", "x_test holds 899 of 900 bytes")


def test_real_mnist():
    path = SHARED / "mnist.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    mnist = data.load(
        "npz", name="mnist", num_classes=10, shape=(28, 28, 1), path=str(path)
    )
    assert mnist.x.shape == (70000, 28, 28, 1)
    assert mnist.num_train == 60000
    assert mnist.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.y[60000:60005].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(mnist.y[:60000]).tolist()[:3] == [5923, 6742, 5958]
