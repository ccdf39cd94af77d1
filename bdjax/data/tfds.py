"""Prepared tensorflow-datasets directories, read without tensorflow.

``tfds.load`` needs tensorflow; random access to array_record files does not. The
directory is opened by itself (``tfds.builder_from_directory``), so any prepared version
is read, a data set of the user's own needs no code, and nothing asks the network.
"""

import contextlib
import importlib.util
import io
import os
import pathlib
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bdjax.data.base import Dataset, Progress, check_labels, check_shape
from bdjax.types import UserError

_BATCH = 1000
_PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def load_tfds(
    *,
    name: str,
    num_classes: int,
    shape: tuple[int, ...],
    path: str | None,
    progress: Progress | None,
) -> Dataset:
    """Loads a data set of uint8 images with class labels.

    Splits 'train' and, if there is one, 'test' are read; any other is left alone. If
    the data set is not prepared and tensorflow is installed, it is downloaded and
    prepared first. Arguments and result are those of :func:`bdjax.data.load`; ``name``
    may be ``name``, ``name/config`` or either with ``:version`` (else the newest one
    there is).

    Raises:
        UserError: if the data set is not prepared and cannot be, was prepared in
            another format, is damaged, or has features, shape or classes other than
            the task's.
    """
    directory = find_prepared(name, path) or _prepare(name, path)
    remedy = f"delete {directory}, then run: {prepare_command(name, path)}"
    builder = _open(directory, remedy)
    keys = _feature_keys(builder.info, directory, num_classes, shape)
    # All splits, before the first is read: damage in the last shows at once.
    with _reading(directory, remedy):
        splits = _open_splits(builder, image_key=keys[0])
    if not splits.get("train"):
        raise UserError(f"{directory} has no examples in a split named 'train'")
    total = sum(len(records) for records in splits.values())
    x = np.empty((total, *shape), np.uint8)
    y = np.empty(total, np.int32)
    done = 0
    for split, records in splits.items():
        where = f"split {split!r} of {directory}"
        for start in range(0, len(records), _BATCH):
            rows = range(start, min(start + _BATCH, len(records)))
            to = slice(done, done + len(rows))
            with _reading(directory, remedy):
                _read_rows(records, rows, keys, x[to], y[to], where)
            done = to.stop
            if progress is not None:
                progress(done, total)
        check_labels(y[done - len(records) : done], num_classes, where)
    return Dataset(name, x, y, num_classes, num_train=len(splits["train"]))


def data_root(path: str | None) -> pathlib.Path:
    """Returns the directory of prepared data sets; None is tfds's own default."""
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(path or default).expanduser()


def prepare_command(name: str, path: str | None) -> str:
    """Returns the command line that prepares a data set."""
    root = shlex.quote(str(data_root(path)))
    return f"python -m bdjax.data.prepare --name {shlex.quote(name)} --data_dir {root}"


def find_prepared(name: str, path: str | None) -> pathlib.Path | None:
    """Returns ``root/name[/config]/version``, the newest version, or None.

    Raises:
        UserError: if several configurations are there and ``name`` chooses none, or a
            directory cannot be listed.
    """
    base, _, version = name.partition(":")
    folder = data_root(path) / base
    try:
        if version or (versions := _versions(folder)):
            found = folder / (version or versions[-1])
            return found if found.is_dir() else None
        configs = [d for d in _folders(folder) if _versions(d)]
        if len(configs) > 1:
            names = ", ".join(f"{base}/{d.name}" for d in configs)
            raise UserError(f"{name!r} is prepared in {folder} as {names}: choose one")
        return configs[0] / _versions(configs[0])[-1] if configs else None
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}") from error


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders in a folder, sorted; none if it is not there."""
    return sorted(d for d in folder.iterdir() if d.is_dir()) if folder.is_dir() else []


def _versions(folder: pathlib.Path) -> list[str]:
    """Returns the prepared versions in a folder, oldest first."""
    names = [d.name for d in _folders(folder)]
    found = [n for n in names if re.fullmatch(r"\d+\.\d+\.\d+", n)]
    return sorted(found, key=lambda n: tuple(map(int, n.split("."))))


def _prepare(name: str, path: str | None) -> pathlib.Path:
    """Downloads and prepares a data set, or says how to where it cannot be done."""
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{name!r} is not prepared in {data_root(path)}: pip install "
            f"-e '.[prepare]', then run: {prepare_command(name, path)}"
        )
    # Not at the top: ``python -m`` warns about a module that its package has imported.
    from bdjax.data import prepare

    return prepare.prepare(name, path)


@contextlib.contextmanager
def _reading(directory: pathlib.Path, remedy: str) -> Iterator[None]:
    """Turns whatever tfds, protobuf, riegeli and pillow raise into one line."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except ImportError as error:
        raise UserError(
            f"cannot read {directory}: {one_line(error)}: pip install array_record "
            "pillow"
        ) from error
    # Damaged files surface as any of RuntimeError, ValueError, KeyError, OSError,
    # SyntaxError (pillow), ParseError (protobuf), depending on the byte.
    except Exception as error:
        raise UserError(
            f"{directory} is damaged ({one_line(error)}): {remedy}"
        ) from error


