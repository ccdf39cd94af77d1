"""A suspicion on few images is tried on other ones, before it is said.

One image a class, as DL-TND's references have, is one draw: of the same network another
draw may score much less, or more. A score up to the grey zone stands as it is; beyond,
two more draws are looked at and the middle score counts (of two draws the lesser).
Whatever is flagged was so on most of the draws that there were; a note says how many.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from bdjax.detectors import Detector, Resources
from bdjax.scanning.report import Judgement

DRAWS = 3


def settled(
    first: Judgement,
    detector: object,
    resources: Resources,
    again: Callable[[Resources], Judgement],
) -> Judgement:
    """A judgement that other images of the same classes bear out.

    Args:
      first: of the first draw.
      detector: whose it is.
      resources: with the images; their order is the order of draws.
      again: judges on other ones; what came to no end has no finding.
    """
    per_class = detector.needs.images_per_class if isinstance(detector, Detector) else 0
    if not per_class or not _is_suspicious(first):
        return first
    every = [first]
    for k in range(1, DRAWS):
        other = draw(resources, per_class, k)
        if other is not None:
            every.append(again(other))
    done = [j for j in every if j.finding and math.isfinite(j.finding.score)]
    scores = [j.finding.score for j in done if j.finding]
    middle = done[int(np.argsort(scores, kind="stable")[(len(done) - 1) // 2])]
    assert middle.finding is not None
    said = ", ".join(f"{score:.3g}" for score in scores)
    which = "the middle one" if len(done) > 2 else "the lesser"
    note = f"{len(done)} draws of images score {said}, and {which} counts"
    if len(done) == 1:
        cut = [j.skipped for j in every[1:]]
        lacking = f"there are fewer than {2 * per_class} of some class"
        why = cut[0] if cut else lacking
        note = f"it rests on one draw of images, {per_class} a class: {why}"
    finding = dataclasses.replace(middle.finding, notes=(*middle.finding.notes, note))
    seconds = sum(j.seconds for j in every)
    return dataclasses.replace(middle, finding=finding, seconds=seconds)


def draw(resources: Resources, per_class: int, k: int) -> Resources | None:
    """Resources whose first images of every class are those of the ``k``-th draw.

    None if a class has not as many.
    """
    x, y = resources.x, resources.y
    if x is None or y is None:
        return None
    start = k * per_class
    rows = []
    for label in np.unique(y):
        here = np.flatnonzero(y == label)
        if len(here) < start + per_class:
            return None
        rows.append(np.roll(here, -start))
    index = np.concatenate(rows)
    return dataclasses.replace(resources, x=x[index], y=y[index])


def _is_suspicious(judgement: Judgement) -> bool:
    """Whether nothing but its score stands between a network and being flagged."""
    finding, calibration = judgement.finding, judgement.calibration
    if finding is None or calibration is None or not calibration.references:
        return False
    if finding.conclusion == "trojaned":
        return True
    in_doubt = [r for r in finding.reasons if not r.startswith("the score lies in")]
    return finding.score > calibration.grey and not in_doubt
