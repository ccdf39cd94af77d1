"""Shapes: in which layouts images may be what a network takes."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bdjax.networks import Layout, Opened
from bdjax.scanning.reading import own_shape
from bdjax.types import UserError

Image = tuple[int, int, int]


class Geometry(NamedTuple):
    """One way to give images to a network.

    Attributes:
      layout: see :class:`bdjax.scanning.reading.Reading`.
      image: ``(H, W, C)`` inside the scan, C as the network takes it.
    """

    layout: str
    image: Image


def with_channels(x: np.ndarray, channels: int) -> np.ndarray:
    """Images of another number of channels: grey ones repeated, RGB ones that are grey.

    Only where :func:`candidates` found it to be possible.
    """
    if x.shape[-1] == channels:
        return x
    return np.repeat(x[..., :1], channels, axis=-1)


def candidates(
    opened: Opened,
    images: np.ndarray | None,
    *,
    shape: Sequence[int] | None = None,
    layout: Layout | None = None,
    image: Image | None = None,
) -> list[list[Geometry]]:
    """Ways that fit, the likelier ones in lists before the others.

    Args:
      opened: the network.
      images: canonical; None without any.
      shape: of one input as the network takes it, if the user said it.
      layout: likewise.
      image: ``(H, W, C)`` of what it will be asked, without images.

    Raises:
      UserError: none fits, or nothing tells the shape.
    """
    known = _known(opened, shape)
    own = layout or opened.layout
    likely: tuple[str, ...] = (own,) if own else ("NCHW", "NHWC")
    flat = ("HWC", "CHW") if own == "NHWC" else ("CHW", "HWC")
    if images is None and image is None:
        return [[_by_shape(known, own)]]
    if images is not None:
        height, width, given = images.shape[1:]
        sizes = [(height, width, c) for c in _channels(images, given)]
    else:
        assert image is not None
        sizes = [image]
    found = []
    less = ("NHW", *flat[: 1 if sizes[0][2] == 1 else 2])
    for layouts, size in itertools.product((likely, less), sizes):
        names = [name for name in layouts if name != "NHW" or size[2] == 1]
        ways = [Geometry(name, size) for name in names]
        found.append([way for way in ways if _matches(own_shape(*way), known)])
    if not any(found):
        height, width, channels = sizes[0]
        raise UserError(
            f"the images are {height} x {width} of {channels} channel"
            f"{'s' * (channels > 1)}, and the network takes {_words(known)}; bring "
            "them to that size"
        )
    return [ways for ways in found if ways]


def _known(opened: Opened, shape: Any) -> tuple[int | None, ...] | None:
    if shape is None:
        return opened.shape
    try:
        given = tuple(int(n) for n in shape)
    except (TypeError, ValueError):
        given = ()
    if not given or any(n < 1 for n in given):
        raise UserError(
            f"shape is {shape}; give whole numbers above 0, those of one input without "
            "the batch, such as (3, 32, 32)"
        )
    theirs = opened.shape
    if theirs is not None and not _matches(given, theirs):
        raise UserError(f"shape is {given}, and the network takes {_words(theirs)}")
    return given


def _channels(images: np.ndarray, given: int) -> list[int]:
    """How many channels images can be given with; their own first."""
    if given == 1:
        return [1, 3]
    if given == 3 and (images == images[..., :1]).all():
        return [1, 3]
    return [given]


def _matches(shape: tuple[int, ...], known: tuple[int | None, ...] | None) -> bool:
    if known is None:
        return True
    return len(shape) == len(known) and all(
        k is None or k == n for n, k in zip(shape, known, strict=True)
    )


def _by_shape(known: tuple[int | None, ...] | None, layout: Layout | None) -> Geometry:
    """The way that a known shape tells, without images."""
    if known is None or None in known:
        raise UserError(
            "what the network takes is not known"
            + (f" ({_words(known)})" if known else "")
            + "; give images, or shape, such as 3,32,32"
        )
    sizes = tuple(int(n) for n in known if n is not None)
    if len(sizes) == 1:
        return Geometry("CHW", (1, sizes[0], 1))
    if len(sizes) == 2:
        return Geometry("NHW", (*sizes, 1))
    if len(sizes) != 3:
        raise UserError(
            f"the network takes {_words(known)}, which is no image; give (C, H, W) or "
            "(H, W, C)"
        )
    if layout is None:
        first, last = sizes[0] <= 4, sizes[2] <= 4
        if first == last:
            raise UserError(
                f"the network takes {_words(known)}, which may be (C, H, W) or "
                "(H, W, C); say layout, NCHW or NHWC"
            )
        layout = "NCHW" if first else "NHWC"
    if layout == "NCHW":
        return Geometry("NCHW", (sizes[1], sizes[2], sizes[0]))
    return Geometry("NHWC", (sizes[0], sizes[1], sizes[2]))


def _words(shape: tuple[int | None, ...] | None) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape or ()) + ")"
