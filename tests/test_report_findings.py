"""What reports say first: each sentence where it is true, and only there."""

import pytest

from bdjax.evaluation import AucSummary
from bdjax.report.words import sentence


def summary(mean, low=None, high=None):
    low = mean - 0.1 if low is None else low
    high = min(mean + 0.1, 1.0) if high is None else high
    return AucSummary(
        mean=mean, std=0.0, low=low, high=high, repeats=1, positives=9, negatives=9
    )


@pytest.mark.parametrize(
    ("aucs", "said"),
    [
        ({"M": summary(0.97, 0.9, 1.0)}, "0.97 [0.90 to 1.00] on M (in"),
        (
            {"M": summary(0.97, 0.9, 1), "B": None, "patch": summary(0.6, 0.4, 0.8)},
            "0.97 [0.90 to 1.00] on M and 0.60 [0.40 to 0.80, chance included] on "
            "patch (in",
        ),
        ({"M": summary(0.3, 0.1, 0.49)}, "0.30 [0.10 to 0.49, worse than chance] on M"),
        ({"M": summary(0.7, 0.5, 0.9)}, "[0.50 to 0.90, chance included] on M"),
    ],
)
def test_the_auc_and_its_interval_in_words(aucs, said):
    (text,) = sentence("separation", "it", aucs, 0.9)
    assert text.startswith("it tells trojaned from benign targets with an AUC of ")
    assert said in text
    assert text.endswith("(in brackets the 90% interval)")


def test_nothing_took_hold():
    (text,) = sentence("separation", "it", {"M": None}, 0.95)
    assert text == "No attack on the targets took hold, so it had nothing to find"


@pytest.mark.parametrize(
    ("auc", "alone", "said"),
    [
        (0.95, 0.99, True),
        (0.95, 0.94, True),
        (1.0, 1.0, True),
        (0.95, 0.92, False),
        (0.45, 0.55, False),  # neither separates
        (0.45, 0.65, True),
    ],
)
def test_accuracy_alone_is_named_where_it_does_as_well(auc, alone, said):
    lines = sentence("accuracy_alone", "it", {"M": summary(auc)}, {"M": alone})
    assert bool(lines) is said
    if said:
        assert lines == [
            "Accuracy alone separates the targets as well as it or better (AUC "
            f"{alone:.2f} against {auc:.2f} on M), so there the AUC is no evidence "
            "that triggers were seen"
        ]


def test_accuracy_alone_names_the_attacks_that_it_holds_for():
    aucs = {"M": summary(0.9), "B": summary(0.9), "patch": None, "blend": summary(0.7)}
    lines = sentence("accuracy_alone", "it", aucs, {"M": 0.95, "B": 0.6, "blend": 0.7})
    assert len(lines) == 1
    assert "0.95 against 0.90 on M and 0.70 against 0.70 on blend)" in lines[0]


def called(models, trojaned, inconclusive):
    return dict(models=models, trojaned=trojaned, inconclusive=inconclusive)


def test_what_verdicts_come_to():
    lines = sentence(
        "called", "it", called(6, 2, 1), called(4, 1, 2), {"odd": 2, "x": 1}
    )
    assert lines == [
        "By the verdicts of it, of 6 benign targets 2 are called trojaned, 1 "
        "inconclusive, 3 not flagged; of 4 trojaned targets 1 is called trojaned, 2 "
        "inconclusive, 1 not flagged",
        "The inconclusive verdicts' main reason, in 2 of 3, such as: odd",
    ]
    (line,) = sentence("called", "it", called(2, 0, 0), called(0, 0, 0), {})
    assert line.endswith("of 2 benign targets 0 are called trojaned, 0 inconclusive, "
                         "2 not flagged")  # fmt: skip
    assert sentence("called", "it", called(6, 0, 6), called(4, 0, 4), {"odd": 10}) == [
        "Every verdict of it is inconclusive: odd"
    ]
    assert sentence("called", "it", called(0, 0, 0), called(0, 0, 0), {}) == []


