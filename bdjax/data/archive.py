"""npz files: opened, told from others, and their damage said in one line."""

import contextlib
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError

from bdjax.data.content import HEAD, check_foreign
from bdjax.types import UserError

# What zipfile and numpy raise for bytes that are not what they should be.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


@contextlib.contextmanager
def opened(
    path: str | None, how: str
) -> Iterator[tuple[zipfile.ZipFile, pathlib.Path]]:
    """The open file, whose damage is told in one line; and its path.

    Args:
        path: of the file.
        how: to write one, in words.

    Raises:
        UserError: it is missing, is no npz, or proves to be damaged while it is read.
    """
    if path is None:
        raise UserError("source 'npz' reads a file: give its path")
    file = pathlib.Path(path).expanduser()
    _check_file(file, how)
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive, file
    except UserError:
        raise
    except _DAMAGE as error:
        raise UserError(
            f"{file} is truncated or damaged ({_one_line(error)}): copy or write it "
            "again"
        ) from error


def _check_file(file: pathlib.Path, how: str) -> None:
    """Raises ``UserError`` unless the file can be opened and begins like a zip."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD)
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist: give the path of an npz") from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    if not head.startswith(b"PK\x03\x04"):
        check_foreign(head, file, "an npz file")
        raise UserError(f"{file} is not an npz file: {how}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
