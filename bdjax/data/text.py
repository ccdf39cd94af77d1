"""Sentences with labels: from text files, and from prepared tensorflow-datasets."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bdjax.data.base import Dataset, Request, check_labels
from bdjax.data.content import decode
from bdjax.data.prepared import Prepared, data_root, versions
from bdjax.data.vectors import corpus_vectors, read_vectors
from bdjax.data.words import make_dataset
from bdjax.types import UserError

_SUFFIXES = ({".neg", ".pos"}, {".txt"})


class Sentences(NamedTuple):
    """What a source has: training sentences first, a label each, and notes."""

    texts: list[str]
    labels: list[int]
    num_train: int
    notes: list[str]


def load_sentences(
    request: Request,
    *,
    read: Callable[[Request], Sentences],
    vectors: str = "",
    dimension: int,
    least_words: int,
) -> Dataset:
    """Loads sentences with their word vectors.

    Args:
      request: of examples ``(L,)``, tokens of a sentence and room for a trigger.
      read: :func:`from_files` or :func:`from_tfds`, which say what the path is.
      vectors: a file of word vectors; empty to compute them.
      dimension: of the word vectors.
      least_words: how many words the vocabulary must have.

    Raises:
      UserError: as ``read`` does, or the vectors do not fit.
    """
    texts, labels, num_train, notes = read(request)
    return make_dataset(
        request,
        texts,
        labels,
        num_train=num_train,
        least_words=least_words,
        vectors=lambda words, sentences: (
            read_vectors(vectors, words, dimension)
            if vectors
            else corpus_vectors(words, sentences, dimension)
        ),
        notes=notes,
    )


def from_files(request: Request) -> Sentences:
    """Sentences of text files, one file a class and one sentence a line.

    The path: the files in the order of their labels, with commas between them; or the
    folder of a ``.neg`` and a ``.pos`` file (labels 0 and 1), or of so many ``.txt``
    files (labels by alphabet), whose name may hold commas.

    Raises:
      UserError: a file is missing, empty or no text, or there are more or fewer than
        classes.
    """
    if request.path is None:
        raise UserError(
            f"source 'files' of {request.name!r} reads one text file a class: give the "
            "path of their folder, or theirs with commas between"
        )
    sentences: list[str] = []
    labels: list[int] = []
    notes = []
    for label, file in enumerate(_find(request.path, request.num_classes)):
        lines, latin = _read(file)
        if latin:
            notes.append(f"{file.name} is no UTF-8 and was read as Latin-1")
        if not lines:
            raise UserError(f"{file} is empty: give a sentence a line")
        sentences += lines
        labels += [label] * len(lines)
    return Sentences(sentences, labels, len(sentences), notes)


def from_tfds(request: Request) -> Sentences:
    """Sentences of any prepared tensorflow-datasets of texts with class labels.

    The path: the directory of one prepared data set (with its versions in it, or the
    version itself), or one that holds it by ``name``.

    Raises:
      UserError: it is not there, damaged, or has no text with a label of so many
        classes.
    """
    held = Prepared(_directory(request), "copy or prepare it again")
    builder = held.builder()
    text_key, label_key = _feature_keys(builder.info, held, request.num_classes)
    sentences: list[str] = []
    labels: list[int] = []
    splits = held.splits(builder)
    total = sum(map(len, splits.values()))
    with held.reading():
        for records in splits.values():
            for i in range(len(records)):
                record = records[i]
                sentences.append(record[text_key].decode("utf-8", errors="replace"))
                labels.append(int(record[label_key]))
                if request.progress is not None and len(labels) % 1000 == 0:
                    request.progress(len(labels), total)
    check_labels(np.asarray(labels), request.num_classes, str(held.directory))
    return Sentences(sentences, labels, len(splits["train"]), [])


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


def _directory(request: Request) -> pathlib.Path:
    """The version of a prepared data set that the path is, has or leads to."""
    root = data_root(request.path)
    if (root / "dataset_info.json").is_file():
        return root
    inside = root / request.name
    for folder in (root, inside):
        if found := versions(folder):
            return found[-1]
    raise UserError(
        f"no prepared tensorflow-datasets in {root} or {inside}: give as path the "
        "directory of one with texts and labels"
    )


def _feature_keys(info: Any, held: Prepared, num_classes: int) -> tuple[str, str]:
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
            f"{held.directory} has texts {texts} and class labels {labels}, but a task "
            "reads one of each: choose another data set, or text files (source 'files')"
        )
    held.check_classes(features[labels[0]].num_classes, num_classes)
    return texts[0], labels[0]
