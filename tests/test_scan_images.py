"""Clean images as users have them, and what is wrong with them in one line."""

import numpy as np
import pytest
from PIL import Image

from bdjax.scanning import images
from bdjax.types import UserError

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (12, 5, 6, 3), dtype=np.uint8)
LABELS = np.arange(12) % 4


def folder(path, pictures, names, ending="png"):
    for i, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        (path / str(name)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.squeeze()).save(path / str(name) / f"{i:03}.{ending}")
    return path


def fails(match, *args, **options):
    with pytest.raises(UserError, match=match) as error:
        images.load(*args, **options)
    assert "\n" not in str(error.value)


class TestFolder:
    def test_names_in_order_are_labels(self, tmp_path):
        names = [("cat", "ant", "bee", "dog")[k] for k in LABELS]
        found = images.load(folder(tmp_path, BYTES, names))
        assert found.classes == ("ant", "bee", "cat", "dog")
        assert found.x.shape == (12, 5, 6, 3)
        assert found.given == 12
        row = next(
            i
            for i, x in enumerate(found.x)
            if np.allclose(x, BYTES[0] / 255, atol=1e-6)
        )
        assert found.classes[found.y[row]] == "cat"
        assert "in the order of the folders' names" in found.notes[0]

    def test_numbers_are_labels_and_not_their_order_as_text(self, tmp_path):
        found = images.load(folder(tmp_path, BYTES, [(0, 2, 10, 7)[k] for k in LABELS]))
        assert sorted(set(found.y.tolist())) == [0, 2, 7, 10]
        assert found.classes == ()

    def test_classes_say_the_networks_order(self, tmp_path):
        path = folder(tmp_path, BYTES, ["ab"[k % 2] for k in LABELS])
        found = images.load(path, classes=("b", "c", "a"))
        assert set(found.y.tolist()) == {0, 2}
        fails("a folder 'b', which is none of the classes", path, classes=("a", "c"))

    def test_grey_ones_have_one_channel_unless_some_are_not(self, tmp_path):
        path = folder(tmp_path, BYTES[..., :1], LABELS)
        assert images.load(path).x.shape == (12, 5, 6, 1)
        Image.fromarray(BYTES[0]).save(path / "0" / "colour.png")
        assert images.load(path).x.shape == (13, 5, 6, 3)

    def test_pictures_side_by_side_have_no_labels(self, tmp_path):
        path = folder(tmp_path, BYTES, ["all"] * 12) / "all"
        assert images.load(path).y is None
        found = images.load(path, LABELS)
        assert sorted(found.y.tolist()) == sorted(LABELS.tolist())

    def test_many_are_sampled_with_every_class(self, tmp_path, monkeypatch):
        monkeypatch.setattr(images, "MOST", 8)
        path = folder(tmp_path, BYTES, LABELS)
        first, again, other = (images.load(path, seed=seed) for seed in (0, 0, 1))
        assert np.bincount(first.y).tolist() == [2, 2, 2, 2]
        assert (first.x == again.x).all()
        assert not (first.x == other.x).all()
        assert "8 of the 12 images were looked at" in first.notes[-1]

    def test_sizes_that_differ_are_named_and_not_changed(self, tmp_path):
        path = folder(tmp_path, BYTES, LABELS)
        Image.fromarray(BYTES[0][:4]).save(path / "1" / "small.png")
        fails(r"(is 6 x 5 and .*small.png is 6 x 4|small.png is 6 x 4 and)", path)

    def test_what_is_too_large_is_refused_by_the_first(self, tmp_path, monkeypatch):
        path = folder(tmp_path, BYTES, LABELS)
        with monkeypatch.context() as patched:
            patched.setattr("bdjax.checks._spare_memory", lambda: 100)
            fails("12 images such as .* MiB are to spare; bring them to the", path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        fails("cannot be read as an image: .* decompression bomb", path)

    def test_without_images(self, tmp_path):
        fails("holds no images", tmp_path)
        folder(tmp_path / "train", BYTES, LABELS)
        fails("give .*train", tmp_path)

    def test_no_picture(self, tmp_path):
        path = folder(tmp_path, BYTES, LABELS)
        (path / "0" / "notes.png").write_text("not a picture")
        fails("notes.png cannot be read as an image", path)


class TestArrays:
    @pytest.mark.parametrize(
        "given",
        [
            BYTES,
            BYTES.transpose(0, 3, 1, 2),
            BYTES / 255,
            (BYTES / 255).astype(np.float16),
            BYTES.astype(np.float32),
            BYTES.astype(np.int64),
        ],
        ids=["bytes", "nchw", "unit", "half", "255", "int64"],
    )
    def test_are_floats_channels_last_in_the_unit_range(self, given):
        found = images.load(given, LABELS)
        order = np.lexsort(found.x.reshape(12, -1).T)
        expected = np.lexsort((BYTES / 255).reshape(12, -1).T)
        np.testing.assert_allclose(found.x[order], (BYTES / 255)[expected], atol=1e-3)
        assert found.y[order].tolist() == LABELS[expected].tolist()

    def test_without_an_axis_of_channels(self):
        assert images.load(BYTES[..., 0]).x.shape == (12, 5, 6, 1)

    @pytest.mark.parametrize(
        ("given", "labels", "match"),
        [
            (BYTES / 127.5 - 1, None, "as they were before normalisation"),
            (BYTES * 4.0, None, "as they were before normalisation"),
            (np.full((2, 5, 5), np.nan), None, "NaN or infinite"),
            (BYTES[0, 0], None, "have shape"),
            (np.zeros((3, 7, 8, 9)), None, "1 to 4 channels"),
            ([np.zeros((3, 3)), np.zeros((4, 4))], None, "no array of images"),
            (np.array([["a"]]), None, "must be numbers"),
            (BYTES // 255, None, "0 and 1 only"),
            (BYTES, LABELS[:5], "5 labels of 12 images"),
            (BYTES, LABELS - 1, "a label -1"),
            (BYTES, LABELS + 0.5, "must be whole numbers"),
            (BYTES, ["a"] * 12, "must be whole numbers"),
        ],
    )
    def test_what_makes_no_sense_is_told(self, given, labels, match):
        fails(match, given, labels)


class TestFiles:
    @pytest.mark.parametrize(
        "names", [("images", "labels"), ("x_test", "y_test"), ("data", "targets")]
    )
    def test_npz_under_usual_names(self, tmp_path, names):
        path = tmp_path / "some.npz"
        np.savez(path, **dict(zip(names, (BYTES, LABELS), strict=True)))
        found = images.load(path)
        assert found.x.shape == (12, 5, 6, 3)
        assert sorted(found.y.tolist()) == sorted(LABELS.tolist())

    def test_of_two_splits_the_test_images_with_their_own_labels(self, tmp_path):
        path = tmp_path / "both.npz"
        np.savez(path, x_train=BYTES, y_train=LABELS, x_test=BYTES[:3], y_test=[7] * 3)
        found = images.load(str(path))
        assert found.y.tolist() == [7, 7, 7]

    def test_labels_of_a_file(self, tmp_path):
        path = tmp_path / "labels.txt"
        path.write_text("\n".join(map(str, LABELS)))
        assert images.load(BYTES, path).y is not None
        path.write_text("cat\ndog")
        fails("holds no labels", BYTES, str(path))

    def test_what_is_no_file_of_images(self, tmp_path):
        fails("no such file", tmp_path / "nothing.npz")
        path = tmp_path / "notes.npz"
        path.write_text("not an archive")
        fails("is no folder of images", path)
        np.savez(path, weights=LABELS)
        fails("holds weights; save images", path)
        np.savez(path, images=np.array([{}], dtype=object))
        fails("is no folder of images", path)  # and nothing is unpickled

    def test_more_than_memory(self, tmp_path, monkeypatch):
        path = tmp_path / "some.npz"
        np.savez(path, images=BYTES)
        monkeypatch.setattr("bdjax.checks._spare_memory", lambda: 100)
        fails("give fewer images", path)
