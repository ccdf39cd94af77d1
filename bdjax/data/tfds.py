"""Images and spoken words of a prepared tensorflow-datasets directory.

Without tensorflow. tfds cannot open sounds without it, though it stores them as plain
lists of integers. So their files are read directly: what they hold from its JSON, and
records by array_record.
"""

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bdjax.data.base import Dataset, Request, check_labels, check_shape
from bdjax.data.prepared import SPLITS, Prepared, find_or_prepare
from bdjax.data.waves import RATE, Clips
from bdjax.types import UserError

_BATCH = 1000
_PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def load_tfds(request: Request) -> Dataset:
    """Loads a data set of uint8 images with class labels.

    If it is not prepared and tensorflow is installed, it is downloaded and prepared
    first, see :func:`bdjax.data.prepared.find_or_prepare`.

    Raises:
        UserError: if the data set is not prepared and cannot be, was prepared in
            another format, is damaged, or has features, shape or classes other than
            the task's.
    """
    import tensorflow_datasets as tfds

    held = find_or_prepare(request.name, request.path)
    builder = held.builder()
    keys = _feature_keys(builder.info, held, request)
    # tfds would decode by the same pillow, more slowly and with a call to install
    # OpenCV on the console.
    decoders = {keys[0]: tfds.decode.SkipDecoding()}
    # All splits, before the first is read: damage in the last shows at once.
    splits = held.splits(builder, **decoders)
    total = sum(len(records) for records in splits.values())
    x = np.empty((total, *request.shape), np.uint8)
    y = np.empty(total, np.int32)
    done = 0
    for split, records in splits.items():
        where = f"split {split!r} of {held.directory}"
        for start in range(0, len(records), _BATCH):
            rows = range(start, min(start + _BATCH, len(records)))
            with held.reading():
                for row, record in zip(rows, records.__getitems__(rows), strict=True):
                    image, place = record[keys[0]], f"record {row} of {where}"
                    x[done] = _pixels(image, request.shape, place)
                    y[done] = record[keys[1]]
                    done += 1
            if request.progress is not None:
                request.progress(done, total)
        check_labels(y[done - len(records) : done], request.num_classes, where)
    num_train = len(splits["train"])
    return Dataset(request.name, x, y, request.num_classes, num_train)


def _feature_keys(info: Any, held: Prepared, request: Request) -> tuple[str, str]:
    """Returns the names of the image and label features, once they fit the task."""
    import tensorflow_datasets as tfds

    image_key, label_key = info.supervised_keys or ("image", "label")
    features = dict(info.features.items())
    image, label = features.get(image_key), features.get(label_key)
    if (
        not isinstance(image, tfds.features.Image)
        or image.np_dtype != np.uint8
        or not isinstance(label, tfds.features.ClassLabel)
    ):
        raise UserError(
            f"{held.directory} has no uint8 image {image_key!r} with a class label "
            f"{label_key!r} (it has {', '.join(sorted(features))}): use source 'npz'"
        )
    have = tuple(image.shape)
    if len(have) == len(request.shape):
        # Sizes that tfds leaves open (None) are checked image by image.
        have = tuple(n or want for n, want in zip(have, request.shape, strict=True))
    check_shape(have, request.shape, str(held.directory))
    held.check_classes(label.num_classes, request.num_classes)
    return image_key, label_key


