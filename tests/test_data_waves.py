import json
import logging
import pathlib
import shutil

import numpy as np
import pytest
from scipy import signal

from bdjax.tasks import get_task
from bdjax.tasks.speech import WORDS
from bdjax.types import UserError

SHARED = pathlib.Path(__file__).parents[1].parent / "shared" / "data"
TASK = get_task("speech")


def tone(hz, rate, seconds=1.0, amplitude=0.5):
    t = np.arange(round(rate * seconds)) / rate
    return amplitude * np.sin(2 * np.pi * hz * t)


def clips_of(*waves):
    return np.concatenate(waves), np.cumsum([0, *map(len, waves)])


def write(path, **changes):
    """Twelve tones at 8 kHz, the third and fourth of the test split."""
    waves = [
        np.int16(32767 * tone(200 + 50 * i, 8000, 0.2 + 0.1 * i)) for i in range(12)
    ]
    wave, offset = clips_of(*waves)
    held = {
        "wave": wave,
        "offset": offset,
        "y": np.arange(12) % 10,
        "is_test": np.isin(np.arange(12), (2, 3)),
        "rate": np.int32(8000),
    } | changes
    held = {key: value for key, value in held.items() if value is not None}
    np.savez(path, **held)
    return waves


def load(path, **options):
    return TASK.load("waves", path=str(path), **options)


def test_clips_become_waves_of_one_second_at_16_khz(tmp_path):
    waves = write(tmp_path / "a.npz")
    seen = []
    dataset = load(tmp_path / "a.npz", progress=lambda *at: seen.append(at))
    assert (dataset.x.shape, dataset.x.dtype) == ((12, 16_000), np.int16)
    assert dataset.y.dtype == np.int32
    # Training rows come first.
    order = [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]
    assert dataset.num_train == 10
    np.testing.assert_array_equal(dataset.y, np.array(order) % 10)
    assert seen == [(12, 12)]
    for x, clip in zip(dataset.x, order, strict=True):
        expected = signal.resample_poly(waves[clip].astype(float), 2, 1)[:16_000]
        np.testing.assert_allclose(x[: len(expected)], expected, atol=1)
        assert not x[len(expected) :].any()
    assert dataset.notes[-1] == "3 of 12 clips are longer than 1 s and were cut"


def test_tones_keep_their_pitch(tmp_path):
    rate = 22_050
    wave, offset = clips_of(tone(1000, rate, 1.5), tone(10_500, rate))
    write(
        tmp_path / "a.npz", wave=wave, offset=offset, y=np.array([0, 1]),
        is_test=None, rate=None,
    )  # fmt: skip
    dataset = load(tmp_path / "a.npz", rate=rate)
    loudness = np.abs(np.fft.rfft(dataset.x.astype(float)))
    assert loudness[0].argmax() == 1000  # of one second: bins of 1 Hz
    assert np.abs(dataset.x[0]).max() == pytest.approx(16384, rel=0.05)
    assert np.abs(dataset.x[1, 500:-500]).max() < 200  # above half the new rate


def test_full_scale_does_not_wrap_round(tmp_path):
    square = np.where(tone(300, 8000) >= 0, 32767, -32768).astype(np.int16)
    wave, offset = clips_of(square, square)
    write(
        tmp_path / "a.npz", wave=wave, offset=offset, y=np.array([0, 1]), is_test=None
    )
    x = load(tmp_path / "a.npz").x[0].astype(int)
    assert x.max() == 32767
    assert x.min() == -32768
    assert np.abs(np.diff(x[100:126])).max() < 40_000  # resampling overshoots


def test_16_khz_is_left_alone(tmp_path):
    clip = np.arange(-3000, 3000, dtype=np.int16)
    wave, offset = clips_of(clip, clip[:5])
    y, rate = np.array([3, 4]), np.float64(16_000)
    write(tmp_path / "a.npz", wave=wave, offset=offset, y=y, is_test=None, rate=rate)
    x = load(tmp_path / "a.npz").x
    np.testing.assert_array_equal(x[0, :6000], clip)
    assert not x[0, 6000:].any()
    floats = wave / 32768
    write(tmp_path / "b.npz", wave=floats, offset=offset, y=y, is_test=None, rate=rate)
    np.testing.assert_array_equal(load(tmp_path / "b.npz").x, x)


