"""Images and labels as arrays, or of files of arrays."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bdjax import checks
from bdjax.types import UserError
from bdjax.verdicts import few

_IMAGES = ("images", "x_test", "x", "test_images", "x_val", "data", "x_train")
_LABELS = ("labels", "y_test", "y", "test_labels", "y_val", "targets", "y_train")
_CLASSES = ("classes", "class_names", "names")


def read(
    images: Any, labels: Any
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...], str]:
    """Images ``[N, H, W, C]`` as they are, labels, names of classes, and whence.

    Raises:
      UserError: there are none, or shapes or labels make no sense.
    """
    where, own = "images", None
    classes: tuple[str, ...] = ()
    if isinstance(images, (str, os.PathLike)):
        where = str(images)
        images, own, classes = _file(Path(images))
    x = _numbers(images, where)
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or 0 in x.shape:
        raise UserError(
            f"{where}: images have shape {x.shape}; they must be [N, H, W], "
            "[N, H, W, C] or [N, C, H, W], at least one"
        )
    x = _channels_last(x, where)
    given = own if labels is None else labels
    return x, None if given is None else labels_of(given, len(x)), classes, where


def _file(path: Path) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Images, labels and classes of an npz, or images of an npy."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder of images")
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r"), None, ()
        if zipfile.is_zipfile(path):
            _fits(path)
        with np.load(path) as file:
            here = [i for i, name in enumerate(_IMAGES) if name in file.files]
            if not here:
                raise UserError(
                    f"{path} holds {few(file.files, 6)}; save images=..., labels=... "
                    "with np.savez"
                )
            # Its own partner first; of several splits the test images.
            partners = (_LABELS[here[0]], "labels", "y", "targets")
            labels = next((file[n] for n in partners if n in file.files), None)
            named = next((n for n in _CLASSES if n in file.files), None)
            classes = tuple(map(str, file[named].tolist())) if named else ()
            return file[_IMAGES[here[0]]], labels, classes
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"{path} is no folder of images and no npz or npy of arrays ({text[:120]});"
            " give one of these"
        ) from error


def _fits(path: Path) -> None:
    """Refuses an npz that is larger than the memory that is free."""
    with zipfile.ZipFile(path) as file:
        size = max((member.file_size for member in file.infolist()), default=0)
    checks.fits_memory(path, size, "give fewer images, some hundreds are enough")


def _numbers(images: Any, where: str) -> np.ndarray:
    try:
        x = np.asarray(images)
    except Exception as error:  # of whatever somebody gives
        text = " ".join(str(error).split())
        raise UserError(f"{where} is no array of images: {text[:120]}") from error
    if x.dtype == object:
        raise UserError(f"{where}: images differ in shape; give one array of one size")
    if x.dtype.kind not in "uifb":
        raise UserError(f"{where}: images are {x.dtype}; they must be numbers")
    return x


def _channels_last(x: np.ndarray, where: str) -> np.ndarray:
    _, first, _, last = x.shape
    for usual in ((1, 3), (4, 2)):
        if last in usual:
            return x
        if first in usual:
            return np.moveaxis(x, 1, -1)
    raise UserError(
        f"{where}: images have shape {x.shape}, and neither their second nor their last"
        " axis is one of 1 to 4 channels; give [N, H, W, C]"
    )


def unit(x: np.ndarray, rows: np.ndarray, where: str) -> np.ndarray:
    """Some images as float32 in [0, 1]; of floats, their range tells the unit.

    Raises:
      UserError: they lie in no range that images have.
    """
    if x.dtype == bool:
        return x[rows].astype(np.float32)
    low, high = float(x.min()), float(x.max())
    if not np.isfinite([low, high]).all():
        raise UserError(f"{where}: images hold NaN or infinite values; clean them")
    is_float = x.dtype.kind == "f"
    top = 1.0 if is_float and high <= 1.001 else 255.0
    if low < -1e-3 * top or high > top * 1.001:
        raise UserError(
            f"{where}: images lie in [{low:.4g}, {high:.4g}]; give them as they were "
            "before normalisation, in 0..255 or 0..1, and say by value_range, mean and "
            "std what the network takes"
        )
    if x.dtype.kind != "f" and high <= 1 < len(x):
        raise UserError(
            f"{where}: images are {x.dtype} of 0 and 1 only; give floats in [0, 1], or "
            "pixels of 0 to 255"
        )
    return (np.asarray(x[rows], np.float32) / np.float32(top)).clip(0, 1)


def labels_of(labels: Any, count: int) -> np.ndarray:
    """Labels as int32 ``[N]``, an array or of a file.

    Raises:
      UserError: they are none, or not as many as there are images.
    """
    where = "labels"
    if isinstance(labels, (str, os.PathLike)):
        where = str(labels)
        labels = _label_file(Path(labels))
    y = np.asarray(labels)
    if y.ndim == 2 and 1 in y.shape:
        y = y.reshape(-1)
    if y.dtype.kind == "f" and np.isfinite(y).all() and (y == np.round(y)).all():
        y = y.astype(np.int64)
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise UserError(
            f"{where}: labels are {y.dtype} of shape {y.shape}; they must be whole "
            f"numbers of shape ({count},), one an image"
        )
    if len(y) != count:
        raise UserError(f"{where}: there are {len(y)} labels of {count} images")
    if y.min() < 0:
        raise UserError(f"{where}: there is a label {y.min()}; classes are 0, 1, ...")
    if y.max() > np.iinfo(np.int32).max:
        raise UserError(f"{where}: there is a label {y.max()}; no network has as many")
    return y.astype(np.int32)


def _label_file(path: Path) -> np.ndarray:
    try:
        if path.suffix == ".npy":
            return np.load(path)
        return np.array([int(line) for line in path.read_text().split()])
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"{path} holds no labels ({text[:120]}); give an .npy of whole numbers, or "
            "text with one a line"
        ) from error
