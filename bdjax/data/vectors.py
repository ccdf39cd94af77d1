"""Word vectors: of a file, or from the training sentences themselves.

Files are read entry by entry: word2vec's two formats and GloVe's.
"""

import gzip
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from bdjax.data.content import BOM, GZIP, HEAD, check_foreign
from bdjax.data.words import RESERVED
from bdjax.types import UserError

# Deviation of a component, that of the word2vec vectors which MNTD reads: the kernels'
# start and the learning rate were chosen for inputs of this size.
SPREAD = 0.17
COMMON = 5  # occurrences of a word that others are described by; fewer if need be
SMOOTHING = 0.75
_GRID = 1024

_Entry = tuple[str, np.ndarray]  # a word and its vector, float32 [E]


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
    for word, vector in _entries(file, dimension):
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


def _entries(file: pathlib.Path, dimension: int) -> Iterator[_Entry]:
    """Every word of a file and its vector, in the file's order.

    Args:
      file: word2vec's binary format, or text with a word and its values a line, with
        or without word2vec's header; as it is or compressed with gzip.
      dimension: of the vectors.

    Raises:
      UserError: the file is missing or damaged, is anything else, or has vectors of
        another dimension.
    """
    try:
        with file.open("rb") as raw:
            packed = raw.read(len(GZIP)) == GZIP
        stream: Any
        with (gzip.open if packed else open)(file, "rb") as stream:
            head = stream.read(HEAD)
            check_foreign(head, file, "word vectors")
            stream.seek(len(BOM) if head.startswith(BOM) else 0)
            yield from _unpacked_entries(stream, file, dimension)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file} is truncated or damaged: copy it again") from error
    except OSError as error:
        raise UserError(
            f"cannot read word vectors {file}: {error.strerror}; give the path of a "
            "word2vec or GloVe file"
        ) from error


def _unpacked_entries(
    stream: IO[bytes], file: pathlib.Path, dimension: int
) -> Iterator[_Entry]:
    start = stream.tell()
    header = stream.readline(1 << 20).split()
    count: int | None = None
    if len(header) == 2 and all(part.isdigit() for part in header):
        count, held = map(int, header)
        _check_dimension(held, dimension, file)
        start = stream.tell()
    stream.seek(start)
    # Text has no control characters.
    binary = any(byte < 32 and byte not in b"\t\n\r" for byte in stream.read(HEAD))
    stream.seek(start)
    if not binary:
        yield from _text(stream, file, count or 0, dimension)
    elif count is not None:
        yield from _binary(stream, file, count, dimension)
    else:
        raise UserError(
            f"{file} holds no word vectors that are known: it is binary, but does not "
            "begin with word2vec's count and dimension; give a word2vec or GloVe file"
        )


def _binary(
    stream: IO[bytes], file: pathlib.Path, count: int, dimension: int
) -> Iterator[_Entry]:
    size = 4 * dimension
    for i in range(count):
        word = bytearray()
        while (byte := stream.read(1)) not in (b" ", b""):
            word += byte
        values = stream.read(size)
        if len(values) < size or len(word) > 1 << 16:
            raise _truncated(file, i, count)
        text = word.lstrip(b"\n").decode("utf-8", errors="replace")
        yield text, np.frombuffer(values, "<f4")


def _text(
    stream: IO[bytes], file: pathlib.Path, count: int, dimension: int
) -> Iterator[_Entry]:
    """Lines of a word and its values; at least ``count``, which 0 leaves open."""
    number = 0
    for line in stream:
        if not (parts := line.split()):
            continue
        number += 1
        if number == 1:
            _check_first(parts, line, file, dimension)
        if len(parts) == dimension and line[:1].isspace():
            parts = [b"", *parts]  # a word of white space
        # From the end, since some files have words with spaces in them.
        word, values = parts[:-dimension], parts[-dimension:]
        vector = _floats(values)
        if vector is None or not word:
            raise UserError(
                f"{file} is damaged: the vector {number:,} is no word with {dimension} "
                "numbers; copy it again"
            )
        yield b" ".join(word).decode("utf-8", errors="replace"), vector
    if number < count:
        raise _truncated(file, number, count)


def _check_first(
    parts: Sequence[bytes], line: bytes, file: pathlib.Path, dimension: int
) -> None:
    """Raises ``UserError`` if the first line is no word with so many numbers."""
    if len(parts) > 1 and _floats(parts[1:]) is not None:
        _check_dimension(len(parts) - 1, dimension, file)
    elif len(parts) <= dimension or _floats(parts[-dimension:]) is None:
        begins = line[:40].decode("utf-8", errors="replace").strip()
        raise UserError(
            f"{file} holds no word vectors: it begins with {begins!r}, which is no "
            f"word with {dimension} numbers behind it and blanks between; give a "
            "word2vec or GloVe file"
        )


def _floats(values: Sequence[bytes]) -> np.ndarray | None:
    """float32, or None where one is no number."""
    try:
        with np.errstate(over="ignore"):  # infinity is found later
            return np.array(values, np.float32)
    except ValueError:
        return None


def _check_dimension(found: int, dimension: int, file: pathlib.Path) -> None:
    if found != dimension:
        raise UserError(
            f"{file} has vectors of dimension {found}, but the task reads {dimension}: "
            f"choose the task mr:{found} or other vectors"
        )


def _truncated(file: pathlib.Path, held: int, count: int) -> UserError:
    return UserError(
        f"{file} is truncated or damaged: it holds {held:,} of {count:,} vectors; copy "
        "it again"
    )
