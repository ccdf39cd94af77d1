"""Verdicts: three conclusions, in words of one screen and in JSON that all can read."""

import dataclasses
import json
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from bdjax import mntd, tnd
from bdjax.mntd import detector as mntd_detector
from bdjax.types import UserError
from bdjax.verdicts import (
    Calibration,
    Conclusion,
    InconclusiveError,
    Verdict,
    by_threshold,
    calibrate_scores,
    conclude,
    number,
)

settings = hypothesis.settings(derandomize=True, database=None, deadline=None)
NONE = np.zeros(0)


def judged(
    score, *, grey=1.0, threshold=2.0, reasons=(), notes=(), label_scores=NONE,
    labels=None,
):  # fmt: skip
    labels = np.arange(len(label_scores)) if labels is None else labels
    calibration = Calibration(np.arange(5.0), threshold, grey, "networks of a test")
    return Verdict(
        **conclude(score, label_scores, labels, calibration, list(reasons), list(notes))
    )


class TestConclusion:
    def test_yes_and_no(self):
        yes, no = judged(3.0), judged(0.5)
        assert bool(yes) is True
        assert bool(no) is False
        assert (yes.is_trojaned, no.is_trojaned) == (True, False)
        assert yes.conclusion is Conclusion.TROJANED
        assert no.conclusion is Conclusion.NOT_FLAGGED
        assert bool(Conclusion.TROJANED) is True
        assert bool(Conclusion.NOT_FLAGGED) is False
        assert yes.reasons == no.reasons == ()

    def test_neither_is_no_truth_value(self):
        verdict = judged(3.0, reasons=["it rained"])
        assert verdict.is_trojaned is None
        with pytest.raises(InconclusiveError, match=r"it rained.*neither yes"):
            bool(verdict)
        with pytest.raises(InconclusiveError, match="inconclusive"):
            bool(Conclusion.INCONCLUSIVE)
        with pytest.raises(UserError):  # one line in a launcher
            assert not verdict

    @pytest.mark.parametrize(
        ("score", "expected"),
        [
            (0.5, False),
            (1.0, False),  # up to the zone nothing is flagged
            (math.nextafter(1, 2), None),
            (1.5, None),
            (2.0, None),
            (math.nextafter(2, 3), True),
            (math.inf, True),
            (-math.inf, False),
            (math.nan, None),
        ],
    )
    def test_the_grey_zone_is_inconclusive(self, score, expected):
        verdict = judged(score)
        assert verdict.is_trojaned is expected
        assert bool(verdict.reasons) is (expected is None)
        if expected is None and score == score:
            assert verdict.reasons == (
                "the score lies in the grey zone from 1, up to which nothing is "
                "flagged, to the threshold 2",
            )

    def test_without_a_zone_the_threshold_parts_yes_from_no(self):
        assert judged(2.0, grey=2.0).is_trojaned is False
        assert judged(math.nextafter(2, 3), grey=2.0).is_trojaned is True

    def test_doubts_are_the_networks_and_not_the_calibrations(self):
        calibration = Calibration(NONE, 2.0, 1.0, "a test")
        given = NONE, NONE, calibration, ["it rained"], ["by the way"], ["no reference"]
        verdict = Verdict(**conclude(1.5, *given))
        assert verdict.doubts == ("it rained",)
        assert verdict.reasons[:2] == ("it rained", "no reference")
        assert "grey zone" in verdict.reasons[2]
        assert verdict.notes == (*verdict.reasons, "by the way")
        unknown = Verdict(**conclude(3.0, NONE, NONE, calibration, [], [], ["so new"]))
        assert (unknown.doubts, unknown.reasons) == ((), ("so new",))
        assert unknown.conclusion is Conclusion.INCONCLUSIVE

    def test_verdicts_are_equal_to_themselves_alone(self):
        one, other = dl_verdict(), dl_verdict()
        assert one == one
        assert one != other  # and their arrays are not compared
        assert len({one, other, one}) == 2

    @settings
    @hypothesis.given(
        st.floats(-4, 4),
        st.floats(-3, 3),
        st.floats(0, 3),
        st.lists(st.text("ab", min_size=1), max_size=2),
        st.lists(st.text("cd", min_size=1), max_size=2),
    )
    def test_a_reason_forbids_a_verdict_and_nothing_else_does(
        self, score, grey, zone, reasons, notes
    ):
        verdict = judged(
            score, grey=grey, threshold=grey + zone, reasons=reasons, notes=notes
        )
        inside = grey < score <= grey + zone
        assert (verdict.is_trojaned is None) is bool(reasons or inside)
        assert (verdict.is_trojaned is None) is bool(verdict.reasons)
        assert verdict.reasons[: len(reasons)] == tuple(reasons)
        # Who reads the notes alone reads the reasons first.
        assert verdict.notes == (*verdict.reasons, *notes)
        if not verdict.reasons:
            assert verdict.is_trojaned is (score > grey + zone)


class TestTargetLabels:
    SCORES = np.array([0.5, 3.0, 1.5, 9.0, 2.0])

    def test_by_score_the_best_first(self):
        assert judged(9.0, label_scores=self.SCORES).target_labels == (3, 1)
        labels = np.array([7, 4, 0, 2, 5])
        found = judged(9.0, label_scores=self.SCORES, labels=labels).target_labels
        assert found == (2, 4)
        assert all(type(label) is int for label in found)

    def test_of_equal_ones_the_first_first(self):
        scores = np.array([3.0, 5.0, 3.0, 5.0])
        assert judged(5.0, label_scores=scores).target_labels == (1, 3, 0, 2)

    def test_without_a_verdict_those_above_the_zones_beginning(self):
        verdict = judged(9.0, label_scores=self.SCORES, reasons=["it rained"])
        assert verdict.target_labels == (3, 1, 4, 2)
        assert judged(1.5, label_scores=self.SCORES[:3] / 2).target_labels == (1,)

    def test_none_of_what_is_not_flagged(self):
        assert judged(0.5, label_scores=self.SCORES / 18).target_labels == ()


