"""Small pictures for a page: PNG as data, recovered triggers on images."""

import base64
import dataclasses
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from bdjax.scanning.render import words

if TYPE_CHECKING:
    from bdjax.scanning.report import Judgement, Report

_SHOWN = 8  # images
_LONGEST = 256  # side of a picture, in pixels


@dataclasses.dataclass(frozen=True)
class Trigger:
    """What a detector recovered, as pictures.

    Attributes:
      judgement: whose it is.
      label: that it leads to; None if the detector names none.
      mask: a picture, white where the mask is greatest.
      peak: that greatest value.
      pattern: a picture, as opaque as the mask.
      pairs: pictures of clean images, and of these with the trigger.
      success: share of the other classes' images that it sends to the label; None if
        that is not known.
    """

    judgement: "Judgement"
    label: int | None
    mask: str
    peak: float
    pattern: str
    pairs: list[tuple[str, str]]
    success: float | None


def trigger(report: "Report") -> Trigger | None:
    """The one to show; None if no detector recovered any.

    Of the detectors that say what the report says, rather than of others; but that of
    a search on images before one from noise, if both lead to the report's target.
    """
    every = [(j, found) for j in words.by_weight(report) if (found := _recovered(j))]
    every.sort(key=lambda one: one[1][2] != report.target or one[1][3] is None)
    for judgement, (mask, pattern, label, success) in every[:1]:
        peak = float(mask.max())
        shade = mask.max(-1, keepdims=True) / (peak or 1.0)
        images = () if report.images is None else report.images[:_SHOWN]
        pairs = [
            (png(image), png((1 - mask) * image + mask * pattern))
            for image in images
            if image.shape == pattern.shape
        ]
        return Trigger(
            judgement, label, png(shade), peak, png(pattern, shade), pairs, success
        )
    return None


def clean(report: "Report") -> list[str]:
    """Pictures of the images that the user gave."""
    return [] if report.images is None else [png(i) for i in report.images[:_SHOWN]]


def _recovered(
    judgement: "Judgement",
) -> tuple[np.ndarray, np.ndarray, int | None, float | None] | None:
    """Mask ``[H, W, 1 or C]``, pattern ``[H, W, C]``, label, success; of one label."""
    finding = judgement.finding
    if finding is None or not {"mask", "pattern"} <= set(finding.artefacts):
        return None
    scores = finding.label_scores
    top = (
        None if scores is None or np.isnan(scores).all() else int(np.nanargmax(scores))
    )
    label = top
    if top is not None and finding.labels is not None:
        label = int(finding.labels[top])
    arrays = [np.asarray(finding.artefacts[name]) for name in ("mask", "pattern")]
    mask, pattern = (a[min(top or 0, len(a) - 1)] if a.ndim == 4 else a for a in arrays)
    if pattern.ndim != 3 or mask.shape[:2] != pattern.shape[:2] or not mask.any():
        return None
    if not (np.isfinite(mask).all() and np.isfinite(pattern).all()):
        return None
    share = None
    success = np.ravel(finding.artefacts.get("success", ()))
    if top is not None and scores is not None and len(success) == len(scores):
        share = float(success[top])
    return np.clip(mask, 0, 1), np.clip(pattern, 0, 1), label, share


def png(image: np.ndarray, alpha: np.ndarray | None = None) -> str:
    """An image as a ``data:`` address.

    Args:
      image: ``[H, W, C]`` in [0, 1]; of other than one or three channels the first or
        the first three are shown. Large ones lose lines.
      alpha: opacity ``[H, W, 1]``, likewise; None: opaque.
    """
    image = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, -1)
    if alpha is not None:
        image = np.concatenate([image, alpha], -1)
    step = -(-max(image.shape[:2]) // _LONGEST)
    pixels = np.rint(np.clip(np.nan_to_num(image[::step, ::step]), 0, 1) * 255)
    height, width, channels = pixels.shape
    lines = pixels.astype(np.uint8).reshape(height, -1)
    # Each line is preceded by its filter, none.
    raw = np.concatenate([np.zeros((height, 1), np.uint8), lines], 1).tobytes()
    header = struct.pack(
        ">IIBBBBB", width, height, 8, 6 if channels == 4 else 2, 0, 0, 0
    )
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    """A piece of a PNG file: length, kind, data, check sum."""
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
