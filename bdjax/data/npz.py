"""The user's own data: ``x_train, y_train[, x_test, y_test]`` in one npz file.

``np.load`` would hold every array a second time while the splits are joined, and reads
all of a file before it can be found wrong. Here the headers are checked first and the
members are streamed into the final array.
"""

import dataclasses
import math
import pathlib
import warnings
import zipfile
from typing import IO, NamedTuple

import numpy as np

from bdjax.checks import digits, keeps_to
from bdjax.data.archive import opened
from bdjax.data.base import Dataset, Progress, check_labels, check_lengths, check_shape
from bdjax.types import UserError

_CHUNK_BYTES = 1 << 24
_HOW = (
    "save np.savez_compressed(path, x_train=..., y_train=..., x_test=..., y_test=...)"
)


@dataclasses.dataclass(frozen=True)
class _Member:
    """One array of the file, as its header announces it; ``data_bytes`` as stored."""

    key: str
    where: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    data_bytes: int


def load_npz(
    *,
    name: str,
    num_classes: int,
    shape: tuple[int, ...],
    path: str | None,
    progress: Progress | None,
) -> Dataset:
    """Loads an npz file.

    Images are uint8, or floats in [0, 1], of which what lies beyond by rounding is
    clipped; grey ones may leave the channel axis out.
    Vectors and series are any numbers. ``y_*`` are integers, ``[N]``. Arguments and
    result are those of :func:`bdjax.data.load`; floating images are returned as
    float32, vectors and series as float64, since they are yet to be scaled.

    Raises:
        UserError: if the file is missing, not an npz or damaged, lacks an array, or an
            array has the wrong type, shape, length, range or labels.
    """
    del progress
    with opened(path, _HOW) as (archive, file):
        return _load(archive, file, name, num_classes, tuple(shape))


class Announced(NamedTuple):
    """What a file says of its examples, which have not been read.

    Attributes:
        shape: of one example.
        dtype: as stored.
        train: number of training rows.
        test: number of test rows, 0 if there is no such split.
        labels: integers ``[train + test]``, not checked.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    train: int
    test: int
    labels: np.ndarray


def announced(path: str | None) -> Announced:
    """Reads the headers and the labels of an npz file.

    Raises:
        UserError: if the file is missing, not an npz or damaged, or lacks an array; or
            the arrays disagree, are empty, or are no examples or labels.
    """
    with opened(path, _HOW) as (archive, file):
        members: list[tuple[_Member, _Member]] = []
        for split in _splits(archive):
            images = _read_header(archive, file, f"x_{split}")
            labels = _read_header(archive, file, f"y_{split}")
            _check_headers(images, labels, members[0][0].shape[1:] if members else None)
            members.append((images, labels))
        rows = [labels.shape[0] for _, labels in members]
        y = [np.empty(labels.shape, labels.dtype) for _, labels in members]
        for (_, labels), out in zip(members, y, strict=True):
            _read_into(archive, labels, out)
        first = members[0][0]
        return Announced(
            first.shape[1:], first.dtype, rows[0], sum(rows[1:]), np.concatenate(y)
        )


def _splits(archive: zipfile.ZipFile) -> list[str]:
    has_test = {"x_test.npy", "y_test.npy"} & set(archive.namelist())
    return ["train", "test"] if has_test else ["train"]


def _load(
    archive: zipfile.ZipFile,
    file: pathlib.Path,
    name: str,
    num_classes: int,
    shape: tuple[int, ...],
) -> Dataset:
    """Checks all headers, then reads; both splits land in one array."""
    images, labels = [], []
    for split in _splits(archive):
        images.append(_read_header(archive, file, f"x_{split}"))
        labels.append(_read_header(archive, file, f"y_{split}"))
        _check_headers(images[-1], labels[-1], shape)
    dtypes = {_dtype_in_memory(member, len(shape)) for member in images}
    if len(dtypes) > 1:
        raise UserError(
            f"{file}: x_train is {images[0].dtype} but x_test is {images[1].dtype}: "
            "save both with one dtype"
        )
    y = np.concatenate(
        [_read_labels(archive, member, num_classes) for member in labels]
    )
    x = np.empty((len(y), *shape), dtypes.pop())
    start = 0
    for member in images:
        rows = x[start : start + member.shape[0]]
        _read_into(archive, member, rows)
        if rows.dtype.kind == "f":
            _mend_floats(rows, member.where)
        start += len(rows)
    return Dataset(name, x, y, num_classes, num_train=images[0].shape[0])


def _read_header(archive: zipfile.ZipFile, file: pathlib.Path, key: str) -> _Member:
    """Reads what one array claims to be, without its data."""
    if f"{key}.npy" not in archive.namelist():
        held = ", ".join(n.removesuffix(".npy") for n in archive.namelist()[:10])
        raise UserError(f"{file} has no array {key!r}, it has {held or 'none'}: {_HOW}")
    with archive.open(f"{key}.npy") as stream:
        shape, fortran, dtype = _parse_header(stream)
        data_bytes = archive.getinfo(f"{key}.npy").file_size - stream.tell()
    return _Member(key, f"{key} in {file}", shape, dtype, fortran, data_bytes)


def _parse_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Moves past an npy header and returns shape, whether Fortran-ordered, dtype."""
    version = np.lib.format.read_magic(stream)
    with warnings.catch_warnings():
        # Files written by Python 2 read well; NumPy only warns that it took longer.
        warnings.filterwarnings("ignore", r".*required additional header parsing")
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        return np.lib.format.read_array_header_2_0(stream)


