"""How images become what a network takes: range, normalisation, channels, layout.

The field's commonest error is to ask a network in another way than it was trained.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bdjax import checks
from bdjax.networks import Layout
from bdjax.types import UserError

Numbers = tuple[float, ...]
"""One number, or one a channel."""


class Norm(NamedTuple):
    """What is done to values; images are in [0, 1].

    Attributes:
      name: for people.
      low: what 0 becomes.
      high: what 1 becomes.
      mean: subtracted then; () for nothing.
      std: divided by then; () for nothing.
      order: of channels that the network takes, ``"RGB"`` or ``"BGR"``.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    mean: Numbers = ()
    std: Numbers = ()
    order: str = "RGB"


READINGS: dict[str, Norm] = {
    "0..1": Norm("0..1"),
    "0..255": Norm("0..255", 0.0, 255.0),
    "-1..1": Norm("-1..1", -1.0, 1.0),
    "imagenet": Norm(
        "ImageNet's mean and deviation",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    "caffe": Norm(
        "0..255 less ImageNet's mean",
        high=255.0,
        mean=(103.939, 116.779, 123.68),
        order="BGR",
    ),
    "mnist": Norm("MNIST's mean and deviation", mean=(0.1307,), std=(0.3081,)),
    "fashion_mnist": Norm(
        "Fashion-MNIST's mean and deviation", mean=(0.2860,), std=(0.3530,)
    ),
    "cifar10": Norm(
        "CIFAR-10's mean and deviation",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    "cifar100": Norm(
        "CIFAR-100's mean and deviation",
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
}
"""Usual ones, by the name that :func:`bdjax.scan` knows them by."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """From canonical images to a network's inputs.

    Attributes:
      norm: of values.
      layout: ``"NCHW"``, ``"NHWC"``, ``"NHW"`` (no axis of channels), or ``"CHW"`` or
        ``"HWC"``, flattened to ``[N, D]`` in that order.
    """

    norm: Norm
    layout: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.norm.name}, {self.layout}{_bgr(self.norm)}"

    def shape(self, image: tuple[int, int, int]) -> tuple[int, ...]:
        """Of one input, from that of an image ``(H, W, C)``."""
        return own_shape(self.layout, image)

    def __call__(self, x: Any) -> Any:
        """Images ``[N, H, W, C]`` in [0, 1], NumPy or JAX, to inputs of the network."""
        norm = self.norm
        if norm.order == "BGR":
            x = x[..., ::-1]
        if (norm.low, norm.high) != (0.0, 1.0):
            x = x * np.float32(norm.high - norm.low) + np.float32(norm.low)
        if norm.mean:
            x = x - np.asarray(norm.mean, np.float32)
        if norm.std:
            x = x / np.asarray(norm.std, np.float32)
        if self.layout in ("NCHW", "CHW"):
            x = x.transpose(0, 3, 1, 2)
        if self.layout == "NHW":
            return x[..., 0]
        return x.reshape(len(x), -1) if self.layout in ("CHW", "HWC") else x


def _bgr(norm: Norm) -> str:
    return ", BGR" if norm.order == "BGR" else ""


def own_shape(layout: str, image: tuple[int, int, int]) -> tuple[int, ...]:
    """Shape of one input of a layout, from that of an image ``(H, W, C)``."""
    height, width, channels = image
    return {
        "NCHW": (channels, height, width),
        "NHWC": image,
        "NHW": (height, width),
    }.get(layout, (height * width * channels,))


class Stated(NamedTuple):
    """What a user said of the reading; see :func:`bdjax.scan`."""

    preprocess: str | None = None
    value_range: tuple[float, float] | None = None
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    layout: Layout | None = None
    order: str | None = None

    def check(self) -> None:
        """Refuses values that make no sense.

        Raises:
          UserError: a value is at fault, or two exclude each other.
        """
        if self.layout is not None:
            checks.one_of(("NCHW", "NHWC"), layout=self.layout)
        if self.order is not None:
            checks.one_of(("RGB", "BGR"), order=self.order)
        assert self.norm is None or self.norm.name

    @property
    def norm(self) -> Norm | None:
        """Of values; None if nothing was said of them.

        Raises:
          UserError: as :meth:`check`.
        """
        own = {n: getattr(self, n) is not None for n in ("value_range", "mean", "std")}
        if self.preprocess is not None:
            checks.one_of(READINGS, preprocess=self.preprocess)
            if any(own.values()):
                name = next(n for n, given in own.items() if given)
                raise UserError(
                    f"preprocess is {self.preprocess!r} and {name} is given, too; "
                    "leave one out"
                )
            return self._ordered(READINGS[self.preprocess])
        if not any(own.values()):
            return self._ordered(READINGS["0..1"]) if self.order == "BGR" else None
        low, high = self._range()
        mean, std = _numbers("mean", self.mean), _numbers("std", self.std)
        if any(s <= 0 for s in std):
            raise UserError(f"std is {self.std}; it must be above 0")
        parts = [f"{low:g}..{high:g}"]
        parts += [f"mean {self._words(mean)}"] if mean else []
        parts += [f"deviation {self._words(std)}"] if std else []
        return self._ordered(Norm(", ".join(parts), low, high, mean, std))

    def _ordered(self, norm: Norm) -> Norm:
        return flipped(norm) if self.order not in (None, norm.order) else norm

    def _range(self) -> tuple[float, float]:
        given = (0.0, 1.0) if self.value_range is None else self.value_range
        try:
            low, high = map(float, given)
        except (TypeError, ValueError):
            low = high = np.nan
        if not (np.isfinite([low, high]).all() and low != high):
            raise UserError(
                f"value_range is {self.value_range}; it must be two finite numbers, "
                "such as (0, 255)"
            )
        return low, high

    @staticmethod
    def _words(numbers: Numbers) -> str:
        return "/".join(f"{n:g}" for n in numbers)


def _numbers(name: str, given: Any) -> Numbers:
    if given is None:
        return ()
    try:
        numbers = np.asarray(given, np.float64).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if not numbers.size or not np.isfinite(numbers).all():
        raise UserError(f"{name} is {given}; give a number, or one a channel")
    return tuple(map(float, numbers))


def flipped(norm: Norm) -> Norm:
    """In the other order of channels; mean and deviation stay with their colours."""
    order = "RGB" if norm.order == "BGR" else "BGR"
    return norm._replace(mean=norm.mean[::-1], std=norm.std[::-1], order=order)


def fits(norm: Norm, channels: int) -> bool:
    """Whether it is of so many channels."""
    sizes = {len(norm.mean), len(norm.std)} - {0, 1}
    return sizes <= {channels} and (norm.order == "RGB" or channels == 3)


def usual(channels: int) -> list[Norm]:
    """Those that are tried on a network of so many channels."""
    found = [norm for norm in READINGS.values() if fits(norm, channels)]
    if channels == 3:
        # Statistics of one number are of grey data.
        found = [norm for norm in found if len(norm.mean) != 1]
        found += [flipped(norm) for norm in found if norm.order == "RGB"]
    return found
