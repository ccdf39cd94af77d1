"""How well a recovered trigger lies where the true one does."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bdjax.evaluation.checks import as_finite
from bdjax.types import UserError


def binarize(mask: ArrayLike) -> NDArray[np.bool_]:
    """The pixels of a soft mask that count: those of at least half its maximum.

    The rule needs no knowledge of the true trigger, whatever the scale of the mask:
    taking as many pixels as the true trigger has would hide a mask that is spread over
    the image.

    Args:
      mask: ``[H, W]`` or ``[H, W, C]``, finite, at least 0. Of several channels the
        greatest counts: a pixel is touched if any channel is.

    Returns:
      Bool ``[H, W]``; all False for a mask of zeros. A binary mask stays as it is.

    Raises:
      UserError: the shape is wrong, or a value is negative or not finite.
    """
    array = as_finite(mask, name="mask values")
    if array.ndim not in (2, 3) or not array.size:
        raise UserError(
            f"a mask has shape {array.shape}, expected (height, width) or (height, "
            "width, channels); pass one mask at a time"
        )
    if array.min() < 0:
        raise UserError(
            f"a mask holds {array.min()}, expected values of at least 0; pass the "
            "mask, not the pattern"
        )
    mask_HxW = array if array.ndim == 2 else array.max(-1)
    return (mask_HxW >= mask_HxW.max() / 2) & (mask_HxW > 0)


def iou(mask_a: ArrayLike, mask_b: ArrayLike) -> float:
    """Intersection over union of two masks after :func:`binarize`.

    Args:
      mask_a: a true or a recovered mask, ``[H, W]`` or ``[H, W, C]``.
      mask_b: another, of the same height and width.

    Returns:
      In [0, 1]; NaN if both are empty, as there is nothing to recover.

    Raises:
      UserError: a mask is malformed, or they differ in height or width.
    """
    a, b = binarize(mask_a), binarize(mask_b)
    if a.shape != b.shape:
        raise UserError(
            f"masks of {a.shape} and {b.shape} pixels cannot be compared; resize one"
        )
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else float("nan")