def test_the_other_byte_order_is_read(tmp_path):
    write(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as held:
        other = {k: a.astype(a.dtype.newbyteorder()) for k, a in held.items()}
        floats = (held["wave"] / 32768).astype(">f4")
    np.savez(tmp_path / "b.npz", **other)
    np.savez(tmp_path / "c.npz", **other | {"wave": floats})
    expected = load(tmp_path / "a.npz")
    for name in ("b.npz", "c.npz"):
        dataset = load(tmp_path / name)
        np.testing.assert_array_equal(dataset.x, expected.x)
        np.testing.assert_array_equal(dataset.y, expected.y)
        assert dataset.x.dtype == np.int16


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_full_scale_may_be_left_by_rounding(tmp_path, dtype):
    wave = np.full(800, np.nextafter(dtype(-1), dtype(-2)))
    wave[1::2] *= -1
    y, rate = np.array([0]), np.int32(16_000)
    write(
        tmp_path / "a.npz", wave=wave, offset=np.array([0, 800]), y=y, is_test=None,
        rate=rate,
    )  # fmt: skip
    x = load(tmp_path / "a.npz").x[0, :800]
    assert (x.reshape(-1, 2) == (-32768, 32767)).all()


def test_silence_is_told(tmp_path):
    silent = np.zeros(800, np.int16)
    wave, offset = clips_of(silent, silent + 1, silent)
    write(
        tmp_path / "a.npz", wave=wave, offset=offset, y=np.array([0, 1, 2]),
        is_test=None,
    )  # fmt: skip
    dataset = load(tmp_path / "a.npz")
    assert dataset.notes[-1] == "2 of 3 clips are silent"
    assert dataset.num_train == 3


ONES = np.ones(10, np.int16)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"rate": None}, {}, "does not say its sampling rate: set data.rate"),
        ({}, {"rate": 16_000}, "says a rate of 8000 Hz, but data.rate is 16000"),
        ({"rate": np.int32(8)}, {}, r"rate of 8 Hz .* must lie in \[1000, 400000\]"),
        ({"rate": np.array(["8"])}, {}, "rate in .* is no number"),
        ({"rate": np.array([1, 2])}, {}, "rate in .* is no number"),
        ({"rate": np.float64("nan")}, {}, "rate in .* is no number"),
        ({"rate": np.float64("inf")}, {}, "rate in .* is no number"),
        ({"wave": None}, {}, "has no array 'wave', it has offset, .*: save"),
        ({"wave": np.ones((30_000, 2), np.int16)}, {}, "average its channels"),
        ({"wave": np.ones(30_000, np.uint8)}, {}, "is uint8: save int16, or floats"),
        ({"wave": np.full(90_000, 1.5)}, {}, r"reaches 1.5, but floats must lie"),
        (
            {"wave": np.full(90_000, -1.0001, np.float32)},
            {},
            r"reaches 1\.0001, but floats must lie in \[-1, 1\]",
        ),
        ({"wave": np.full(90_000, np.nan)}, {}, "clip 0 of .* holds NaN or infinity"),
        ({"wave": ONES}, {}, "offset in .* does not rise from 0 to the 10 samples"),
        ({"offset": np.arange(13)[::-1]}, {}, "offset in .* does not rise"),
        ({"offset": np.arange(13) / 2}, {}, "offset in .* is float64"),
        ({"offset": np.arange(12)}, {}, "has 11 rows but y has 12"),
        ({"offset": np.zeros(13, int)}, {}, "clip 0 of .* is empty: leave it out"),
        ({"y": np.arange(12)}, {}, "y in .* holds label 10 in row 10"),
        ({"y": np.ones(12)}, {}, "y in .* is float64 of shape"),
        ({"is_test": np.ones(3, bool)}, {}, "is_test in .* has 3 rows but y has 12"),
        ({"is_test": np.ones(12, bool)}, {}, "'speech' has no training clips"),
        (
            {"offset": np.zeros(1, int), "y": np.zeros(0, int), "is_test": None},
            {},
            "holds no clips",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(
    tmp_path, changes, options, message
):
    write(tmp_path / "a.npz", **changes)
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "a.npz", **options)
    assert "\n" not in str(error.value)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(UserError, match="reads a file: give the path of an npz"):
        TASK.load("waves")
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "a.npz")
    write(tmp_path / "a.npz")
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(UserError, match="truncated or damaged"):
        load(tmp_path / "a.npz")


def test_the_spoken_digits():
    path = SHARED / "fsdd.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    dataset = load(path)
    assert dataset.x.shape == (3000, 16_000)
    assert dataset.num_train == 2700
    assert (np.bincount(dataset.y[2700:]) == 30).all()
    assert "20 of 3000 clips are longer than 1 s and were cut" in dataset.notes


