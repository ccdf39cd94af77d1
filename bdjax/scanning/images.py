"""Clean images as a user has them: a folder a class, an npz, or an array.

Inside a scan they are float32 ``[N, H, W, C]`` in [0, 1], RGB; what a network takes of
them is :mod:`bdjax.scanning.reading`'s.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bdjax import checks
from bdjax.scanning import arrays
from bdjax.types import UserError
from bdjax.verdicts import few

MOST = 500  # images that are looked at, unless there are many classes
_A_CLASS = 2  # at least, then
_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm",
            ".pgm")  # fmt: skip


class Clean(NamedTuple):
    """Clean images that a scan has.

    Attributes:
      x: float32 ``[N, H, W, C]`` in [0, 1].
      y: int32 ``[N]``; None if there are no labels.
      classes: what labels are called; empty if they have no names.
      given: how many images there were, of which these are a sample.
      notes: what a reader must know.
    """

    x: np.ndarray
    y: np.ndarray | None
    classes: tuple[str, ...] = ()
    given: int = 0
    notes: tuple[str, ...] = ()

    def spread(self, count: int) -> np.ndarray:
        """Rows of so many images, the first of every class in turn; int ``[n]``."""
        if self.y is None:
            return np.arange(min(count, len(self.x)))
        return _in_turn(self.y)[:count]


def load(
    images: Any,
    labels: Any = None,
    *,
    classes: Sequence[str] = (),
    seed: int = 0,
) -> Clean:
    """Reads clean images, or a sample of them where there are many.

    Args:
      images: see :func:`bdjax.scan`.
      labels: likewise.
      classes: what labels are called, in the network's order.
      seed: of the sample.

    Raises:
      UserError: there are none, they differ in size, their values or labels make no
        sense, or they do not fit into memory.
    """
    try:
        if isinstance(images, (str, os.PathLike)) and Path(images).is_dir():
            found = _folder(Path(images), labels, tuple(classes), seed)
        else:
            x, y, named, where = arrays.read(images, labels)
            rows = _sample(y, len(x), seed)
            pixels = arrays.unit(x, rows, where)
            y = None if y is None else y[rows]
            found = Clean(pixels, y, tuple(classes) or named, len(x))
    except MemoryError as error:
        raise UserError(
            "the images do not fit into memory; give fewer, some hundreds are enough"
        ) from error
    if len(found.x) < found.given:
        note = f"{len(found.x)} of the {found.given} images were looked at"
        found = found._replace(notes=(*found.notes, note))
    return found


def _in_turn(y: np.ndarray) -> np.ndarray:
    """Rows such that classes take turns, the first of each first; int ``[N]``."""
    turn = np.empty(len(y), int)
    for label in np.unique(y):
        here = np.flatnonzero(y == label)
        turn[here] = np.arange(len(here))
    return np.lexsort((y, turn))


def _sample(y: np.ndarray | None, count: int, seed: int) -> np.ndarray:
    """Rows that are looked at, of every class as many."""
    order = np.random.default_rng(seed).permutation(count)
    if y is None:
        return order[:MOST]
    y = y[order]
    most = max(MOST, _A_CLASS * len(np.unique(y)))
    return order[_in_turn(y)[:most]]


def _folder(path: Path, labels: Any, classes: tuple[str, ...], seed: int) -> Clean:
    here = _files(path)
    inside = sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
    each = {p.name: found for p in inside if (found := _files(p))}
    if here and each:
        raise UserError(
            f"{path} holds {len(here)} images beside folders of images; give a folder "
            "a class, and nothing else"
        )
    if not here and not each:
        deeper = next((p for p in inside for q in p.glob("*/*") if _is_image(q)), None)
        fix = f"give {deeper}" if deeper else f"images end in {', '.join(_ENDINGS)}"
        raise UserError(
            f"{path} holds no images, nor do folders in it; a folder a class is "
            f"expected: {fix}"
        )
    if here:
        y = None if labels is None else arrays.labels_of(labels, len(here))
        rows = _sample(y, len(here), seed)
        x = _pictures([here[i] for i in rows])
        return Clean(x, None if y is None else y[rows], classes, len(here))
    if labels is not None:
        raise UserError(
            f"labels are given, and {path} has a folder a class, which says them; "
            "leave one out"
        )
    numbers, names, notes = _numbered(list(each), classes, path)
    files = [file for found in each.values() for file in found]
    y = np.repeat(numbers, [len(found) for found in each.values()]).astype(np.int32)
    rows = _sample(y, len(files), seed)
    x = _pictures([files[i] for i in rows])
    return Clean(x, y[rows], names, len(files), notes)


def _numbered(
    folders: list[str], classes: tuple[str, ...], path: Path
) -> tuple[list[int], tuple[str, ...], tuple[str, ...]]:
    """Labels of a folder a class: by the names given, by number, or in order."""
    if classes:
        for name in folders:
            if name not in classes:
                raise UserError(
                    f"{path} has a folder {name!r}, which is none of the classes "
                    f"{few(classes, 5)}; rename it"
                )
        return [classes.index(name) for name in folders], classes, ()
    if all(name.isdecimal() for name in folders):
        return [int(name) for name in folders], (), ()
    note = (
        "labels are 0, 1, ... in the order of the folders' names "
        f"({few(folders, 3)}); say classes if the network's order is another"
    )
    return list(range(len(folders))), tuple(folders), (note,)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS and path.name[0] != "."


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if _is_image(p) and p.is_file())


def _pictures(files: list[Path]) -> np.ndarray:
    """Files as float32 ``[N, H, W, C]`` in [0, 1]: grey if all are, else RGB."""
    pictures: list[np.ndarray] = []
    for file in files:
        picture = _picture(file)
        first = (pictures or [picture])[0].shape[:2]
        if not pictures:  # twice: they are stacked in the end
            size = 2 * len(files) * picture.nbytes
            what = f"{len(files)} images such as {file}"
            checks.fits_memory(what, size, "bring them to the size that it takes")
        if picture.shape[:2] != first:
            a, b = (f"{n[1]} x {n[0]}" for n in (first, picture.shape))
            raise UserError(
                f"images differ in size: {files[0]} is {a} and {file} is {b}; none is "
                "resized here, bring all to the size that the network takes"
            )
        pictures.append(picture)
    channels = max(picture.shape[2] for picture in pictures)
    shape = (*first, channels)
    return np.stack([np.broadcast_to(picture, shape) for picture in pictures])


def _picture(file: Path) -> np.ndarray:
    from PIL import Image  # slow to import, and not always needed

    try:
        with Image.open(file) as opened:
            image: Image.Image = opened
            if image.mode.startswith(("I", "F")):
                grey = np.asarray(image, np.float32)[..., None]
                return grey / (65535 if image.mode.startswith("I") else 1)
            image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
            pixels = np.asarray(image, np.float32) / 255
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{file} cannot be read as an image: {text[:120]}") from error
    return pixels.reshape(*pixels.shape[:2], -1)
