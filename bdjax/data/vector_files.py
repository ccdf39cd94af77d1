"""Files of word vectors, entry by entry: word2vec's two formats and GloVe's."""

import contextlib
import gzip
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from bdjax.data.content import BOM, GZIP, HEAD, check_foreign
from bdjax.types import UserError

Entry = tuple[str, np.ndarray]
"""A word and its vector, float32 ``[E]``."""

_WANTED = "word vectors"


def entries(file: pathlib.Path, dimension: int) -> Iterator[Entry]:
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
        with _opened(file) as stream:
            yield from _entries(stream, file, dimension)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file} is truncated or damaged: copy it again") from error
    except OSError as error:
        raise UserError(
            f"cannot read word vectors {file}: {error.strerror}; give the path of a "
            "word2vec or GloVe file"
        ) from error


@contextlib.contextmanager
def _opened(file: pathlib.Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked, behind its byte order mark."""
    with file.open("rb") as raw:
        packed = raw.read(len(GZIP)) == GZIP
    stream: Any
    with (gzip.open if packed else open)(file, "rb") as stream:
        head = stream.read(HEAD)
        check_foreign(head, file, _WANTED)
        stream.seek(len(BOM) if head.startswith(BOM) else 0)
        yield stream


def _entries(stream: IO[bytes], file: pathlib.Path, dimension: int) -> Iterator[Entry]:
    start = stream.tell()
    header = stream.readline(1 << 20).split()
    count: int | None = None
    if len(header) == 2 and all(part.isdigit() for part in header):
        count, held = map(int, header)
        _check_dimension(held, dimension, file)
        start = stream.tell()
    stream.seek(start)
    binary = _is_binary(stream.read(HEAD))
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


def _is_binary(beginning: bytes) -> bool:
    """Whether a file's vectors are bytes of floats: text has no control characters."""
    return any(byte < 32 and byte not in b"\t\n\r" for byte in beginning)


def _binary(
    stream: IO[bytes], file: pathlib.Path, count: int, dimension: int
) -> Iterator[Entry]:
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
) -> Iterator[Entry]:
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
