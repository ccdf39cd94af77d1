"""Clips of sound: brought to one rate and length, and read from an npz file."""

import fractions
import pathlib
from typing import Any

import numpy as np

from bdjax.checks import digits, keeps_to
from bdjax.data.base import Dataset, Request, check_labels, check_lengths
from bdjax.data.content import opened
from bdjax.data.encode import imbalance_notes
from bdjax.types import UserError

RATE = 16_000
"""Samples a second of every wave that a task reads."""

_RATES = (1000, 400_000)
_EVERY = 500  # clips between two reports
_HOW = (
    "save np.savez(path, wave=every clip end to end, offset=where each begins and the "
    "end, y=labels, rate=samples a second)"
)


def load_clips(request: Request, *, rate: int = 0) -> Dataset:
    """Loads an npz file of clips with labels.

    ``wave`` holds all clips end to end, int16 or floats in [-1, 1]; ``offset`` ``[N +
    1]`` where each begins, and the end; ``y`` ``[N]`` the labels. Optional: ``rate`` in
    Hz, and ``is_test`` ``[N]``, which clips are the test split.

    Args:
        request: of examples ``(samples,)`` at 16 kHz.
        rate: of the clips in Hz, where the file does not say; else 0.

    Returns:
        int16 waves ``[N, samples]``, training rows first.

    Raises:
        UserError: the file is missing or damaged, lacks an array or holds a wrong one,
            its rate is not known, or a clip is empty or not finite.
    """
    file = request.file("waves", "the path of an npz")
    with opened(file, _HOW) as archive:
        held = {
            key: archive.read(archive.header(key))
            for key in ("wave", "offset", "y", "is_test", "rate")
            if key in archive or key in ("wave", "offset", "y")
        }
    # AIFF and Sphere files hold the other byte order.
    held = {k: v.astype(v.dtype.newbyteorder("="), copy=False) for k, v in held.items()}
    _check_arrays(held, request.num_classes, file)
    rate = _rate(held.get("rate"), rate, file)
    wave, offset, y = held["wave"], held["offset"], held["y"]
    test_N = held.get("is_test", np.zeros(len(y), bool)).astype(bool)
    order = np.argsort(test_N, kind="stable")
    clips = Clips(request, len(y))
    for clip in order:
        clips.add(wave[offset[clip] : offset[clip + 1]], rate, f"clip {clip} of {file}")
    return clips.dataset(y[order].astype(np.int32), int((~test_N).sum()))


