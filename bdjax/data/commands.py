"""Spoken words of a prepared tensorflow-datasets directory, without tensorflow.

tfds cannot open sounds without tensorflow, though it stores them as plain lists of
integers. So its files are read directly: what they hold from its JSON, and records by
array_record.
"""

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bdjax.data import tfds as prepared
from bdjax.data.base import Dataset, Progress
from bdjax.data.waves import RATE, Clips
from bdjax.types import UserError

_BATCH = 500


class _Held(NamedTuple):
    """What a directory says of itself; ``classes`` are the task's, by its labels."""

    rate: int
    classes: dict[int, int]
    files: dict[str, list[str]]


def load_commands(
    *,
    name: str,
    num_classes: int,
    shape: tuple[int, ...],
    path: str | None,
    progress: Progress | None,
    words: tuple[str, ...],
) -> Dataset:
    """Loads some of the words of ``speech_commands``, or what has its features.

    Splits 'train' and, if there is one, 'test' are read. Other arguments and the
    result are those of :func:`bdjax.data.waves.load_clips`, but for ``path``: see
    :func:`bdjax.data.tfds.load_tfds`.

    Args:
        name: not used: the data set is called ``speech_commands``.
        num_classes: number of ``words``.
        shape: ``(samples,)`` at 16 kHz.
        path: the directory of prepared data sets.
        progress: called every 500 clips.
        words: classes that are kept, in the order of the task's labels; all others
            are dropped, silence and unknown words among them.

    Raises:
        UserError: the data set is not prepared and cannot be, is damaged, or has other
            features or none of a word.
    """
    held_name = "speech_commands"
    directory = prepared.find_prepared(held_name, path) or prepared._prepare(
        held_name, path
    )
    remedy = f"delete {directory}, then run: " + prepared.prepare_command(
        held_name, path
    )
    with prepared._reading(directory, remedy):
        held = _describe(directory, words)
        splits = {name: _open(files) for name, files in held.files.items()}
        # Labels alone first: most of the clips are of other words.
        chosen = [_chosen(records, held.classes) for records in splits.values()]
        total, done = sum(map(len, chosen)), 0
        clips, y = Clips(total, shape[0]), np.empty(total, np.int32)
        for (split, records), rows in zip(splits.items(), chosen, strict=True):
            wanted = [row for row, _ in rows]
            for (row, label), record in zip(rows, _read(records, wanted), strict=True):
                where = f"record {row} of split {split!r} of {directory}"
                sound = np.array(record["audio"].int64_list.value, np.int16)
                clips.add(sound, held.rate, where)
                y[done] = label
                done += 1
                if progress is not None and (done % _BATCH == 0 or done == total):
                    progress(done, total)
    absent = [w for i, w in enumerate(words) if i not in y[: len(chosen[0])]]
    if absent:
        raise UserError(
            f"{directory} has no training clips of {', '.join(absent)}: prepare it "
            "again"
        )
    return clips.dataset(name, y, num_classes, num_train=len(chosen[0]))


def _describe(directory: pathlib.Path, words: Sequence[str]) -> _Held:
    """Checks that the directory holds sounds of the words, each of one channel."""
    about = json.loads((directory / "dataset_info.json").read_text())
    if about.get("fileFormat") != "array_record":
        raise UserError(
            f"{directory} was prepared as {about.get('fileFormat')}, only array_record "
            "is read without tensorflow: delete it and prepare it again"
        )
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
    return _Held(
        rate=int(audio.get("sampleRate", RATE)),
        classes={names.index(word): i for i, word in enumerate(words)},
        files=_files(directory, about),
    )


def _files(directory: pathlib.Path, about: dict[str, Any]) -> dict[str, list[str]]:
    """The files of the splits that are read."""
    splits = {split["name"]: split for split in about["splits"]}
    files = {}
    for name in ("train", "test"):
        shards = splits.get(name, {}).get("shardLengths", [])
        if sum(map(int, shards)):
            pattern = f"*-{name}.array_record-*-of-{len(shards):05d}"
            files[name] = sorted(map(str, directory.glob(pattern)))
            if len(files[name]) != len(shards):
                raise OSError(f"{len(files[name])} of {len(shards)} files of {name!r}")
    if "train" not in files:
        raise UserError(f"{directory} has no examples in a split named 'train'")
    return files


def _open(files: list[str]) -> Any:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return ArrayRecordDataSource(files)


def _read(records: Any, rows: Sequence[int]) -> Iterator[Any]:
    """The features of some records, one record after the other."""
    from tensorflow_datasets.proto import tf_example_pb2

    for start in range(0, len(rows), _BATCH):
        for record in records.__getitems__(rows[start : start + _BATCH]):
            example = tf_example_pb2.Example.FromString(record)
            yield example.features.feature


def _chosen(records: Any, classes: dict[int, int]) -> list[tuple[int, int]]:
    """Rows of a split that are kept, and their classes."""
    found = []
    for row, features in enumerate(_read(records, range(len(records)))):
        label = features["label"].int64_list.value[0]
        if label in classes:
            found.append((row, classes[label]))
    return found
