"""Sentences with labels: from text files, and from prepared tensorflow-datasets."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from bdjax.data import tfds as prepared
from bdjax.data.base import Dataset, Progress, check_labels
from bdjax.data.content import decode
from bdjax.data.vectors import corpus_vectors, read_vectors
from bdjax.data.words import Vectors, make_dataset
from bdjax.types import UserError

_SUFFIXES = ({".neg", ".pos"}, {".txt"})


def load_files(
    *,
    name: str,
    num_classes: int,
    shape: tuple[int, ...],
    path: str | None,
    progress: Progress | None,
    vectors: str = "",
    dimension: int,
    least_words: int,
) -> Dataset:
    """Loads sentences from text files, one file a class and one sentence a line.

    Args:
      name: see :func:`bdjax.data.load`, as are those not named here.
      num_classes: number of files.
      shape: ``(L,)``, tokens of a sentence and room for a trigger.
      path: the files in the order of their labels, with commas between them; or the
        folder of a ``.neg`` and a ``.pos`` file (labels 0 and 1), or of so many
        ``.txt`` files (labels by alphabet), whose name may hold commas.
      progress: not called.
      vectors: a file of word vectors; empty to compute them.
      dimension: of the word vectors.
      least_words: how many words the vocabulary must have.

    Raises:
      UserError: a file is missing, empty or no text, there are more or fewer than
        classes, or the vectors do not fit.
    """
    del progress
    if path is None:
        raise UserError(
            f"source 'files' of {name!r} reads one text file a class: give the path of "
            "their folder, or theirs with commas between"
        )
    sentences: list[str] = []
    labels: list[int] = []
    notes = []
    for label, file in enumerate(_find(path, num_classes)):
        lines, latin = _read(file)
        if latin:
            notes.append(f"{file.name} is no UTF-8 and was read as Latin-1")
        if not lines:
            raise UserError(f"{file} is empty: give a sentence a line")
        sentences += lines
        labels += [label] * len(lines)
    return make_dataset(
        name,
        sentences,
        labels,
        num_classes=num_classes,
        num_train=len(sentences),
        length=shape[0],
        least_words=least_words,
        vectors=_vectors(vectors, dimension),
        notes=notes,
    )


def load_tfds(
    *,
    name: str,
    num_classes: int,
    shape: tuple[int, ...],
    path: str | None,
    progress: Progress | None,
    vectors: str = "",
    dimension: int,
    least_words: int,
) -> Dataset:
    """Loads any prepared tensorflow-datasets of texts with class labels.

    Arguments are those of :func:`load_files`, but for ``path``: the directory of one
    prepared data set (with its versions in it, or the version itself), or one that
    holds it by ``name``.

    Raises:
      UserError: it is not there, damaged, or has no text with a label of so many
        classes; or the vectors do not fit.
    """
    directory = _prepared(name, path)
    remedy = "copy or prepare it again"
    builder = prepared._open(directory, remedy)
    text_key, label_key = _feature_keys(builder.info, directory, num_classes)
    sentences: list[str] = []
    labels: list[int] = []
    sizes = []
    with prepared._reading(directory, remedy):
        splits = {
            split: builder.as_data_source(split=split)
            for split in ("train", "test")
            if split in builder.info.splits and builder.info.splits[split].num_examples
        }
        if "train" not in splits:
            raise UserError(f"{directory} has no examples in a split named 'train'")
        total = sum(map(len, splits.values()))
        for records in splits.values():
            for i in range(len(records)):
                record = records[i]
                sentences.append(record[text_key].decode("utf-8", errors="replace"))
                labels.append(int(record[label_key]))
                if progress is not None and len(labels) % 1000 == 0:
                    progress(len(labels), total)
            sizes.append(len(records))
    check_labels(np.asarray(labels), num_classes, str(directory))
    return make_dataset(
        name,
        sentences,
        labels,
        num_classes=num_classes,
        num_train=sizes[0],
        length=shape[0],
        least_words=least_words,
        vectors=_vectors(vectors, dimension),
    )


def _vectors(path: str, dimension: int) -> Vectors:
    if path:
        return lambda words, _: read_vectors(path, words, dimension)
    return functools.partial(corpus_vectors, dimension=dimension)


def _find(path: str, num_classes: int) -> Sequence[pathlib.Path]:
    """The files of all classes, in the order of their labels."""
    whole = os.path.expanduser(path.strip())
    # Not of pathlib, which raises for what is too long for one name.
    parts = [whole] if os.path.exists(whole) else path.split(",")
    given = [pathlib.Path(part.strip()).expanduser() for part in parts]
    if len(given) == 1 and given[0].is_dir():
        inside = sorted(file for file in given[0].iterdir() if file.is_file())
        for suffixes in _SUFFIXES:
            found = [file for file in inside if file.suffix in suffixes]
            if len(found) == num_classes:
                return found
        raise UserError(
            f"{given[0]} must hold a .neg and a .pos file, or {num_classes} .txt "
            "files, one a class: name them in the path, with commas between"
        )
    if len(given) == 1 and not given[0].exists():
        raise UserError(
            f"{given[0]} does not exist: give the folder of the sentences, or a file "
            "a class with commas between"
        )
    if len(given) != num_classes:
        raise UserError(
            f"path names {len(given)} files ({path}), but the task has {num_classes} "
            "classes: give one a class, with commas between and none in their names, "
            "or their folder"
        )
    return given


def _read(file: pathlib.Path) -> tuple[list[str], bool]:
    """A file's lines that are not blank, and whether it had to be read as Latin-1.

    Raises:
      UserError: it cannot be read, or is no text.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {file}: {error.strerror}; give the path of a text file"
        ) from error
    text, latin = decode(data, file, "plain text in UTF-8", latin=True)
    # Not splitlines: it also splits at form feeds, which are within sentences.
    return [line for line in text.split("\n") if line.strip()], latin


def _prepared(name: str, path: str | None) -> pathlib.Path:
    """The version of a prepared data set that ``path`` is, has or leads to."""
    root = prepared.data_root(path)
    if (root / "dataset_info.json").is_file():
        return root
    for folder in (root, root / name):
        if versions := prepared._versions(folder):
            return folder / versions[-1]
    raise UserError(
        f"no prepared tensorflow-datasets in {root} or {root / name}: give as path the "
        "directory of one with texts and labels"
    )


def _feature_keys(
    info: Any, directory: pathlib.Path, num_classes: int
) -> tuple[str, str]:
    """The names of the features that hold the text and its label."""
    import tensorflow_datasets as tfds

    features = dict(info.features.items())

    def of_kind(kind: type) -> list[str]:
        return [key for key, feature in features.items() if isinstance(feature, kind)]

    texts, labels = of_kind(tfds.features.Text), of_kind(tfds.features.ClassLabel)
    supervised = info.supervised_keys or ()
    texts = [key for key in texts if key in supervised] or texts
    labels = [key for key in labels if key in supervised] or labels
    if len(texts) != 1 or len(labels) != 1:
        raise UserError(
            f"{directory} has texts {texts} and class labels {labels}, but a task "
            "reads one of each: choose another data set, or text files (source 'files')"
        )
    held = features[labels[0]].num_classes
    if held != num_classes:
        raise UserError(
            f"{directory} has {held} classes, but the task has {num_classes}: choose "
            "the task that it belongs to"
        )
    return texts[0], labels[0]
