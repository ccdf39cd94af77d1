"""Rates at a threshold, calibration on benign models, overlap of masks."""

import dataclasses
import json
import math

import numpy as np
import pytest

from bdjax import evaluation
from bdjax.types import UserError


def wilson(count, total, z=1.959963985):
    """Wilson 1927, equation by equation."""
    p = count / total
    middle = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * math.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    half /= 1 + z**2 / total
    return middle - half, middle + half


def test_rates_count_scores_beyond_the_threshold():
    labels = [1, 1, 1, 1, 0, 0, 0, 0, 0]
    scores = [0.9, 0.8, 0.5, 0.1, 0.6, 0.5, 0.2, 0.1, 0.0]
    rates = evaluation.rates_at(0.5, labels, scores)
    assert (rates.tpr, rates.fpr) == (0.5, 0.2)  # .5 itself is not flagged
    assert (rates.positives, rates.negatives, rates.threshold) == (4, 5, 0.5)
    for interval, count, total in (
        (rates.tpr_interval, 2, 4),
        (rates.fpr_interval, 1, 5),
    ):
        assert (interval.low, interval.high) == pytest.approx(wilson(count, total))


def test_perfect_rates_keep_an_interval():
    rates = evaluation.rates_at(0.0, [0] * 10 + [1] * 10, [-1.0] * 10 + [1.0] * 10)
    assert (rates.tpr, rates.fpr) == (1, 0)
    assert rates.tpr_interval.low == pytest.approx(wilson(10, 10)[0])
    assert rates.tpr_interval.high == 1
    assert rates.fpr_interval.low == 0
    assert rates.fpr_interval.high == pytest.approx(wilson(0, 10)[1])
    wide = evaluation.rates_at(0.0, [0, 1], [-1.0, 1.0], confidence=0.99)
    narrow = evaluation.rates_at(0.0, [0, 1], [-1.0, 1.0], confidence=0.5)
    assert wide.tpr_interval.low < narrow.tpr_interval.low
    assert (
        json.loads(json.dumps(dataclasses.asdict(rates)))["tpr_interval"]["high"] == 1
    )


@pytest.mark.parametrize(
    ("count", "fpr", "flagged"),
    [
        (19, 0.05, 0),  # 20 places for a new model, of which one is beyond the greatest
        (20, 0.05, 0),
        (39, 0.05, 1),
        (99, 0.29, 28),
        (9, 0.5, 4),
        (5, 0.05, 0),  # too few for 5 %
        (5, 0.0, 0),
        (1, 0.999, 0),
        (9, 0.999, 8),
    ],
)
def test_threshold_flags_few_of_the_models_that_it_is_set_on(count, fpr, flagged):
    scores = np.random.default_rng(0).permutation(count) * 1.5
    threshold = evaluation.threshold_at_fpr(scores, fpr)
    assert threshold in scores
    assert (scores > threshold).sum() == flagged


def test_threshold_keeps_its_promise_for_models_to_come():
    rng = np.random.default_rng(1)
    alarms = []
    for _ in range(4000):
        known, new = rng.normal(size=30), rng.normal()
        alarms.append(new > evaluation.threshold_at_fpr(known, 0.1))
    # 3 of 31 places, not the 4 that flagging 10 % of the known ones would leave.
    assert abs(np.mean(alarms) - 3 / 31) < 0.012


def test_threshold_is_exact_in_single_precision():
    scores = np.float32([0.1, 0.7, 0.3])
    assert not (scores > evaluation.threshold_at_fpr(scores, 0.1)).any()


def test_masks_count_from_half_their_maximum():
    mask = [[0.2, 0.1, 0.0], [0.09, 0.11, 0.15]]
    expected = [[True, True, False], [False, True, True]]
    assert evaluation.binarize(mask).tolist() == expected
    channels = np.zeros((2, 3, 3))
    channels[..., 1] = mask
    channels[0, 2, 2] = 0.1
    expected[0][2] = True
    assert evaluation.binarize(channels).tolist() == expected
    assert not evaluation.binarize(np.zeros((2, 2))).any()


def test_iou_is_the_share_of_common_pixels():
    true = np.zeros((5, 5, 1))
    true[1:3, 1:3] = 1
    found = np.zeros((5, 5, 3))
    found[2, 1:4, 0] = 0.3  # two within, one beside
    found[0, 0, 2] = 0.1  # too faint
    assert evaluation.iou(true, found) == 2 / 5
    assert evaluation.iou(found, true) == 2 / 5
    assert evaluation.iou(true, true[..., 0]) == 1
    assert evaluation.iou(true, np.zeros((5, 5))) == 0
    assert math.isnan(evaluation.iou(np.zeros((5, 5)), np.zeros((5, 5))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.rates_at(np.nan, [0, 1], [0, 1]), "threshold"),
        (lambda: evaluation.rates_at(0, [1, 1], [0, 1]), "2 trojaned and 0 benign"),
        (lambda: evaluation.rates_at(0, [0, 1], [0]), r"\(1,\), expected \(2,\)"),
        (
            lambda: evaluation.rates_at(0, [0, 1], [0, 1], confidence=95),
            "confidence is 95",
        ),
        (lambda: evaluation.threshold_at_fpr([], 0.1), r"shape \(0,\)"),
        (lambda: evaluation.threshold_at_fpr([[1.0]], 0.1), r"shape \(1, 1\)"),
        (lambda: evaluation.threshold_at_fpr([np.inf], 0.1), "not finite"),
        (lambda: evaluation.threshold_at_fpr([1.0], 5), r"fpr is 5; .* \[0, 1\)"),
        (lambda: evaluation.binarize(np.zeros(3)), r"shape \(3,\)"),
        (lambda: evaluation.binarize([[-0.5]]), "holds -0.5"),
        (
            lambda: evaluation.iou(np.zeros((2, 2)), np.zeros((3, 2))),
            r"\(2, 2\) and \(3, 2\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
