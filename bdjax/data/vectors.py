"""Word vectors: of a file, or from the training sentences themselves."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from bdjax.data.words import RESERVED
from bdjax.types import UserError

# Deviation of a component, that of the word2vec vectors which MNTD reads: the kernels'
# start and the learning rate were chosen for inputs of this size.
SPREAD = 0.17
COMMON = 5  # occurrences of a word that others are described by
SMOOTHING = 0.75
_GRID = 1024


def read_vectors(
    path: str, words: tuple[str, ...], dimension: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Vectors of the vocabulary's words from a file.

    It may be word2vec's binary format, or text with a word and its values a line, with
    word2vec's header (as its text format) or without (as GloVe).

    Args:
      path: the file.
      words: token id to word; the first two stand for no word.
      dimension: of the vectors.

    Returns:
      float32 ``[V, E]``, zeros where the file lacks a word (as MNTD's code has it); and
      a note that says how many these are.

    Raises:
      UserError: the file is missing or damaged, has vectors of another dimension, or
        none of the words.
    """
    file = pathlib.Path(path).expanduser()
    ids = {word: i for i, word in enumerate(words) if i >= len(RESERVED)}
    table = np.zeros((len(words), dimension), np.float32)
    found: set[int] = set()
    try:
        with file.open("rb") as stream:
            for word, vector in _entries(stream, file, dimension):
                i = ids.get(word)
                if i is not None and i not in found:
                    table[i] = vector
                    found.add(i)
    except OSError as error:
        raise UserError(
            f"cannot read word vectors {file}: {error.strerror}; give the path of a "
            "word2vec or GloVe file"
        ) from error
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


def _entries(
    stream: IO[bytes], file: pathlib.Path, dimension: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Every word and its vector, float32 ``[E]``."""
    first = stream.readline(1 << 20)
    header = first.split()
    if len(header) == 2 and all(part.isdigit() for part in header):
        count, held = map(int, header)
        _check_dimension(held, dimension, file)
        start = stream.tell()
        if _is_binary(stream.read(1 << 12)):
            stream.seek(start)
            yield from _binary(stream, file, count, dimension)
            return
        stream.seek(start)
    else:
        stream.seek(0)
    for number, line in enumerate(stream, 1):
        if parts := line.rstrip().split(b" "):
            yield _text(parts, file, number, dimension)


def _is_binary(beginning: bytes) -> bool:
    """Whether a file's vectors are bytes of floats: text has no control characters."""
    return any(byte < 32 and byte not in b"\t\n\r" for byte in beginning)


def _binary(
    stream: IO[bytes], file: pathlib.Path, count: int, dimension: int
) -> Iterator[tuple[str, np.ndarray]]:
    size = 4 * dimension
    for i in range(count):
        word = bytearray()
        while (byte := stream.read(1)) not in (b" ", b""):
            word += byte
        values = stream.read(size)
        if len(values) < size or len(word) > 1 << 16:
            raise UserError(
                f"{file} is truncated or damaged: it holds {i:,} of {count:,} vectors; "
                "copy it again"
            )
        text = word.lstrip(b"\n").decode("utf-8", errors="replace")
        yield text, np.frombuffer(values, "<f4")


def _text(
    parts: list[bytes], file: pathlib.Path, number: int, dimension: int
) -> tuple[str, np.ndarray]:
    # From the end, since some files have words with spaces in them.
    word, values = parts[:-dimension], parts[-dimension:]
    try:
        vector = np.array(values, np.float32)
    except ValueError as error:
        if number == 1:
            _check_dimension(len(parts) - 1, dimension, file)
        raise UserError(
            f"{file} is damaged: the vector {number:,} is no word with {dimension} "
            "numbers; copy it again"
        ) from error
    if not word or (number == 1 and len(parts) - 1 != dimension):
        _check_dimension(len(parts) - 1, dimension, file)
    return b" ".join(word).decode("utf-8", errors="replace"), vector


def _check_dimension(found: int, dimension: int, file: pathlib.Path) -> None:
    if found != dimension:
        raise UserError(
            f"{file} has vectors of dimension {found}, but the task reads {dimension}: "
            f"choose the task mr:{found} or other vectors"
        )


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
      UserError: there are too few words for the dimension.
    """
    from sklearn.utils.extmath import randomized_svd

    matrix = _information(sentences, len(words))
    if matrix.shape[1] <= dimension:
        raise UserError(
            f"{matrix.shape[1]:,} words occur {COMMON} times in the training "
            f"sentences, too few for vectors of dimension {dimension}: load more "
            "sentences, or choose a task mr:DIMENSION of fewer"
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
    return table.astype(np.float32), (note,)


def _information(sentences: Sequence[np.ndarray], count: int) -> Any:
    """Positive pointwise mutual information with common words; sparse ``[V, C]``."""
    from scipy import sparse

    lengths = [len(sentence) for sentence in sentences]
    rows = np.concatenate(sentences), np.repeat(np.arange(len(lengths)), lengths)
    held = sparse.csr_array((np.ones(sum(lengths)), rows), (count, len(lengths)))
    common = np.flatnonzero(held.sum(axis=1) >= COMMON)
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