class Clips:
    """Waves of one length that are filled clip by clip, and what was done to them."""

    def __init__(self, request: Request, count: int):
        """Makes room for ``count`` waves; reports progress every 500."""
        self._request = request
        self._x = np.zeros((count, *request.shape), np.int16)
        self._done = self._cut = self._silent = 0

    def add(self, clip_N: np.ndarray, rate: int, where: str) -> None:
        """Resamples a clip to 16 kHz, then fills it up with silence or cuts it.

        Args:
            clip_N: int16, or floats in [-1, 1].
            rate: in Hz.
            where: what to call it in messages.

        Raises:
            UserError: it is empty, not finite or louder than full scale.
        """
        wave = _full_scale(clip_N, where)
        samples = self._x.shape[1]
        # What lies this far behind the end is not heard at it.
        wave = wave[: -(-samples * rate // RATE) + rate // 10]
        self._cut += len(clip_N) * RATE > samples * rate
        self._silent += not wave.any()
        if rate != RATE:
            from scipy import signal

            ratio = fractions.Fraction(RATE, rate)
            wave = signal.resample_poly(wave, ratio.numerator, ratio.denominator)
        wave = np.clip(np.round(wave[:samples]), -32768, 32767)
        self._x[self._done, : len(wave)] = wave
        self._done += 1
        if self._request.progress is not None:
            total = len(self._x)
            if self._done % _EVERY == 0 or self._done == total:
                self._request.progress(self._done, total)

    def dataset(self, y_N: np.ndarray, num_train: int) -> Dataset:
        """All of them as a data set, with notes on what was cut and what is silent.

        Raises:
            UserError: there is no training clip.
        """
        name, num_classes = self._request.name, self._request.num_classes
        if not num_train:
            raise UserError(f"data set {name!r} has no training clips: give some")
        count, notes = len(y_N), imbalance_notes(y_N[:num_train], num_classes)
        if self._cut:
            notes.append(
                f"{self._cut} of {count} clips are longer than "
                f"{self._x.shape[1] / RATE:g} s and were cut"
            )
        if self._silent:
            notes.append(f"{self._silent} of {count} clips are silent")
        return Dataset(name, self._x, y_N, num_classes, num_train, notes=tuple(notes))


def _full_scale(clip_N: np.ndarray, where: str) -> np.ndarray:
    """Samples in units of int16, float32."""
    if not len(clip_N):
        raise UserError(f"{where} is empty: leave it out")
    if clip_N.dtype == np.int16:
        return clip_N.astype(np.float32)
    if not np.isfinite(clip_N).all():
        raise UserError(f"{where} holds NaN or infinity: leave it out or mend it")
    if not keeps_to(0, peak := np.abs(clip_N).max(), (-1, 1)):
        raise UserError(
            f"{where} reaches {digits(peak)}, but floats must lie in [-1, 1]: rescale "
            "them, or save int16"
        )
    return 32768 * clip_N.astype(np.float32)


def _check_arrays(held: dict[str, Any], num_classes: int, file: pathlib.Path) -> None:
    """Raises ``UserError`` if an array's type, shape or values cannot be right."""
    wave, offset, y = held["wave"], held["offset"], held["y"]
    if wave.ndim != 1:
        raise UserError(
            f"wave in {file} has shape {wave.shape}: average its channels and save all "
            "clips end to end in one axis"
        )
    if wave.dtype != np.int16 and wave.dtype.kind != "f":
        raise UserError(
            f"wave in {file} is {wave.dtype}: save int16, or floats in [-1, 1]"
        )
    for key, kinds in (("offset", "iu"), ("y", "iu"), ("is_test", "iub")):
        array = held.get(key, y)
        if array.ndim != 1 or array.dtype.kind not in kinds:
            raise UserError(
                f"{key} in {file} is {array.dtype} of shape {array.shape}: {_HOW}"
            )
    check_lengths(len(offset) - 1, len(y), f"offset in {file}", "y")
    if not len(y):
        raise UserError(f"{file} holds no clips: {_HOW}")
    offset = held["offset"] = offset.astype(np.int64)
    if offset[0] < 0 or offset[-1] > len(wave) or (np.diff(offset) < 0).any():
        raise UserError(
            f"offset in {file} does not rise from 0 to the {len(wave)} samples of "
            f"wave: {_HOW}"
        )
    if "is_test" in held:
        check_lengths(len(held["is_test"]), len(y), f"is_test in {file}", "y")
    check_labels(y, num_classes, f"y in {file}")


def _rate(held: np.ndarray | None, asked: int, file: pathlib.Path) -> int:
    """The rate that the file or else the user says."""
    if held is not None and (
        held.size != 1 or held.dtype.kind not in "iuf" or not np.isfinite(held).all()
    ):
        raise UserError(f"rate in {file} is no number: save samples a second")
    says = 0 if held is None else round(float(held.item()))
    if not says and not asked:
        raise UserError(
            f"{file} does not say its sampling rate: set data.rate, such as 8000, or "
            "save it as 'rate'"
        )
    if says and asked and says != asked:
        raise UserError(
            f"{file} says a rate of {says} Hz, but data.rate is {asked}: leave it out"
        )
    rate = says or asked
    if not _RATES[0] <= rate <= _RATES[1]:
        raise UserError(
            f"a sampling rate of {rate} Hz ({file}) must lie in "
            f"[{_RATES[0]}, {_RATES[1]}]: give samples a second"
        )
    return rate
