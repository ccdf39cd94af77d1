"""The user's own data: ``x_train, y_train[, x_test, y_test]`` in one npz file.

The headers are checked first, so that a file is found wrong before it is read.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from bdjax.checks import digits, keeps_to
from bdjax.data.base import Dataset, Request, check_labels, check_lengths, check_shape
from bdjax.data.content import Archive, Member, opened
from bdjax.data.encode import imbalance_notes, min_max
from bdjax.types import UserError

_HOW = (
    "save np.savez_compressed(path, x_train=..., y_train=..., x_test=..., y_test=...)"
)


def load_npz(request: Request) -> Dataset:
    """Loads an npz file.

    Images are uint8, or floats in [0, 1], of which what lies beyond by rounding is
    clipped; grey ones may leave the channel axis out.
    Vectors and series are any numbers. ``y_*`` are integers, ``[N]``. Floating images
    are returned as float32, vectors and series as float64, since they are yet to be
    scaled.

    Raises:
        UserError: if the file is missing, not an npz or damaged, lacks an array, or an
            array has the wrong type, shape, length, range or labels.
    """
    shape = tuple(request.shape)
    with opened(request.file("npz"), _HOW) as archive:
        members = [_headers(archive, split, shape) for split in _splits(archive)]
        dtypes = [images.dtype for images, _ in members]
        if len({_dtype_in_memory(images, len(shape)) for images, _ in members}) > 1:
            raise UserError(
                f"{archive.file}: x_train is {dtypes[0]} but x_test is {dtypes[1]}: "
                "save both with one dtype"
            )
        y = [archive.read(labels) for _, labels in members]
        # Before the cast: a label of 2**32 must not wrap round to 0.
        for labels_N, (_, member) in zip(y, members, strict=True):
            check_labels(labels_N, request.num_classes, member.where)
        dtype = _dtype_in_memory(members[0][0], len(shape))
        x = np.empty((sum(map(len, y)), *shape), dtype)
        start = 0
        for images, _ in members:
            rows = x[start : start + images.shape[0]]
            with np.errstate(over="ignore"):  # infinity is found later
                rows[...] = archive.read(images).reshape(rows.shape)
            if dtype.kind == "f":
                _mend_floats(rows, images.where)
            start += len(rows)
    labels = np.concatenate(y).astype(np.int32)
    return Dataset(request.name, x, labels, request.num_classes, len(y[0]))


def load_scaled(request: Request, *, pool: bool = False) -> Dataset:
    """Loads an npz file of vectors or series and scales them to [0, 1].

    Each feature by the least and greatest of the training rows. Every step of a series
    ``(T,)`` is a feature; those of ``(T, C)`` share one scale a channel.

    Args:
        request: of examples ``(D,)``, or ``(T,)`` or ``(T, C)`` of a series.
        pool: both splits become training rows, for a new draw, since the file's own
            are few.

    Raises:
        UserError: as :func:`load_npz`.
    """
    dataset = load_npz(request)
    num_train = len(dataset.x) if pool else dataset.num_train
    notes = []
    if pool and num_train > dataset.num_train:
        notes.append(
            f"the file's {dataset.num_train} training and "
            f"{num_train - dataset.num_train} test rows are pooled, and all parts "
            "drawn afresh"
        )
    x, units, more = min_max(dataset.x, num_train)
    notes += [*more, *imbalance_notes(dataset.y[:num_train], dataset.num_classes)]
    return dataclasses.replace(
        dataset, x=x, num_train=num_train, units=units, notes=tuple(notes)
    )


def load_own(request: Request) -> Dataset:
    """Loads a user's npz file: images as they are, vectors and series scaled.

    The data set is called after the file. Raises as :func:`load_npz`.
    """
    request = request._replace(name=request.file("npz").stem)
    if len(request.shape) < 3:
        return load_scaled(request)
    dataset = load_npz(request)
    notes = imbalance_notes(dataset.y[: dataset.num_train], dataset.num_classes)
    return dataclasses.replace(dataset, notes=tuple(notes))


class Announced(NamedTuple):
    """What a file says of its examples, which have not been read.

    Attributes:
        shape: of one example.
        dtype: as stored.
        train: number of training rows.
        test: number of test rows, 0 if there is no such split.
        labels: integers ``[train + test]``.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    train: int
    test: int
    labels: np.ndarray


def describe(path: str | None) -> Announced:
    """What an npz file holds, from its headers and labels.

    Raises:
        UserError: it cannot be read or lacks an array, the arrays disagree, are empty,
            or are no examples or labels, or labels are not ``0, 1, ... K - 1`` with K
            at least 2.
    """
    with opened(Request("", 0, (), path).file("npz"), _HOW) as archive:
        shape: tuple[int, ...] | None = None
        y = []
        for split in _splits(archive):
            images, labels = _headers(archive, split, shape)
            shape, dtype = images.shape[1:], images.dtype
            y.append(archive.read(labels))
    train, test = len(y[0]), sum(map(len, y[1:]))
    found = Announced(shape or (), dtype, train, test, np.concatenate(y))
    present = np.unique(found.labels)
    if present[0] < 0:
        raise UserError(
            f"{path} holds label {present[0]}: number the classes 0, 1, 2, ..."
        )
    if len(present) < 2:
        raise UserError(
            f"{path} holds a single class, {present[0]}: a classifier needs two or more"
        )
    absent = np.flatnonzero(present != np.arange(len(present)))
    if absent.size:
        raise UserError(
            f"{path} has labels up to {present[-1]} but no row of class {absent[0]}: "
            "number the classes 0, 1, 2, ... without gaps"
        )
    return found


def _splits(archive: Archive) -> list[str]:
    has_test = "x_test" in archive or "y_test" in archive
    return ["train", "test"] if has_test else ["train"]


def _headers(
    archive: Archive, split: str, shape: tuple[int, ...] | None
) -> tuple[Member, Member]:
    """Examples and labels of a split, whose types, shapes and lengths can be right.

    Any shape of an example will do where none is given.
    """
    images, labels = archive.header(f"x_{split}"), archive.header(f"y_{split}")
    one = images.shape[1:]
    _dtype_in_memory(images, len(one if shape is None else shape))
    if labels.dtype.kind not in "iu" or len(labels.shape) != 1:
        raise UserError(
            f"{labels.where} has dtype {labels.dtype} and shape {labels.shape}: save "
            "one integer label a row, shape (N,)"
        )
    if shape is not None and (one != shape[:-1] or shape[-1:] != (1,)):
        check_shape(one, shape, images.where)
    if not images.shape or not images.shape[0]:
        raise UserError(f"{images.where} is empty: save at least one row")
    check_lengths(images.shape[0], labels.shape[0], images.where, labels.key)
    return images, labels


def _dtype_in_memory(member: Member, axes: int) -> np.dtype:
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
