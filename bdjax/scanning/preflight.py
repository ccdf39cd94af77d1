"""Is the network asked as its makers meant it? By what it makes of clean images."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from bdjax.networks import Opened
from bdjax.scanning import answers as answers_
from bdjax.scanning.answers import Answering
from bdjax.scanning.geometry import Geometry, Image, candidates, with_channels
from bdjax.scanning.images import Clean
from bdjax.scanning.reading import READINGS, Norm, Reading, Stated, fits, usual
from bdjax.scanning.report import Candidate, Preflight
from bdjax.types import UserError
from bdjax.verdicts import preconditions

MIN_ACCURACY = 0.5  # and, of few classes, well above chance
_GOOD = 0.97  # accuracy of a first reading, from which on no other is tried
_CLEAR = 2.6  # standard errors: better beyond chance
_CAP = 20.0  # nats of one image's cross-entropy
_NOISE = 32
_UNSURE = 0.4  # mean confidence of clean images without labels


class Trial(NamedTuple):
    """A reading that was tried.

    Attributes:
      reading: it.
      image: ``(H, W, C)`` that it reads.
      answering: how the network answered.
      answers: raw.
      right: bool ``[N]``, where there are labels; else empty.
      losses: float64 ``[N]``: cross-entropy in nats, or without labels minus the
        information of an answer; empty of labels only.
      confidence: mean probability of the label that it answers.
    """

    reading: Reading
    image: Image
    answering: Answering
    answers: np.ndarray
    right: np.ndarray
    losses: np.ndarray
    confidence: float

    @property
    def accuracy(self) -> float:
        """NaN without labels."""
        return float(self.right.mean()) if self.right.size else math.nan

    @property
    def candidate(self) -> Candidate:
        """For the report."""
        name = self.reading.name
        if self.reading.layout not in ("NCHW", "NHWC"):
            name = f"{name}, {self.reading.layout}"
        return Candidate(name=name, accuracy=self.accuracy, confidence=self.confidence)


class Checked(NamedTuple):
    """What is known of a network before detectors look at it.

    Attributes:
      reading: how it is asked.
      image: ``(H, W, C)`` of canonical images.
      answering: how it answers.
      num_classes: C; 0 if it says labels only and nothing tells.
      clean: images as it takes them, None without any; where they had no labels, its
        own answers are.
      preflight: for the report.
    """

    reading: Reading
    image: Image
    answering: Answering
    num_classes: int
    clean: Clean | None
    preflight: Preflight


def check(
    opened: Opened,
    clean: Clean | None,
    stated: Stated,
    *,
    shape: Any = None,
    num_classes: int | None = None,
    image: Image | None = None,
    is_dear: bool = False,
) -> Checked:
    """Asks a network clean images, or noise, and finds out how it is to be asked.

    Args:
      opened: the network.
      clean: images, if there are some.
      stated: what the user said of the reading.
      shape: likewise, of one input.
      num_classes: likewise.
      image: ``(H, W, C)`` of a fitted detector's queries, if there are no images.
      is_dear: whether asking costs, so that it is done no oftener than it must.

    Raises:
      UserError: it cannot be asked, or answers with what no classifier does.
    """
    norm, x = stated.norm, None if clean is None else clean.x
    ways = candidates(opened, x, shape=shape, layout=stated.layout, image=image)
    first = norm or READINGS["0..1"]
    if clean is None:
        return _unchecked(opened, first, norm is not None, ways, num_classes, image)
    rows = clean.spread(50 if is_dear else max(100, 2 * len(np.unique(clean.y))))
    asked = _Asked(opened, clean.x[rows], None if clean.y is None else clean.y[rows])
    trials = asked.first(first, ways)
    _check_classes(trials[0], clean, opened, num_classes)
    reasons: list[str] = []
    notes: list[str] = []
    best = _choose(trials, 0)
    is_good = trials[best].accuracy >= _GOOD
    told = norm is not None and clean.y is None
    if not (is_good or told):
        trials += asked.others(first, [Geometry(t.reading.layout, t.image)
                                       for t in trials])  # fmt: skip
        best = _choose(trials, best)
    chosen = trials[best]
    is_first = chosen.reading.norm == first
    if norm is not None and not is_first:
        stated_one = max(trials, key=lambda t: (t.reading.norm == first, t.accuracy))
        notes.append(
            f"you said {first.name}, by which it gets {stated_one.accuracy:.0%} of the "
            f"images right, and {chosen.accuracy:.0%} by {chosen.reading.name}: it was "
            "asked by the latter"
        )
    reasons += _doubts(opened, chosen, asked, len(trials))
    if clean.y is None:
        notes.append(
            "the images have no labels: the network's own answers stood for them"
            + ("" if norm else ", and how it was asked was chosen by how sure it is")
        )
    order = sorted(range(len(trials)), key=lambda i: (i != best, _rank(trials[i])))
    preflight = Preflight(
        reading=chosen.candidate.name,
        stated=norm is not None and is_first,
        candidates=tuple(trials[i].candidate for i in order),
        reasons=tuple(reasons),
        notes=tuple(notes),
    )
    count = num_classes or opened.num_classes or chosen.answering.num_classes
    seen = _labelled(opened, chosen, clean)
    return Checked(
        chosen.reading, chosen.image, chosen.answering, count, seen, preflight
    )


@dataclasses.dataclass
class _Asked:
    """Asks images in several readings."""

    opened: Opened
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
            failed.append(
                f"{norm.name} has numbers of {max(len(norm.mean), len(norm.std))} "
                f"channels, and the network takes {channels}; give as many, or one"
            )
            return None
        reading = Reading(norm, way.layout)
        x = with_channels(self.x, channels)
        try:
            answering, said = answers_.read(self.opened.ask(reading(x)), len(x))
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
            right = none if self.y is None else said == self.y
            return Trial(reading, image, answering, said, right, none, math.nan)
        logs = _log_softmax(answering.logits(said.astype(np.float64)))
        top = logs.argmax(1)
        confidence = float(np.exp(logs.max(1)).mean())
        if self.y is None:
            shares = np.exp(logs)
            losses = -(shares * (logs - np.log(shares.mean(0) + 1e-30))).sum(1)
            right = none
        else:
            right = top == self.y
            inside = np.minimum(self.y, logs.shape[1] - 1)
            losses = -np.take_along_axis(logs, inside[:, None], 1)[:, 0]
        losses = np.minimum(losses, _CAP)
        return Trial(reading, image, answering, said, right, losses, confidence)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _rank(trial: Trial) -> tuple[bool, float, float]:
    """Less is better."""
    loss = float(trial.losses.mean()) if trial.losses.size else 0.0
    is_wild = answers_.saturated(trial.answering, trial.answers)
    return is_wild, -trial.accuracy if trial.right.size else 0.0, loss


def _choose(trials: list[Trial], start: int) -> int:
    """The one at ``start``, or the best of those that are better beyond chance."""
    best = min(range(len(trials)), key=lambda i: _rank(trials[i]))
    old, new = trials[start], trials[best]
    if _rank(old)[0] and not _rank(new)[0]:
        return best
    if old.right.size and _beyond(new.right.astype(float) - old.right):
        return best
    if new.losses.size and new.accuracy == old.accuracy or not old.right.size:
        lower = min(
            (i for i, t in enumerate(trials) if not _rank(t)[0]),
            key=lambda i: float(trials[i].losses.mean()) if trials[i].losses.size else 0,
            default=start,
        )
        if trials[lower].losses.size and _beyond(old.losses - trials[lower].losses):
            return lower
    return start


def _beyond(gain: np.ndarray) -> bool:
    """Whether a mean gain is one beyond chance."""
    error = math.sqrt(float((gain**2).sum())) or 1.0
    return float(gain.sum()) > _CLEAR * error


def _check_classes(
    trial: Trial, clean: Clean, opened: Opened, num_classes: int | None
) -> None:
    count = num_classes or opened.num_classes or trial.answering.num_classes
    answered = trial.answering.num_classes
    if num_classes and answered and answered != num_classes:
        raise UserError(
            f"num_classes is {num_classes}, and the network answers with {answered}"
        )
    if clean.y is None:
        return
    most = int(clean.y.max())
    if count and most >= count:
        raise UserError(
            f"the images have a label {most}, and the network answers with {count} "
            f"classes, 0 to {count - 1}; check the labels, or say classes in the "
            "network's order"
        )
    if len(clean.classes) > count > 0:
        raise UserError(
            f"there are names of {len(clean.classes)} classes, and the network answers "
            f"with {count}"
        )
    present = np.unique(clean.y)
    if len(present) < 2:
        raise UserError(
            f"all {clean.given} images are of class {present[0]}; give images of each "
            "class, or none at all"
        )


def _doubts(opened: Opened, chosen: Trial, asked: _Asked, tried: int) -> list[str]:
    """What forbids a verdict on the network as it is asked."""
    answering, said = chosen.answering, chosen.answers
    x = chosen.reading(with_channels(asked.x, chosen.image[2]))
    if len(np.unique(said, axis=0)) < 2:
        return [
            "the network gives the same answer to all images: check its weights, and "
            "what it takes (value_range, mean, std)"
        ]
    reasons = []
    if not answering.is_labels:
        reasons += preconditions.steady(opened.ask, x, said)
    if answers_.rounded(answering, said):
        reasons.append(
            f"the network answers with {answering.words}, some of them rounded to 0: "
            "how sure it is cannot be told; give logits, from before the softmax"
        )
    if asked.y is None:
        if chosen.confidence < _UNSURE:
            reasons.append(
                f"the network is unsure of clean images (mean confidence "
                f"{chosen.confidence:.0%}): check value_range, mean and std"
            )
        return reasons
    count = answering.num_classes or int(asked.y.max()) + 1
    least = max(MIN_ACCURACY, 1 / count + 0.4 * (1 - 1 / count))
    if chosen.accuracy < least:
        reasons.append(_poor(chosen, asked.y, tried))
    return reasons


def _poor(chosen: Trial, y: np.ndarray, tried: int) -> str:
    said = chosen.answers
    if not chosen.answering.is_labels:
        said = chosen.answering.logits(said).argmax(1)
    start = (
        f"the network gets {chosen.accuracy:.0%} of the {len(y)} images right by "
        f"{chosen.reading.name}"
    )
    usual_K = {int(k): int(np.bincount(said[y == k]).argmax()) for k in np.unique(y)}
    renamed = np.array([usual_K[int(k)] for k in y])
    if len(set(usual_K.values())) == len(usual_K) and (said == renamed).mean() > 0.8:
        k, other = next((k, other) for k, other in usual_K.items() if k != other)
        return (
            f"{start}, and {np.mean(said == renamed):.0%} if labels are numbered "
            f"otherwise (it calls {k} {other}): bring them into the network's order "
            "(classes)"
        )
    also = f", the best of {tried} readings that were tried" if tried > 1 else ""
    return f"{start}{also}: check labels, and what it takes (value_range, mean, std)"


def _labelled(opened: Opened, chosen: Trial, clean: Clean) -> Clean:
    """All images as the network takes them, labelled by itself if they are not."""
    x = with_channels(clean.x, chosen.image[2])
    if clean.y is not None:
        return clean._replace(x=x)
    answering, said = answers_.read(opened.ask(chosen.reading(x)), len(x))
    if not answering.is_labels:
        said = chosen.answering.logits(said).argmax(1)
    return clean._replace(x=x, y=said.astype(np.int32))


def _unchecked(
    opened: Opened,
    norm: Norm,
    is_stated: bool,
    ways: list[list[Geometry]],
    num_classes: int | None,
    image: Image | None,
) -> Checked:
    """Asks noise, which tells how the network answers, and no more."""
    rng = np.random.default_rng(0)
    way = ways[0][0]
    dark = rng.choice([0.3, 1.0, 3.0, 10.0], (_NOISE, 1, 1, 1))
    noise = (rng.uniform(size=(_NOISE, *way.image)) ** dark).astype(np.float32)
    asked = _Asked(opened, noise, None)
    trial = asked.first(norm, ways)[0]
    reasons = []
    if not trial.answering.is_labels:
        x = trial.reading(with_channels(noise, trial.image[2]))
        reasons += preconditions.steady(opened.ask, x, trial.answers)
    notes = ["without images, whether the network was asked rightly was not checked"]
    if not is_stated and image is None:
        reasons.append(
            f"there are no images, and nobody said what the network takes: it was asked"
            f" {norm.name}, which nothing could check; say preprocess, or value_range, "
            "mean and std, or give images"
        )
    count = num_classes or opened.num_classes or trial.answering.num_classes
    preflight = Preflight(
        reading=trial.candidate.name,
        stated=is_stated,
        reasons=tuple(reasons),
        notes=tuple(notes),
    )
    return Checked(trial.reading, trial.image, trial.answering, count, None, preflight)
