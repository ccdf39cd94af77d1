"""What files hold by their first bytes, whatever their names say.

And npz files: looked into before they are read, damage in one line.
"""

import contextlib
import math
import pathlib
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from typing import NamedTuple

import numpy as np

from bdjax.types import UserError

HEAD = 1 << 12
"""So many first bytes are enough for :func:`check_foreign`."""

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"

_UNPACK = "unpack it"
_FOREIGN = {
    GZIP: ("compressed with gzip", _UNPACK),
    b"BZh": ("compressed with bzip2", _UNPACK),
    b"\xfd7zXZ\0": ("compressed with xz", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", _UNPACK),
    b"PK\3\4": ("a zip archive", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    b"\xff\xfe": ("text in UTF-16", "save it in UTF-8"),
    b"\xfe\xff": ("text in UTF-16", "save it in UTF-8"),
    b"version https://git-lfs": (
        "a git-lfs pointer",
        "fetch the file with git lfs pull",
    ),
}
_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml")

# In no text but tabs, line ends, and those that old ones end in or are coloured by.
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b"))
_MOST_CONTROLS = 0.01

# What zipfile and numpy raise for bytes that are not what they should be.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
)


def check_foreign(head: bytes, file: pathlib.Path, wanted: str) -> None:
    """Raises ``UserError`` for files that one gets in place of the wanted one.

    Compressed ones, text in UTF-16, web pages, pointers of git-lfs.

    Args:
        head: the first :data:`HEAD` bytes.
        file: whose they are.
        wanted: what the file should hold, such as ``"csv in UTF-8"``.
    """
    for magic, (what, remedy) in _FOREIGN.items():
        if head.startswith(magic):
            raise UserError(f"{file} is {what}, not {wanted}: {remedy}")
    if head.removeprefix(BOM).lstrip()[:16].lower().startswith(_PAGE):
        raise UserError(f"{file} is a web page, not {wanted}: download the file itself")


def decode(
    data: bytes, file: pathlib.Path, wanted: str, *, latin: bool = False
) -> tuple[str, bool]:
    """A file's text, without the byte order mark.

    Args:
        data: all of it.
        file: whose it is.
        wanted: what it should hold, such as ``"csv in UTF-8"``.
        latin: whether what is not UTF-8 is read as Latin-1.

    Returns:
        The text, and whether it was read as Latin-1.

    Raises:
        UserError: as :func:`check_foreign`; or it is binary; or, unless ``latin``, not
            in UTF-8.
    """
    check_foreign(data[:HEAD], file, wanted)
    if b"\0" in data:
        raise UserError(
            f"{file} is binary or in UTF-16 (it holds NUL bytes), not {wanted}: save "
            "it as that"
        )
    try:
        return data.decode("utf-8-sig"), False
    except UnicodeDecodeError as error:
        if not latin:
            raise UserError(
                f"{file} is not {wanted} (byte {error.start + 1:,} does not fit): save "
                "it as that"
            ) from error
    controls = len(data) - len(data.translate(None, _CONTROLS))
    if controls > _MOST_CONTROLS * len(data):
        raise UserError(
            f"{file} is binary (it holds control characters), not {wanted}: save it as "
            "that"
        )
    return data.decode("latin-1"), True


def one_line(error: BaseException) -> str:
    """The beginning of an exception's text, without line breaks."""
    return " ".join(str(error).split())[:200] or type(error).__name__


class Member(NamedTuple):
    """One array of a file, as its header announces it; ``data_bytes`` as stored."""

    key: str
    where: str
    shape: tuple[int, ...]
    dtype: np.dtype
    data_bytes: int


class Archive:
    """An open npz file, none of whose arrays has been read."""

    def __init__(self, npz: np.lib.npyio.NpzFile, file: pathlib.Path, how: str):
        """Of ``np.load``; see :func:`opened`."""
        assert npz.zip is not None, "it is open"
        self._npz, self._zip, self.file, self._how = npz, npz.zip, file, how

    def __contains__(self, key: str) -> bool:
        return f"{key}.npy" in self._zip.namelist()

    def header(self, key: str) -> Member:
        """What one array claims to be.

        Raises:
            UserError: it is not there.
        """
        if key not in self:
            held = ", ".join(n.removesuffix(".npy") for n in self._zip.namelist()[:10])
            raise UserError(
                f"{self.file} has no array {key!r}, it has {held or 'none'}: "
                f"{self._how}"
            )
        with self._zip.open(f"{key}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            first = version == (1, 0)
            parse = np.lib.format.read_array_header_2_0
            parse = np.lib.format.read_array_header_1_0 if first else parse
            shape, _, dtype = parse(stream)
            data_bytes = self._zip.getinfo(f"{key}.npy").file_size - stream.tell()
        return Member(key, f"{key} in {self.file}", shape, dtype, data_bytes)

    def read(self, member: Member) -> np.ndarray:
        """The array itself, once its data are known to be as large as it claims.

        Since a damaged header may ask for memory of any size.
        """
        expected = math.prod(member.shape) * member.dtype.itemsize
        if member.data_bytes != expected:
            raise EOFError(
                f"{member.key} holds {member.data_bytes} of {expected} bytes"
            )
        return self._npz[member.key]


@contextlib.contextmanager
def opened(file: pathlib.Path, how: str) -> Iterator[Archive]:
    """The open file, whose damage is told in one line.

    Args:
        file: its path.
        how: to write one, in words.

    Raises:
        UserError: it is missing, is no npz, or proves to be damaged while it is read.
    """
    try:
        # Opened here: NumPy leaves a damaged one open.
        stream = file.open("rb")
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist: give the path of an npz") from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    with stream, warnings.catch_warnings():
        # Files written by Python 2 read well; NumPy only warns that it took longer.
        warnings.filterwarnings("ignore", r".*required additional header parsing")
        head = stream.read(HEAD)
        if not head.startswith(b"PK\x03\x04"):
            check_foreign(head, file, "an npz file")
            raise UserError(f"{file} is not an npz file: {how}")
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as npz:
                yield Archive(npz, file, how)
        except UserError:
            raise
        except _DAMAGE as error:
            raise UserError(
                f"{file} is truncated or damaged ({one_line(error)}): copy or write it "
                "again"
            ) from error