def spoken(word, i):
    """A clip that tells its word and number: int16, of any length."""
    size = (9000, 16_000, 17_000)[i % 3]
    return np.full(size, 100 * (NAMES.index(word) + 1) + i, np.int16)


NAMES = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes"]
NAMES += ["_silence_", "_unknown_"]


def describe_audio(directory):
    """Says of the sounds what ``tfds.features.Audio`` says of them."""
    from google.protobuf import json_format
    from tensorflow_datasets.core.features import audio_feature, feature
    from tensorflow_datasets.core.proto import feature_pb2

    audio = feature_pb2.AudioFeature(
        shape=feature.to_shape_proto((None,)), dtype="int16",
        file_format="wav", sample_rate=16_000, encoding="NONE", lazy_decode=False,
    )  # fmt: skip
    path = pathlib.Path(directory) / "features.json"
    held = json.loads(path.read_text())
    held["featuresDict"]["features"]["audio"] = {
        "pythonClassName": f"{audio_feature.__name__}.Audio",
        "audio": json_format.MessageToDict(audio),
    }
    path.write_text(json.dumps(held))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """speech_commands as its own builder writes it, but small.

    That takes tensorflow for the feature of sounds; the numbers are stored as here.
    """
    import tensorflow_datasets as tfds

    class _Words(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("0.0.3")
        names = NAMES

        def _info(self):
            audio = tfds.features.Tensor(shape=(None,), dtype=np.int16)
            label = tfds.features.ClassLabel(names=self.names)
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict({"audio": audio, "label": label}),
                supervised_keys=("audio", "label"),
            )

        def _split_generators(self, dl_manager):
            counts = {"train": 3, "validation": 1, "test": 2}
            return {split: self._rows(count) for split, count in counts.items()}

        def _rows(self, count):
            for name in self.names:
                for i in range(count):
                    yield f"{name}_{i}", {"audio": spoken(name, i), "label": name}

        def _generate_examples(self):
            raise NotImplementedError

    class SpeechCommands(_Words, skip_registration=True):
        """Three clips a word to train, two to test."""

    class FewWords(_Words, skip_registration=True):
        """One of the ten words is not there."""

        name = "speech_commands"
        names = NAMES[1:]

    class NoSound(_Words, skip_registration=True):
        """Numbers in place of sounds."""

        name = "speech_commands"

        def _info(self):
            features = {"audio": np.int64, "label": np.int64}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _rows(self, count):
            yield 0, {"audio": 0, "label": 0}

    root = tmp_path_factory.mktemp("tfds")
    # Not by prepare(): tfds would find the stock builder by that name.
    for folder, builder in (("", SpeechCommands), ("few", FewWords), ("none", NoSound)):
        made = builder(data_dir=root / folder, file_format="array_record")
        made.download_and_prepare()
        if builder is not NoSound:
            describe_audio(made.data_dir)
    return root


def test_ten_words_of_speech_commands(prepared, caplog, capfd):
    seen = []
    dataset = TASK.load(
        "tfds", path=str(prepared), progress=lambda *at: seen.append(at)
    )
    assert (dataset.x.shape, dataset.x.dtype) == ((50, 16_000), np.int16)
    assert dataset.num_train == 30  # without the validation split
    assert seen == [(50, 50)]
    assert dataset.notes == ("10 of 50 clips are longer than 1 s and were cut",)
    for rows, count in ((slice(0, 30), 3), (slice(30, 50), 2)):
        expected = {
            (WORDS.index(word), spoken(word, i)[:16_000].tobytes().ljust(32_000, b"\0"))
            for word in WORDS
            for i in range(count)
        }
        found = zip(dataset.y[rows].tolist(), dataset.x[rows], strict=True)
        assert {(y, x.tobytes()) for y, x in found} == expected
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("few", "lacks the words down among its 11 classes"),
        ("none", "has no 'audio' of one channel with a class 'label'"),
        ("nowhere", "'speech_commands' is not prepared in"),
    ],
)
def test_other_directories_are_refused(prepared, root, message):
    with pytest.raises(UserError, match=message) as error:
        TASK.load("tfds", path=str(prepared / root))
    assert "\n" not in str(error.value)


def test_damage_is_told(prepared, tmp_path):
    shutil.copytree(prepared / "speech_commands", tmp_path / "speech_commands")
    (file,) = tmp_path.rglob("*train*array_record*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    file.write_bytes(data)
    with pytest.raises(UserError, match="is damaged") as error:
        TASK.load("tfds", path=str(tmp_path))
    assert "python -m bdjax.data.prepare --name speech_commands" in str(error.value)