def test_false_alarms_from_a_tenth_on():
    assert sentence("alarms", "it", 1, 10, "t", 0) == []
    assert sentence("alarms", "it", 0, 0, "t", 0) == []
    assert sentence("alarms", "it", 2, 10, "calibrated", 0.5) == [
        "At the threshold 'calibrated' (0.5), it flags 2 of 10 benign targets (20%): "
        "too many false alarms to go by it"
    ]


def test_the_target_label():
    assert sentence("labels", "it", 0, 0, 10) == []
    assert sentence("labels", "it", 5, 6, 10) == [
        "The label that it suspects most is the true target of 5 of 6 Trojans (by "
        "chance of 1 in 10)"
    ]
    (line,) = sentence("labels", "it", 1, 2, 10, 2)
    assert line.endswith(
        "; 2 more are left out, as several labels are suspected equally"
    )
    (line,) = sentence("labels", "it", 0, 0, 10, 4)
    assert line.endswith("in all of 4 Trojans, so none is named")


def test_failed_attacks():
    counts = {"M": (0, 4), "B": (1, 4), "patch": (3, 3)}
    assert sentence("failed", "targets", counts, 0.5, "so it is") == [
        "Attacks that failed (ASR below 0.5): 1 of 4 on targets with B and 3 of 3 on "
        "targets with patch; so it is"
    ]
    assert sentence("failed", "targets", {"M": (0, 4)}, 0.5, "so it is") == []


def test_networks_at_chance():
    poor = {"benign targets": (0, 2), "targets with M": (2, 3)}
    (line,) = sentence("at_chance", poor, 0.6, 0.698)
    assert line.startswith(
        "On clean examples 2 of 3 targets with M are no better than chance (accuracy "
        "of at most 0.70; the most frequent class has 0.60)"
    )
    assert sentence("at_chance", {"benign targets": (0, 2)}, 0.6, 0.698) == []


def test_few_targets():
    assert sentence("few", 10, 12) == []
    assert sentence("few", 0, 3) == []
    assert sentence("few", 4, 20) == [
        "Only 4 benign and 20 trojaned targets were compared: intervals are wide, and "
        "one false alarm is a rate of 25%"
    ]
    assert sentence("few", 20, 4)


@pytest.mark.parametrize(
    ("aucs", "said"),
    [
        (
            {8: 0.7, 16: 0.9, 32: 0.91},
            "it rises as Fig. 6 has it, by the last .02 above 8",
        ),
        ({8: 0.98, 32: 0.99}, "at its ceiling from the start, so Fig. 6's rise cannot"),
        ({8: 0.8, 32: 0.81}, "Fig. 6's rise does not show beyond the repeats' spread"),
    ],
)
def test_whether_the_auc_rises(aucs, said):
    points = {number: summary(mean) for number, mean in aucs.items()}
    (line,) = sentence("rise", points)
    means = [*aucs.values()]
    assert line.startswith(
        f"AUC {means[0]:.3f} on 8 shadows, {means[-1]:.3f} on 32: {said}"
    )


@pytest.mark.parametrize(
    ("gain", "low", "said"),
    [
        (0.3, 0.1, "the paper's finding (up to 30 %) shows"),
        (0.1, 0.05, "tuning helps, but by less than the paper's 'up to 30 %'"),
        (0.1, -0.1, "the paper's finding (up to 30 %) does not show"),
    ],
)
def test_what_is_lost_without_tuning(gain, low, said):
    points = {8: summary(0.9), 16: summary(0.9)}
    gains = {n: {"mean": g, "low": low, "high": 0.5} for n, g in ((8, 0), (16, gain))}
    assert sentence("loss", points, gains) == [
        f"without tuning at most {gain:.3f} AUC is lost, {gain / 0.9:.0%} of the tuned "
        f"one (on 16 shadows, interval {low:+.2f} to +0.50): {said}"
    ]