def one_line(error: BaseException) -> str:
    """Returns the beginning of an exception's text without line breaks."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _open(directory: pathlib.Path, remedy: str) -> Any:
    """Returns the tfds builder of a prepared directory."""
    import tensorflow_datasets as tfds

    with _reading(directory, remedy):
        builder = tfds.builder_from_directory(directory)
    held = builder.info.file_format
    if held is None or held.value != "array_record":
        raise UserError(
            f"{directory} was prepared as {getattr(held, 'value', None)}, only "
            f"array_record is read without tensorflow: {remedy}"
        )
    return builder


def _feature_keys(
    info: Any, directory: pathlib.Path, num_classes: int, shape: tuple[int, ...]
) -> tuple[str, str]:
    """Returns the names of the image and label features, once they fit the task."""
    import tensorflow_datasets as tfds

    image_key, label_key = info.supervised_keys or ("image", "label")
    features = dict(info.features.items())
    image, label = features.get(image_key), features.get(label_key)
    if (
        not isinstance(image, tfds.features.Image)
        or image.np_dtype != np.uint8
        or not isinstance(label, tfds.features.ClassLabel)
    ):
        raise UserError(
            f"{directory} has no uint8 image {image_key!r} with a class label "
            f"{label_key!r} (it has {', '.join(sorted(features))}): use source 'npz'"
        )
    have = tuple(image.shape)
    if len(have) == len(shape):
        # Sizes that tfds leaves open (None) are checked image by image.
        have = tuple(n or want for n, want in zip(have, shape, strict=True))
    check_shape(have, shape, str(directory))
    if label.num_classes != num_classes:
        raise UserError(
            f"{directory} has {label.num_classes} classes, but the task has "
            f"{num_classes}: choose the task that it belongs to"
        )
    return image_key, label_key


def _open_splits(builder: Any, image_key: str) -> dict[str, Sequence[Any]]:
    """Returns random access to the splits; images are left encoded."""
    import tensorflow_datasets as tfds

    # tfds would decode by the same pillow, more slowly and with a call to install
    # OpenCV on the console.
    decoders = {image_key: tfds.decode.SkipDecoding()}
    return {
        split: builder.as_data_source(split=split, decoders=decoders)
        for split in ("train", "test")
        if split in builder.info.splits and builder.info.splits[split].num_examples
    }


def _read_rows(
    records: Any,
    rows: range,
    keys: tuple[str, str],
    x: np.ndarray,
    y: np.ndarray,
    where: str,
) -> None:
    """Decodes the records ``rows`` into ``x`` (``[len(rows), H, W, C]``) and ``y``."""
    from PIL import Image

    image_key, label_key = keys
    mode = _PIL_MODES[x.shape[-1]]
    for i, record in enumerate(records.__getitems__(rows)):
        with Image.open(io.BytesIO(record[image_key])) as image:
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
        if pixels.shape[:2] != x.shape[1:3]:
            found = (*pixels.shape[:2], x.shape[-1])
            check_shape(found, x.shape[1:], f"record {rows[i]} of {where}")
        x[i] = pixels.reshape(x.shape[1:])
        y[i] = record[label_key]
