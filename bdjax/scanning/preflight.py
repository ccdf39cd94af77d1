"""Is the network asked as its makers meant it? By what it makes of clean images."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bdjax.mntd import MetaDetector
from bdjax.networks import Opened
from bdjax.scanning import answers as answers_
from bdjax.scanning.answers import Answering
from bdjax.scanning.geometry import Geometry, Image, candidates, with_channels
from bdjax.scanning.images import Clean
from bdjax.scanning.reading import READINGS, Reading, Stated
from bdjax.scanning.report import Preflight
from bdjax.scanning.trials import Asked, Trial, choose, rank
from bdjax.types import UserError
from bdjax.verdicts import preconditions

MIN_ACCURACY = 0.5  # and, of few classes, well above chance
_GOOD = 0.97  # accuracy of a first reading, from which on no other is tried
_SOME, _FEW, _NOISE = 100, 50, 32  # images; a web service is asked few
_RENAMED = 0.8  # accuracy under other names of labels
_UNSURE = 0.4  # mean confidence of clean images without labels


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
    ask: Callable[[Any], np.ndarray],
    clean: Clean | None,
    stated: Stated,
    *,
    shape: Any = None,
    num_classes: int | None = None,
    fitted: Sequence[MetaDetector] = (),
) -> Checked:
    """Asks a network clean images, or noise, and finds out how it is to be asked.

    Args:
      opened: the network.
      ask: it, counted.
      clean: images, if there are some.
      stated: what the user said of the reading.
      shape: likewise, of one input.
      num_classes: likewise.
      fitted: detectors, whose queries tell the shape if nothing else does, and whether
        a network answers like those that they know.

    Raises:
      UserError: it cannot be asked, or answers with what no classifier does.
    """
    if clean is None and fitted and fitted[0].queries.ndim != 4:
        return _of_queries(opened, ask, fitted[0])
    image = fitted[0].queries.shape[1:] if fitted else None
    x = None if clean is None else clean.x
    ways = candidates(opened, x, shape=shape, layout=stated.layout, image=image)
    if clean is None:
        rng = np.random.default_rng(0)
        dark = rng.choice([0.3, 1.0, 3.0, 10.0], (_NOISE, 1, 1, 1))
        noise = rng.uniform(size=(_NOISE, *ways[0][0].image)) ** dark
        asked = Asked(ask, noise.astype(np.float32), None)
        chosen, preflight = _unchecked(asked, stated, ways[0], bool(fitted))
    else:
        is_web = "http" in opened.kind.lower()
        rows = clean.spread(_FEW if is_web else _SOME)
        y = None if clean.y is None else clean.y[rows]
        asked = Asked(ask, clean.x[rows], y)
        chosen, preflight = _checked(asked, stated, ways)
    own = opened.num_classes or chosen.answering.num_classes
    if num_classes and own and own != num_classes:
        raise UserError(
            f"num_classes is {num_classes}, and the network answers with {own}"
        )
    count = num_classes or own
    if clean is not None:
        _check_labels(clean, count)
        clean = _labelled(ask, chosen, clean)
        count = count or 1 + int(max(clean.y if clean.y is not None else [0]))
    return Checked(
        chosen.reading, chosen.image, chosen.answering, count, clean, preflight
    )


def _checked(
    asked: Asked, stated: Stated, ways: list[list[Geometry]]
) -> tuple[Trial, Preflight]:
    """The reading that clean images say, and what is known of it."""
    norm = stated.norm
    first = norm or READINGS["0..1"]
    trials = asked.first(first, ways)
    best = choose(trials)
    # What was said cannot be proved wrong without labels.
    told = norm is not None and asked.y is None
    if not told and not trials[best].accuracy >= _GOOD:
        own = [Geometry(t.reading.layout, t.image) for t in trials]
        trials += asked.others(first, own)
        best = choose(trials, best)
    if asked.y is not None and trials[best].accuracy < _least(trials[best], asked.y):
        # By chance, a wrong reading may be better than the right one.
        named = [i for i, trial in enumerate(trials) if _renamed(trial, asked.y)]
        best = min(named, key=lambda i: rank(trials[i])[0], default=best)
    chosen = trials[best]
    is_first, notes = chosen.reading.norm == first, []
    if norm is not None and not is_first:
        accuracy = max(t.accuracy for t in trials if t.reading.norm == first)
        notes.append(
            f"you said {first.name}, by which it gets {accuracy:.0%} of the images "
            f"right; it was asked {chosen.reading.name}, by which it gets "
            f"{chosen.accuracy:.0%}"
        )
    if asked.y is None:
        how = "" if norm else ", and it was asked as it is surest of them"
        notes.append(f"the images have no labels: its own answers stood for them{how}")
    order = sorted(range(len(trials)), key=lambda i: (i != best, rank(trials[i])))
    return chosen, Preflight(
        reading=chosen.candidate.name,
        stated=norm is not None and is_first,
        images=len(asked.x),
        candidates=tuple(trials[i].candidate for i in order),
        reasons=tuple(_doubts(asked, chosen, len(trials))),
        notes=tuple(notes),
    )


def _check_labels(clean: Clean, count: int) -> None:
    if clean.y is None:
        return
    most = int(clean.y.max())
    if count and most >= count:
        raise UserError(
            f"the images have a label {most}, and the network answers with {count} "
            f"classes, 0 to {count - 1}; check the labels, or say classes in the "
            "network's order"
        )
    if count and len(clean.classes) > count:
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


def _doubts(asked: Asked, chosen: Trial, tried: int) -> list[str]:
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
        reasons += preconditions.steady(asked.ask, x, said)
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
    if chosen.accuracy < _least(chosen, asked.y):
        reasons.append(_poor(chosen, asked.y, tried))
    return reasons


def _least(trial: Trial, y: np.ndarray) -> float:
    """Accuracy that a network has to have."""
    count = trial.answering.num_classes or int(y.max()) + 1
    return max(MIN_ACCURACY, 1 / count + 0.4 * (1 - 1 / count))


def _poor(chosen: Trial, y: np.ndarray, tried: int) -> str:
    """What a poor accuracy comes from, most likely."""
    start = (
        f"the network gets {chosen.accuracy:.0%} of the {len(y)} images right by "
        f"{chosen.reading.name}"
    )
    if names := _renamed(chosen, y):
        k, other = next((k, other) for k, other in names.items() if k != other)
        return (
            f"{start}, and most if labels are numbered otherwise (it calls {k} {other})"
            ": bring them into the network's order (classes)"
        )
    also = f", the best of {tried} readings that were tried" if tried > 1 else ""
    return f"{start}{also}: check labels, and what it takes (value_range, mean, std)"


def _renamed(trial: Trial, y: np.ndarray) -> dict[int, int]:
    """What it calls each label, if it is right but for their names; else empty."""
    said = trial.answering.labels(trial.answers)
    names = {int(k): int(np.bincount(said[y == k]).argmax()) for k in np.unique(y)}
    right = np.mean(said == [names[int(k)] for k in y])
    return names if right > _RENAMED and len({*names.values()}) == len(names) else {}


def _labelled(ask: Callable[[Any], np.ndarray], chosen: Trial, clean: Clean) -> Clean:
    """All images as the network takes them, labelled by itself if they are not."""
    x = with_channels(clean.x, chosen.image[2])
    if clean.y is not None:
        return clean._replace(x=x)
    _, said = answers_.read(ask(chosen.reading(x)), len(x))
    return clean._replace(x=x, y=chosen.answering.labels(said).astype(np.int32))


def _unchecked(
    asked: Asked, stated: Stated, ways: list[Geometry], is_fitted: bool
) -> tuple[Trial, Preflight]:
    """Noise, which tells how the network answers, and no more."""
    norm = stated.norm
    trial = asked.first(norm or READINGS["0..1"], [ways])[0]
    reasons = []
    if not trial.answering.is_labels:
        x = trial.reading(with_channels(asked.x, trial.image[2]))
        reasons += preconditions.steady(asked.ask, x, trial.answers)
    if norm is None and not is_fitted:
        reasons.append(
            "there are no images, and nobody said what the network takes: it was asked "
            f"{trial.reading.name}, which nothing could check; say preprocess, or "
            "value_range, mean and std, or give images"
        )
    note = "there are no images: whether the network was asked rightly was not checked"
    return trial, Preflight(
        reading=trial.candidate.name,
        stated=norm is not None,
        reasons=tuple(reasons),
        notes=(note,),
    )


def _of_queries(
    opened: Opened, ask: Callable[[Any], np.ndarray], fitted: MetaDetector
) -> Checked:
    """A network of tables, series, waves or text, as a fitted detector asks it."""
    answering, _ = answers_.read(ask(fitted.asked), len(fitted.queries))
    note = "the network was asked in the data's own units, as the detector has them"
    preflight = Preflight(reading="as it is", notes=(note,))
    count = opened.num_classes or answering.num_classes
    reading = Reading(READINGS["0..1"], "NHWC")
    return Checked(reading, (1, 1, 1), answering, count, None, preflight)
