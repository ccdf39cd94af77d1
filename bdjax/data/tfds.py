"""Images of a prepared tensorflow-datasets directory, without tensorflow."""

import io
from typing import Any

import numpy as np

from bdjax.data.base import Dataset, Request, check_labels, check_shape
from bdjax.data.prepared import Prepared, find_or_prepare
from bdjax.types import UserError

_BATCH = 1000
_PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def load_tfds(request: Request) -> Dataset:
    """Loads a data set of uint8 images with class labels.

    If it is not prepared and tensorflow is installed, it is downloaded and prepared
    first, see :func:`bdjax.data.prepared.find_or_prepare`.

    Raises:
        UserError: if the data set is not prepared and cannot be, was prepared in
            another format, is damaged, or has features, shape or classes other than
            the task's.
    """
    import tensorflow_datasets as tfds

    held = find_or_prepare(request.name, request.path)
    builder = held.builder()
    keys = _feature_keys(builder.info, held, request)
    # tfds would decode by the same pillow, more slowly and with a call to install
    # OpenCV on the console.
    decoders = {keys[0]: tfds.decode.SkipDecoding()}
    # All splits, before the first is read: damage in the last shows at once.
    splits = held.splits(builder, **decoders)
    total = sum(len(records) for records in splits.values())
    x = np.empty((total, *request.shape), np.uint8)
    y = np.empty(total, np.int32)
    done = 0
    for split, records in splits.items():
        where = f"split {split!r} of {held.directory}"
        for start in range(0, len(records), _BATCH):
            rows = range(start, min(start + _BATCH, len(records)))
            with held.reading():
                for row, record in zip(rows, records.__getitems__(rows), strict=True):
                    image, place = record[keys[0]], f"record {row} of {where}"
                    x[done] = _pixels(image, request.shape, place)
                    y[done] = record[keys[1]]
                    done += 1
            if request.progress is not None:
                request.progress(done, total)
        check_labels(y[done - len(records) : done], request.num_classes, where)
    num_train = len(splits["train"])
    return Dataset(request.name, x, y, request.num_classes, num_train)


def _feature_keys(info: Any, held: Prepared, request: Request) -> tuple[str, str]:
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
            f"{held.directory} has no uint8 image {image_key!r} with a class label "
            f"{label_key!r} (it has {', '.join(sorted(features))}): use source 'npz'"
        )
    have = tuple(image.shape)
    if len(have) == len(request.shape):
        # Sizes that tfds leaves open (None) are checked image by image.
        have = tuple(n or want for n, want in zip(have, request.shape, strict=True))
    check_shape(have, request.shape, str(held.directory))
    held.check_classes(label.num_classes, request.num_classes)
    return image_key, label_key


def _pixels(data: bytes, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Decodes an image, uint8 ``[H, W, C]``."""
    from PIL import Image

    mode = _PIL_MODES[shape[-1]]
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    check_shape((*pixels.shape[:2], shape[-1]), shape, where)
    return pixels.reshape(shape)
