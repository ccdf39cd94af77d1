"""Word vectors: of a file, or from the training sentences themselves."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from bdjax.data.vector_files import entries
from bdjax.data.words import RESERVED
from bdjax.types import UserError

# Deviation of a component, that of the word2vec vectors which MNTD reads: the kernels'
# start and the learning rate were chosen for inputs of this size.
SPREAD = 0.17
COMMON = 5  # occurrences of a word that others are described by; fewer if need be
SMOOTHING = 0.75
_GRID = 1024


def read_vectors(
    path: str, words: tuple[str, ...], dimension: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Vectors of the vocabulary's words from a file.

    It may be word2vec's binary format, or text with a word and its values a line, with
    word2vec's header (as its text format) or without (as GloVe); plain or in gzip.

    Args:
      path: the file.
      words: token id to word; the first two stand for no word.
      dimension: of the vectors.

    Returns:
      float32 ``[V, E]``, zeros where the file lacks a word (as MNTD's code has it); and
      a note that says how many these are.

    Raises:
      UserError: the file is missing or damaged, is no such file, has vectors of
        another dimension, or none of the words.
    """
    file = pathlib.Path(path).expanduser()
    ids = {word: i for i, word in enumerate(words) if i >= len(RESERVED)}
    table = np.zeros((len(words), dimension), np.float32)
    found: set[int] = set()
    for word, vector in entries(file, dimension):
        i = ids.get(word)
        if i is not None and i not in found:
            table[i] = vector
            found.add(i)
    if not found:
        raise UserError(
            f"{file} has none of the {len(ids):,} words of the training sentences; "
            "give vectors of their language, in lower case"
        )
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise UserError(
            f"{file} is damaged: the vector of {words[row]!r} holds NaN or infinity"
        )
    missing = len(ids) - len(found)
    note = (
        f"word vectors are those of {file.name}; {missing:,} of {len(ids):,} words are "
        "not in it and have zeros"
    )
    return table, (note,)


def corpus_vectors(
    words: tuple[str, ...], sentences: Sequence[np.ndarray], dimension: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Vectors from the training sentences alone, so that nothing is downloaded.

    The positive pointwise mutual information of a word and the commoner words that it
    shares sentences with, by truncated singular value decomposition (Levy, Goldberg and
    Dagan, TACL 2015: contexts to the power of .75, the square root of the singular
    values). On Rotten Tomatoes whole sentences as context gave a linear classifier 2 %
    more accuracy than five words to both sides. Every word's vector is scaled to one
    length, since rare words' would be the longest.

    Args:
      words: token id to word; the first two stand for no word, and have zeros.
      sentences: int32 token ids each.
      dimension: of the vectors.

    Returns:
      float32 ``[V, E]``, the same on every machine; and a note that says what they are.

    Raises:
      UserError: there are no more words than dimensions.
    """
    from sklearn.utils.extmath import randomized_svd

    least, matrix = COMMON, _information(sentences, len(words), COMMON)
    while least > 1 and matrix.shape[1] <= dimension:
        least -= 1
        matrix = _information(sentences, len(words), least)
    if matrix.shape[1] <= dimension:
        raise UserError(
            f"{matrix.shape[1]:,} words occur in the training sentences, too few for "
            f"vectors of dimension {dimension}: load more sentences, or choose a task "
            "mr:DIMENSION of fewer"
        )
    left, values, _ = randomized_svd(matrix, dimension, n_iter=3, random_state=0)
    table = left * np.sqrt(values)
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    table *= SPREAD * np.sqrt(dimension) / np.where(norms > 1e-9, norms, np.inf)
    # Coarser than what depends on the order of sums, hence on the number of cores:
    # populations on disk know the sum of the vectors that they were trained on.
    table = np.round(table * _GRID) / _GRID
    note = (
        f"word vectors of dimension {dimension} are computed from the "
        f"{len(sentences):,} training sentences (data.vectors reads a file instead)"
    )
    if least < COMMON:
        note += (
            f"; too few words occur {COMMON} times, so that those which occur {least} "
            "times describe the others, less well"
        )
    return table.astype(np.float32), (note,)


def _information(sentences: Sequence[np.ndarray], count: int, least: int) -> Any:
    """Positive pointwise mutual information with common words; sparse ``[V, C]``."""
    from scipy import sparse

    lengths = [len(sentence) for sentence in sentences]
    rows = np.concatenate(sentences), np.repeat(np.arange(len(lengths)), lengths)
    held = sparse.csr_array((np.ones(sum(lengths)), rows), (count, len(lengths)))
    common = np.flatnonzero(held.sum(axis=1) >= least)
    common = common[common >= len(RESERVED)]
    pairs = (held @ held[common].T).tocoo()
    row, column = pairs.coords
    other = (row != common[column]) & (row >= len(RESERVED))
    row, column, times = row[other], column[other], pairs.data[other]
    words = np.bincount(row, times, count)
    contexts = np.bincount(column, times, len(common)) ** SMOOTHING
    chance = words[row] * contexts[column] / contexts.sum()
    information = np.maximum(np.log(times / chance), 0)
    return sparse.csr_array((information, (row, column)), (count, len(common)))
