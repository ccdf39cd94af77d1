"""What a file holds by its first bytes, whatever its name says."""

import pathlib

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
