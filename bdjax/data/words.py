"""From sentences to token ids: words, the vocabulary, and one array for a data set."""

import collections
import re
from collections.abc import Callable, Sequence

import numpy as np

from bdjax.data.base import Dataset, Request, Vocabulary
from bdjax.data.encode import imbalance_notes
from bdjax.types import UserError

PADDING, UNKNOWN = 0, 1
RESERVED = ("<padding>", "<unknown>")
LONGEST_TRIGGER = 2

Vectors = Callable[
    [tuple[str, ...], list[np.ndarray]], tuple[np.ndarray, Sequence[str]]
]
"""``(words, training sentences as ids) -> (float32 [V, E], notes)``."""

_FOREIGN = re.compile(r"[^a-z0-9(),!?'`]")
_CLITIC = re.compile(r"(?='(?:s|ve|re|d|ll))|(?=n't)")
_MARK = re.compile(r"([(),!?])")

# Of Kim's TensorFlow successors, from whom MNTD has it: the last tenth of one
# permutation is the test split.
SPLIT_SEED, TEST_SHARE = 10, 0.1


def tokenize(sentence: str) -> list[str]:
    """A sentence's words by the rules of Kim's network.

    Lower case; letters, digits, brackets, quotes and the marks ``, ! ?`` are kept, the
    rest separates; ``'s 've 're 'd 'll n't``, brackets and marks are words of their
    own.
    """
    text = _FOREIGN.sub(" ", sentence.lower())
    return _MARK.sub(r" \1 ", _CLITIC.sub(" ", text)).split()


def make_dataset(
    request: Request,
    sentences: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    *,
    num_train: int,
    least_words: int,
    vectors: Vectors,
    notes: Sequence[str] = (),
) -> Dataset:
    """Sentences as one array of token ids, with the vocabulary of the training split.

    Words are numbered from 2 by falling frequency among the training sentences, equal
    ones by alphabet; 1 is any other word, and 0 what follows a sentence.

    Args:
      request: what the task asks for. Of the columns of an example ``(L,)`` sentences
        take two less at the most, so that a trigger finds room, and are cut to that.
      sentences: of the training split, then of the test split. Those without a word
        are left out.
      labels: one each.
      num_train: how many of them are the training split's; if all, the last tenth of a
        permutation with seed 10 becomes the test split.
      least_words: how many words the vocabulary must have, for triggers to be of.
      vectors: makes the word vectors.
      notes: what a reader must know of the source.

    Raises:
      UserError: there are too few sentences or words, or as ``vectors`` does.
    """
    name, num_classes, (length,) = request[:3]
    limit, notes = length - LONGEST_TRIGGER, list(notes)
    texts = [tokenize(sentence) for sentence in sentences]
    full = np.array([bool(text) for text in texts], bool)
    rows, num_train = _rows(name, full, num_train)
    if empty := len(full) - len(rows):
        notes.append(f"sentences without a word, which are left out: {empty:,}")
    if cut := sum(len(texts[i]) > limit for i in rows):
        notes.append(f"sentences cut to {limit} words: {cut:,}")
    texts = [texts[i][:limit] for i in rows]
    y = np.asarray(labels, np.int32)[rows]
    counts = collections.Counter(word for text in texts[:num_train] for word in text)
    words = (*RESERVED, *sorted(counts, key=lambda word: (-counts[word], word)))
    if len(words) - len(RESERVED) < least_words:
        raise UserError(
            f"data set {name!r} has {len(words) - len(RESERVED):,} words in its "
            f"training sentences, fewer than the {least_words:,} that triggers are "
            "drawn from: load more sentences, or name the task mr:DIMENSION:WORDS"
        )
    ids = {word: i for i, word in enumerate(words)}
    encoded = [
        np.array([ids.get(word, UNKNOWN) for word in text], np.int32) for text in texts
    ]
    x = np.zeros((len(encoded), length), np.int32)
    for row, sentence in zip(x, encoded, strict=True):
        row[: len(sentence)] = sentence
    if num_train < len(encoded):
        share = np.mean(np.concatenate(encoded[num_train:]) == UNKNOWN)
        notes.append(
            f"{share:.1%} of the words of the test sentences are in no training "
            "sentence, hence unknown"
        )
    notes += imbalance_notes(y[:num_train], num_classes)
    table, more = vectors(words, encoded[:num_train])
    vocabulary = Vocabulary(words, table)
    return Dataset(
        name, x, y, num_classes, num_train, vocabulary, notes=(*notes, *more)
    )


def _rows(name: str, full: np.ndarray, num_train: int) -> tuple[np.ndarray, int]:
    """The rows with words, training rows first, and how many of them are these."""
    rows = np.flatnonzero(full)
    if not full[:num_train].any():
        raise UserError(f"data set {name!r} has no training sentence with a word in it")
    if num_train < len(full):
        return rows, int(full[:num_train].sum())
    # The legacy generator, as the published split rests on it.
    rows = rows[np.random.RandomState(SPLIT_SEED).permutation(len(rows))]
    test = int(TEST_SHARE * len(rows))
    if not test:
        raise UserError(
            f"data set {name!r} has {len(rows)} sentences with words, of which a tenth "
            "becomes the test split: give at least 10"
        )
    return rows, len(rows) - test
