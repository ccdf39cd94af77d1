"""Readings that are tried on a network, and which of them it was trained by."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bdjax.networks.base import UnreachedError
from bdjax.scanning import answers as answers_
from bdjax.scanning.answers import Answering
from bdjax.scanning.geometry import Geometry, Image, with_channels
from bdjax.scanning.reading import Norm, Reading, fits, usual
from bdjax.scanning.report import Candidate
from bdjax.types import UserError

_CLEAR = 2.6  # standard errors: better beyond chance
_CAP = 20.0  # nats of one image's cross-entropy
_TELLS = 0.3  # nats: by as much answers must say more, where there are no labels
_TEMPERATURES = np.geomspace(0.1, 10, 21)


class Trial(NamedTuple):
    """A reading that was tried.

    Attributes:
      reading: it.
      image: ``(H, W, C)`` that it reads.
      answering: how the network answered.
      answers: raw.
      right: float ``[N]``, 0 or 1, where there are labels; else empty.
      losses: float64 ``[N]``: cross-entropy in nats, at the best temperature; without
        labels minus the information of an answer; empty of labels only.
      confidence: mean probability of the label that it answers.
      surprise: mean cross-entropy as it answers, see below; without labels the
        confidence, as the least of equals is the likeliest.
    """

    reading: Reading
    image: Image
    answering: Answering
    answers: np.ndarray
    right: np.ndarray
    losses: np.ndarray
    confidence: float
    surprise: float = 0.0

    @property
    def accuracy(self) -> float:
        """NaN without labels."""
        return float(self.right.mean()) if self.right.size else math.nan

    @property
    def candidate(self) -> Candidate:
        """For the report."""
        return Candidate(
            name=self.reading.name,
            accuracy=self.accuracy,
            confidence=self.confidence,
        )


@dataclasses.dataclass
class Asked:
    """Asks images in several readings.

    Attributes:
      ask: the network.
      x: float32 ``[N, H, W, C]`` in [0, 1].
      y: int ``[N]``; None without labels.
    """

    ask: Callable[[Any], np.ndarray]
    x: np.ndarray
    y: np.ndarray | None

    def first(self, norm: Norm, ways: list[list[Geometry]]) -> list[Trial]:
        """Of the likeliest ways that the network takes at all.

        Raises:
          UserError: it takes none.
        """
        failed: list[str] = []
        for some in ways:
            found = [trial for way in some if (trial := self.tried(norm, way, failed))]
            if found:
                return found
        raise UserError(failed[0])

    def others(self, first: Norm, ways: list[Geometry]) -> list[Trial]:
        """Of the usual readings but the first one."""
        failed: list[str] = []
        tried = [
            self.tried(norm, way, failed)
            for way in dict.fromkeys(ways)
            for norm in usual(way.image[2])
            if norm != first
        ]
        return [trial for trial in tried if trial]

    def tried(self, norm: Norm, way: Geometry, failed: list[str]) -> Trial | None:
        """None if the network does not take it: why is added to what failed."""
        channels = way.image[2]
        if not fits(norm, channels):
            if norm.order == "BGR" and channels != 3:
                failed.append(
                    f"BGR is an order of 3 channels, and the network takes {channels}; "
                    "leave order out"
                )
                return None
            failed.append(
                f"{norm.name} has numbers of {max(len(norm.mean), len(norm.std))} "
                f"channels, and the network takes {channels}; give as many, or one"
            )
            return None
        reading = Reading(norm, way.layout)
        x = with_channels(self.x, channels)
        try:
            answering, said = answers_.read(self.ask(reading(x)), len(x))
        except UnreachedError:
            raise
        except UserError as error:
            failed.append(str(error))
            return None
        except Exception as error:  # whatever a stranger's network makes of a shape
            text = " ".join(str(error).split())
            failed.append(
                f"the network fails on images of shape {reading(x).shape} "
                f"({type(error).__name__}: {text[:160]}); check shape and layout"
            )
            return None
        return self.judged(reading, way.image, answering, said)

    def judged(
        self, reading: Reading, image: Image, answering: Answering, said: np.ndarray
    ) -> Trial:
        """How well the answers fit."""
        none = np.zeros(0)
        if answering.is_labels:
            right = none if self.y is None else (said == self.y).astype(float)
            return Trial(reading, image, answering, said, right, none, math.nan)
        logs = _log_softmax(answering.logits(said.astype(np.float64)))
        top = logs.argmax(1)
        confidence = float(np.exp(logs.max(1)).mean())
        if self.y is None:
            shares = np.exp(logs)
            losses = -(shares * (logs - np.log(shares.mean(0) + 1e-30))).sum(1)
            right, surprise = none, confidence
        else:
            right = (top == self.y).astype(float)
            inside = np.minimum(self.y, logs.shape[1] - 1)
            losses = _losses(logs, inside)
            surprise = _surprise(logs, inside)
        return Trial(
            reading, image, answering, said, right, losses, confidence, surprise
        )


def _losses(logs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cross-entropy in nats at the best temperature.

    By the temperature alone any reading of a greater range would look surer, and better
    where most is right.
    """
    each = [_cross_entropies(_log_softmax(logs / t), y) for t in _TEMPERATURES]
    return min(each, key=lambda losses: float(losses.mean()))


