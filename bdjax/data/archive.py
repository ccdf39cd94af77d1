"""npz files: told from others, looked into before they are read, damage in one line."""

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

from bdjax.data.content import HEAD, check_foreign, one_line
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
