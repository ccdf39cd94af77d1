"""A suspicion of one draw of images is tried on others before it is said."""

import dataclasses
import math

import numpy as np
import pytest

from bdjax.detectors import Finding, Resources, get_detector
from bdjax.scanning import Judgement, draws
from bdjax.tasks import get_task
from bdjax.verdicts import Calibration

CALIBRATION = Calibration(np.linspace(0, 1.5, 40), 2.0, 1.6, "forty networks")
DL_TND = get_detector("dl_tnd:per_class=1")


def judgement(score, *, reasons=(), skipped="", detector="dl_tnd"):
    finding = None
    if not skipped:
        flagged = score > 2 and not reasons
        grey = ("the score lies in the grey zone",) if 1.6 < score <= 2 else ()
        conclusion = "trojaned" if flagged else "inconclusive"
        if score <= 1.6 and not reasons:
            conclusion = "benign"
        finding = Finding(
            0, score, conclusion=conclusion, reasons=(*reasons, *grey), notes=("n",)
        )
    return Judgement(
        name=detector, title="DL-TND", access="gradients", finding=finding,
        calibration=CALIBRATION, skipped=skipped, seconds=1.0,
    )  # fmt: skip


def resources(each=3):
    y = np.tile(np.arange(4), each).astype(np.int32)
    x = np.arange(len(y), dtype=np.float32).reshape(-1, 1, 1, 1)
    return Resources(task=get_task("mnist"), x=x, y=y)


def settled(first, others, *, each=3, detector=DL_TND):
    """What it comes to, and the first images of every further draw."""
    asked, left = [], list(others)

    def again(given):
        x, _ = dataclasses.replace(
            given, task=dataclasses.replace(given.task, num_classes=4)
        ).images(1)
        asked.append(x.ravel().tolist())
        return left.pop(0)

    return draws.settled(first, detector, resources(each), again), asked


@pytest.mark.parametrize(
    ("first", "others", "score", "conclusion"),
    [
        (3.0, (2.5, 2.2), 2.5, "trojaned"),
        (2.3, (1.2, 1.1), 1.2, "benign"),  # a false alarm of one draw
        (2.3, (1.9, 1.0), 1.9, "inconclusive"),
        (1.7, (3.0, 2.5), 2.5, "trojaned"),  # grey at first
        (1.7, (math.nan, 2.5), 1.7, "inconclusive"),  # of two the lesser
    ],
)
def test_the_middle_of_three_draws_counts(first, others, score, conclusion):
    found, asked = settled(judgement(first), map(judgement, others))
    assert found.finding.score == score
    assert found.finding.conclusion == conclusion
    assert found.seconds == 3
    assert asked == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert f"{first:.3g}" in found.finding.notes[-1]


def test_what_is_not_suspicious_costs_nothing():
    doubt = judgement(2.5, reasons=("it is random",))
    alone = dataclasses.replace(judgement(3.0), calibration=None)
    for first in (judgement(1.5), judgement(0, skipped="no time"), doubt, alone):
        assert settled(first, ()) == (first, [])
    first = judgement(3.0)  # of a detector without images there is no other draw
    assert settled(first, (), detector=get_detector("df_tnd")) == (first, [])


def test_a_single_draw_is_said():
    found, asked = settled(judgement(3.0), (), each=1)
    assert asked == []
    assert found.finding.conclusion == "trojaned"
    assert found.finding.notes[-1] == (
        "it rests on one draw of images, 1 a class: there are fewer than 2 of some "
        "class"
    )
    cut = judgement(0, skipped="the budget of 9 s was spent")
    found, _ = settled(judgement(3.0), (cut, cut))
    assert found.finding.notes[-1].endswith(": the budget of 9 s was spent")