def dl_verdict(classes=100, reasons=("r" * 30 + " why" * 30,), **changes):
    rng = np.random.default_rng(0)
    config = tnd.DLTNDConfig(**changes.pop("config", {}))
    scores = rng.normal(size=classes).astype(np.float32) + 3
    area = np.where(np.arange(classes) == 1, np.inf, 4.0).astype(np.float32)
    labels = np.arange(classes, dtype=np.int32)
    calibration = changes.pop("calibration", None)
    calibration = calibration or Calibration(
        rng.normal(size=40), 2.0, 1.0, "forty networks"
    )
    notes = ["no image of classes " + str(list(range(classes))[50:])]
    fields = dict(
        **conclude(
            float(scores.max()), scores, labels, calibration, list(reasons), notes
        ),
        labels=labels,
        label_scores=scores,
        similarity=np.full((classes, 9), np.nan, np.float32),
        mask_area=area,
        mask=rng.uniform(size=(classes, 32, 32, 3)).astype(np.float32),
        pattern=rng.uniform(size=(classes, 32, 32, 3)).astype(np.float32),
        success=np.ones(classes, np.float32),
        image_area=np.full((classes, 9), np.nan, np.float32),
        sizes={"sparse": area},
        accuracy=0.97,
        config=config,
    )
    return tnd.Verdict(**fields | changes)


def df_verdict(classes=100, calibration=None):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(10, 32, 32, 3)).astype(np.float32)
    increase = rng.normal(size=(classes, 10)).astype(np.float32)
    scores = increase.mean(1)
    calibration = calibration or by_threshold(-1.0, "a threshold of your own")
    return tnd.DFVerdict(
        **conclude(
            float(scores.max()), scores, np.arange(classes), calibration, [], []
        ),
        label_scores=scores,
        logit_increase=increase,
        weights=np.ones(500, np.float32) / 500,
        masks=x,
        patterns=x,
        recovered=x,
        seeds=x,
        config=tnd.DFTNDConfig(),
    )


def mntd_verdict(classes=100, score=math.nan):
    calibration = calibrate_scores(np.arange(19.0), source="networks " + "x" * 70)
    answers = np.random.default_rng(0).normal(size=(10, classes)).astype(np.float32)
    fields = conclude(score, NONE, NONE, calibration, [], [])
    return mntd_detector.Verdict(**fields, answers=answers)


VERDICTS = [
    dl_verdict(),
    dl_verdict(reasons=()),
    dl_verdict(calibration=by_threshold(math.inf, "no benign references")),
    df_verdict(),
    df_verdict(calibration=by_threshold(-math.inf, "no benign references")),
    mntd_verdict(),
    mntd_verdict(score=math.inf),
    mntd_verdict(score=7.0),
    judged(math.nan),
]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_in_words_it_fits_a_screen(verdict):
    text = str(verdict)
    assert repr(verdict) == text
    lines = text.splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 88
    assert "array" not in text
    assert text == text.rstrip()
    assert lines[0].startswith(f"{verdict.detector}: ")
    assert verdict.conclusion.value.upper() in lines[0]
    for reason in verdict.reasons:
        assert reason in " ".join(" ".join(lines).split())


def test_words():
    assert str(judged(3.0, label_scores=np.array([0, 3.0]))).splitlines() == [
        "detector: TROJANED, toward label 1",
        "score 3 (threshold 2, inconclusive from 1 on), p = 0.5 among 5 benign "
        "networks; networks",
        "of a test",
    ]
    clear = str(judged(0.5, grey=2.0, notes=["By the way."]))
    assert clear.replace("\n", "|") == (
        "detector: NOT FLAGGED|score 0.5 (threshold 2), p = 0.83 among 5 benign "
        "networks; networks of a test|- By the way."
    )
    many = judged(3.0, label_scores=np.full(100, 3.0))
    assert "toward label 0, 1, 2 and 97 more" in str(many)
    doubtful = judged(3.0, label_scores=np.array([0, 3.0]), reasons=["it rained"])
    assert str(doubtful).startswith("detector: INCONCLUSIVE, most suspicious label 1\n")


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_json_is_json(verdict):
    found = strict(verdict.to_json())
    assert found["detector"] == verdict.detector
    assert found["conclusion"] in ("trojaned", "not flagged", "inconclusive")
    assert found["score"] == number(verdict.score)
    assert found["reasons"] == list(verdict.reasons)
    assert found["target_labels"] == list(verdict.target_labels)
    assert found["references"] == verdict.references
    # All but images: what there is a label, and how it was computed.
    assert len(verdict.to_json()) < 100_000
    if hasattr(verdict, "config"):
        assert found["config"].keys() == dataclasses.asdict(verdict.config).keys()
        assert len(found["label_scores"]) == 100


def test_numbers_for_json():
    assert [number(v) for v in (1, np.float32(0.5), math.nan, -math.inf)] == [
        1.0, 0.5, None, None,
    ]  # fmt: skip
    assert "null" in dl_verdict().to_json()  # an infinite area


def test_the_black_box_has_a_percentile():
    assert mntd_verdict(score=7.0).percentile == pytest.approx(100 * 8 / 19)
    assert mntd_verdict(score=7.0).p_value == pytest.approx(13 / 20)
    assert mntd.MetaDetector is mntd_detector.MetaDetector