def _surprise(logs: np.ndarray, y: np.ndarray) -> float:
    """Mean cross-entropy, with two mistakes more than there are.

    Where all is right, nothing else would tell how sure a network is of its mistakes.
    """
    runner_up = np.partition(logs, -2, axis=1)[:, -2]
    mistake = float(np.minimum(-runner_up, _CAP).mean())
    return (float(_cross_entropies(logs, y).sum()) + 2 * mistake) / (len(logs) + 2)


def _cross_entropies(logs: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.minimum(-np.take_along_axis(logs, y[:, None], 1)[:, 0], _CAP)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def rank(trial: Trial) -> tuple[bool, float, float]:
    """Less is better: whether it is sure beyond reason, then by accuracy, then loss."""
    is_wild = answers_.saturated(trial.answering, trial.answers)
    right = float(trial.right.mean()) if trial.right.size else 0.0
    return is_wild, -right, float(trial.losses.mean()) if trial.losses.size else 0.0


def choose(trials: list[Trial], start: int = 0) -> int:
    """The one at ``start``, unless another is better beyond chance.

    By accuracy, or, if it is no worse in that, by cross-entropy; without labels by how
    much its answers say.
    """
    wild = [rank(trial)[0] for trial in trials]
    pool = [i for i in range(len(trials)) if not wild[i]] or [start]
    best = min(pool, key=lambda i: rank(trials[i]))
    old, new = trials[start], trials[best]
    if wild[start] or (old.right.size and _beyond(new.right - old.right)):
        return _likeliest(trials, pool, best)
    if not old.losses.size:
        return start
    no_worse = [i for i in pool if rank(trials[i])[1] <= rank(old)[1]]
    lower = min(no_worse, key=lambda i: rank(trials[i])[2])
    gain = old.losses - trials[lower].losses
    if not _beyond(gain) or (not old.right.size and gain.mean() < _TELLS):
        return start
    return _likeliest(trials, pool, lower)


def _likeliest(trials: list[Trial], pool: list[int], best: int) -> int:
    """Of those that do as well as the best, the one that is sure of what it gets right.

    A greater range than the right one does about as well, and is sure of its mistakes.
    """
    top = trials[best]
    if top.right.size:
        equal = [i for i in pool if not _beyond(top.right - trials[i].right)]
    else:
        most = float(top.losses.mean()) + _TELLS
        equal = [i for i in pool if trials[i].losses.mean() <= most]
    return min(equal, key=lambda i: trials[i].surprise) if top.losses.size else best


def _beyond(gain: np.ndarray) -> bool:
    """Whether a mean gain is one beyond chance."""
    error = math.sqrt(float((gain**2).sum())) or 1.0
    return float(gain.sum()) > _CLEAR * error