def _check_headers(
    images: _Member, labels: _Member, shape: tuple[int, ...] | None
) -> None:
    """Raises ``UserError`` if types, shapes or lengths cannot be right.

    Any shape of an example will do where none is given.
    """
    _dtype_in_memory(images, len(images.shape[1:] if shape is None else shape))
    if labels.dtype.kind not in "iu" or len(labels.shape) != 1:
        raise UserError(
            f"{labels.where} has dtype {labels.dtype} and shape {labels.shape}: save "
            "one integer label a row, shape (N,)"
        )
    one = images.shape[1:]
    if shape is not None and (one != shape[:-1] or shape[-1:] != (1,)):
        check_shape(one, shape, images.where)
    if not images.shape or not images.shape[0]:
        raise UserError(f"{images.where} is empty: save at least one row")
    check_lengths(images.shape[0], labels.shape[0], images.where, labels.key)
    for member in (images, labels):
        expected = math.prod(member.shape) * member.dtype.itemsize
        # Before the array is allocated: a damaged header may ask for any size.
        if member.data_bytes != expected:
            raise EOFError(
                f"{member.key} holds {member.data_bytes} of {expected} bytes"
            )


def _dtype_in_memory(member: _Member, axes: int) -> np.dtype:
    """Of examples with so many axes; raises ``UserError`` if there is none."""
    if axes < 3:
        if member.dtype.kind in "fiub":
            return np.dtype(np.float64)
        raise UserError(
            f"{member.where} has dtype {member.dtype}: save features as numbers"
        )
    if member.dtype == np.uint8:
        return np.dtype(np.uint8)
    if member.dtype.kind == "f":
        return np.dtype(np.float32)
    raise UserError(
        f"{member.where} has dtype {member.dtype}: save images as uint8 in 0..255 or "
        "floats in [0, 1]"
    )


def _read_labels(
    archive: zipfile.ZipFile, member: _Member, num_classes: int
) -> np.ndarray:
    """Returns checked labels, int32 ``[N]``."""
    y = np.empty(member.shape, member.dtype)
    _read_into(archive, member, y)
    # Before the cast: a label of 2**32 must not wrap round to 0.
    check_labels(y, num_classes, member.where)
    return y.astype(np.int32)


def _read_into(archive: zipfile.ZipFile, member: _Member, out: np.ndarray) -> None:
    """Streams one array into ``out``, which has its rows and number of elements."""
    with archive.open(f"{member.key}.npy") as stream, np.errstate(over="ignore"):
        if member.fortran:
            whole = np.lib.format.read_array(stream, allow_pickle=False)
            out[...] = whole.reshape(out.shape)
            return
        _parse_header(stream)
        row_bytes = member.data_bytes // member.shape[0]
        step = max(1, _CHUNK_BYTES // row_bytes)
        for start in range(0, len(out), step):
            rows = out[start : start + step]
            data = stream.read(len(rows) * row_bytes)
            rows[...] = np.frombuffer(data, member.dtype).reshape(rows.shape)
        # The checksum is compared when the end is reached, not before.
        stream.read(1)


def _mend_floats(x: np.ndarray, where: str) -> None:
    """Clips, in place, what of images lies beyond [0, 1] by rounding.

    Raises:
        UserError: a value is not finite, or an image leaves [0, 1] by more.
    """
    with np.errstate(invalid="ignore"):
        low, high = x.min(), x.max()
    # Ranges, too, must be numbers in float32.
    most = float(np.finfo(np.float32).max) / 2
    if not -most <= low <= high <= most:
        within_N = (np.abs(x) <= most).reshape(len(x), -1).all(axis=1)
        row = int(np.flatnonzero(~within_N)[0])
        raise UserError(
            f"{where} holds NaN, infinity or a value beyond float32 in row {row}: "
            "clean it"
        )
    if x.ndim == 4 and not keeps_to(low, high, (0, 1)):
        raise UserError(
            f"{where} spans [{digits(low)}, {digits(high)}], but float images must lie "
            "in [0, 1]: rescale them, or save uint8 in 0..255"
        )
    if x.ndim == 4 and not 0 <= low <= high <= 1:
        np.clip(x, 0, 1, out=x)
