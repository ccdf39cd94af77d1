"""Spoken words of a prepared tensorflow-datasets directory, without tensorflow."""

from typing import Any

import numpy as np

from bdjax.data import tfds as prepared
from bdjax.data.base import Dataset, Progress
from bdjax.data.waves import RATE, Clips
from bdjax.types import UserError

_BATCH = 500


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
    builder = prepared._open(directory, remedy)
    rate, class_of = _features(builder.info, str(directory), words)
    with prepared._reading(directory, remedy):
        splits = _open_splits(builder)
        if "train" not in splits:
            raise UserError(f"{directory} has no examples in a split named 'train'")
        # Labels alone first: most of the clips are of other words.
        chosen = [_chosen(labels, class_of) for labels, _ in splits.values()]
        total, done = sum(map(len, chosen)), 0
        clips, y = Clips(total, shape[0]), np.empty(total, np.int32)
        for (split, (_, sounds)), rows in zip(splits.items(), chosen, strict=True):
            for start in range(0, len(rows), _BATCH):
                part = rows[start : start + _BATCH]
                records = sounds.__getitems__([row for row, _ in part])
                for (row, label), record in zip(part, records, strict=True):
                    where = f"record {row} of split {split!r} of {directory}"
                    clips.add(record["audio"].astype(np.int16), rate, where)
                    y[done] = label
                    done += 1
                if progress is not None:
                    progress(done, total)
    absent = [w for i, w in enumerate(words) if i not in y[: len(chosen[0])]]
    if absent:
        raise UserError(
            f"{directory} has no training clips of {', '.join(absent)}: prepare it "
            "again"
        )
    return clips.dataset(name, y, num_classes, num_train=len(chosen[0]))


def _features(
    info: Any, directory: str, words: tuple[str, ...]
) -> tuple[int, dict[int, int]]:
    """The sampling rate, and the task's class of each of its labels that is kept."""
    import tensorflow_datasets as tfds

    features = dict(info.features.items())
    audio, label = features.get("audio"), features.get("label")
    if (
        not isinstance(audio, tfds.features.Audio)
        or not isinstance(label, tfds.features.ClassLabel)
        or audio.shape != (None,)
    ):
        raise UserError(
            f"{directory} has no 'audio' of one channel with a class 'label' (it has "
            f"{', '.join(sorted(features))}): use source 'waves'"
        )
    missing = [word for word in words if word not in label.names]
    if missing:
        raise UserError(
            f"{directory} lacks the words {', '.join(missing)} among its "
            f"{label.num_classes} classes: use source 'waves'"
        )
    classes = {label.str2int(word): i for i, word in enumerate(words)}
    return audio.sample_rate or RATE, classes


def _open_splits(builder: Any) -> dict[str, tuple[Any, Any]]:
    """Random access to the labels, and to the sounds, of each split."""
    import tensorflow_datasets as tfds

    def only(split: str, feature: str) -> Any:
        decoders = tfds.decode.PartialDecoding({feature: True})
        return builder.as_data_source(split=split, decoders=decoders)

    return {
        split: (only(split, "label"), only(split, "audio"))
        for split in ("train", "test")
        if split in builder.info.splits and builder.info.splits[split].num_examples
    }


def _chosen(labels: Any, class_of: dict[int, int]) -> list[tuple[int, int]]:
    """Rows of a split that are kept, and their classes."""
    found = []
    for start in range(0, len(labels), _BATCH):
        rows = range(start, min(start + _BATCH, len(labels)))
        for row, record in zip(rows, labels.__getitems__(rows), strict=True):
            label = int(record["label"])
            if label in class_of:
                found.append((row, class_of[label]))
    return found