def _pixels(data: bytes, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Decodes an image, uint8 ``[H, W, C]``."""
    from PIL import Image

    mode = _PIL_MODES[shape[-1]]
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    check_shape((*pixels.shape[:2], shape[-1]), shape, where)
    return pixels.reshape(shape)


def load_commands(request: Request, *, words: tuple[str, ...]) -> Dataset:
    """Loads some of the words of ``speech_commands``, or what has its features.

    The result is that of :func:`bdjax.data.waves.load_clips`; the path is that of
    :func:`load_tfds`.

    Args:
        request: of clips ``(samples,)`` at 16 kHz. Its name is not used.
        words: classes that are kept, in the order of the task's labels; all others
            are dropped, silence and unknown words among them.

    Raises:
        UserError: the data set is not prepared and cannot be, is damaged, or has other
            features or none of a word.
    """
    prepared = find_or_prepare("speech_commands", request.path)
    directory = prepared.directory
    with prepared.reading():
        rate, classes, files = _describe(prepared, words)
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        splits = {name: ArrayRecordDataSource(paths) for name, paths in files.items()}
        # Labels alone first: most of the clips are of other words.
        chosen = [_chosen(records, classes) for records in splits.values()]
        clips = Clips(request, sum(map(len, chosen)))
        for (split, records), rows in zip(splits.items(), chosen, strict=True):
            wanted = [row for row, _ in rows]
            for row, record in zip(wanted, _features(records, wanted), strict=True):
                where = f"record {row} of split {split!r} of {directory}"
                sound = np.array(record["audio"].int64_list.value, np.int16)
                clips.add(sound, rate, where)
    y = np.array([label for rows in chosen for _, label in rows], np.int32)
    absent = [w for i, w in enumerate(words) if i not in y[: len(chosen[0])]]
    if absent:
        raise UserError(
            f"{directory} has no training clips of {', '.join(absent)}: prepare it "
            "again"
        )
    return clips.dataset(y, num_train=len(chosen[0]))


def _describe(
    prepared: Prepared, words: Sequence[str]
) -> tuple[int, dict[int, int], dict[str, list[str]]]:
    """Rate, the task's classes by the directory's labels, and the files of splits.

    Raises:
        UserError: it does not hold sounds of the words, each of one channel.
    """
    directory = prepared.directory
    about = json.loads((directory / "dataset_info.json").read_text())
    prepared.check_format(about.get("fileFormat"))
    features = json.loads((directory / "features.json").read_text())
    features = features["featuresDict"]["features"]
    audio = features.get("audio", {}).get("audio", {})
    names_file = directory / "label.labels.txt"
    if (
        audio.get("shape", {}).get("dimensions") != ["-1"]
        or audio.get("lazyDecode")
        or audio.get("encoding", "NONE") not in ("NONE", "none", "")
        or not names_file.is_file()
    ):
        raise UserError(
            f"{directory} has no 'audio' of one channel with a class 'label' (it has "
            f"{', '.join(sorted(features))}): use source 'waves'"
        )
    names = names_file.read_text().split()
    missing = [word for word in words if word not in names]
    if missing:
        raise UserError(
            f"{directory} lacks the words {', '.join(missing)} among its "
            f"{len(names)} classes: use source 'waves'"
        )
    classes = {names.index(word): i for i, word in enumerate(words)}
    return int(audio.get("sampleRate", RATE)), classes, _files(prepared, about)


def _files(prepared: Prepared, about: dict[str, Any]) -> dict[str, list[str]]:
    """The files of the splits that are read."""
    splits = {split["name"]: split for split in about["splits"]}
    files = {}
    for name in SPLITS:
        shards = splits.get(name, {}).get("shardLengths", [])
        if sum(map(int, shards)):
            pattern = f"*-{name}.array_record-*-of-{len(shards):05d}"
            files[name] = sorted(map(str, prepared.directory.glob(pattern)))
            if len(files[name]) != len(shards):
                raise OSError(f"{len(files[name])} of {len(shards)} files of {name!r}")
    prepared.check_splits(files)
    return files


def _features(records: Any, rows: Sequence[int]) -> Iterator[Any]:
    """The features of some records, one record after the other."""
    from tensorflow_datasets.proto import tf_example_pb2

    for start in range(0, len(rows), _BATCH):
        for record in records.__getitems__(rows[start : start + _BATCH]):
            example = tf_example_pb2.Example.FromString(record)
            yield example.features.feature


def _chosen(records: Any, classes: dict[int, int]) -> list[tuple[int, int]]:
    """Rows of a split that are kept, and their classes."""
    found = []
    for row, features in enumerate(_features(records, range(len(records)))):
        label = features["label"].int64_list.value[0]
        if label in classes:
            found.append((row, classes[label]))
    return found
