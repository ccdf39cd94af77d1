"""What reports say first: each sentence where it is true, and only there."""

import io

import numpy as np
import pytest
from bdjax.experiments.findings import Called
from rich.console import Console

from bdjax.evaluation import AucSummary
from bdjax.experiments import findings, reporting
from bdjax.verdicts import Conclusion


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
    text = findings.separation("it", aucs, 0.9)
    assert text.startswith("it tells trojaned from benign targets with an AUC of ")
    assert said in text
    assert text.endswith("(in brackets the 90% interval)")


def test_nothing_took_hold():
    text = findings.separation("it", {"M": None}, 0.95)
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
    lines = findings.accuracy_alone("it", {"M": summary(auc)}, {"M": alone})
    assert bool(lines) is said
    if said:
        assert lines == [
            "Accuracy alone separates the targets as well as it or better (AUC "
            f"{alone:.2f} against {auc:.2f} on M), so there the AUC is no evidence "
            "that triggers were seen"
        ]


def test_accuracy_alone_names_the_attacks_that_it_holds_for():
    aucs = {"M": summary(0.9), "B": summary(0.9), "patch": None, "blend": summary(0.7)}
    lines = findings.accuracy_alone("it", aucs, {"M": 0.95, "B": 0.6, "blend": 0.7})
    assert len(lines) == 1
    assert "0.95 against 0.90 on M and 0.70 against 0.70 on blend)" in lines[0]


def test_what_verdicts_come_to():
    lines = findings.called("it", Called(6, 2, 1), Called(4, 1, 2), {"odd": 2, "x": 1})
    assert lines == [
        "By the verdicts of it, of 6 benign targets 2 are called trojaned, 1 "
        "inconclusive, 3 not flagged; of 4 trojaned targets 1 is called trojaned, 2 "
        "inconclusive, 1 not flagged",
        "The inconclusive verdicts' main reason, in 2 of 3, such as: odd",
    ]
    (line,) = findings.called("it", Called(2, 0, 0), Called(0, 0, 0), {})
    assert line.endswith("of 2 benign targets 0 are called trojaned, 0 inconclusive, "
                         "2 not flagged")  # fmt: skip
    assert findings.called("it", Called(6, 0, 6), Called(4, 0, 4), {"odd": 10}) == [
        "Every verdict of it is inconclusive: odd"
    ]
    assert findings.called("it", Called(0, 0, 0), Called(0, 0, 0), {}) == []


def test_false_alarms_from_a_tenth_on():
    assert findings.alarms("it", 1, 10, "t") == []
    assert findings.alarms("it", 0, 0, "t") == []
    assert findings.alarms("it", 2, 10, "'calibrated' (0.5)") == [
        "At the threshold 'calibrated' (0.5), it flags 2 of 10 benign targets (20%): "
        "too many false alarms to go by it"
    ]


def test_the_target_label():
    assert findings.labels("it", 0, 0, 10) == []
    assert findings.labels("it", 5, 6, 10) == [
        "The label that it suspects most is the true target of 5 of 6 Trojans (by "
        "chance of 1 in 10)"
    ]


def test_failed_attacks():
    counts = {"M": (0, 4), "B": (1, 4), "patch": (3, 3)}
    assert findings.failed("targets", counts, 0.5, "so it is") == [
        "Attacks that failed (ASR below 0.5): 1 of 4 on targets with B and 3 of 3 on "
        "targets with patch; so it is"
    ]
    assert findings.failed("targets", {"M": (0, 4)}, 0.5, "so it is") == []


def test_networks_at_chance():
    labels = np.repeat([0, 1], [60, 40])  # chance .6, two standard errors .098
    accuracies = {"benign targets": [0.99, 0.8], "targets with M": [0.69, 0.3, 0.71]}
    (line,) = findings.at_chance(accuracies, labels)
    assert line.startswith(
        "On clean examples 2 of 3 targets with M are no better than chance (accuracy "
        "of at most 0.70; the most frequent class has 0.60)"
    )
    assert findings.at_chance({"benign targets": [0.99, 0.8]}, labels) == []


def test_few_targets():
    assert findings.few(10, 12) == []
    assert findings.few(0, 3) == []
    assert findings.few(4, 20) == [
        "Only 4 benign and 20 trojaned targets were compared: intervals are wide, and "
        "one false alarm is a rate of 25%"
    ]
    assert findings.few(20, 4)


def test_they_stand_under_a_heading_and_on_the_console():
    lines = ["a is [b]", "c"]
    assert findings.markdown(lines) == [
        "## What was found, and whether to trust it", "", "- a is [b].", "- c.", "",
    ]  # fmt: skip
    said = io.StringIO()
    findings.show(lines, Console(file=said, width=80))
    assert said.getvalue() == (
        "What was found, and whether to trust it:\n- a is [b].\n- c.\n"
    )


class One:
    def __init__(self, conclusion, *reasons):
        self.conclusion, self.reasons = conclusion, reasons


def test_tallies():
    unsure = Conclusion.INCONCLUSIVE
    found = reporting.tally(
        [
            One(Conclusion.TROJANED), One(unsure, "a"), One(unsure, "b", "a"),
            One(Conclusion.NOT_FLAGGED),
        ]
    )  # fmt: skip
    assert found == {
        "models": 4, "trojaned": 1, "inconclusive": 2, "not flagged": 1,
        "reasons": {"a": 2, "b": 1},
    }  # fmt: skip
    assert reporting.tally_cell(found) == "25 / 50 / 25"
    numbers = [
        One(unsure, "rare"), One(unsure, "spread 0.02, not -1.5e-05"),
        One(unsure, "spread 3, not 1"),
    ]  # fmt: skip
    assert list(reporting.tally(numbers)["reasons"].items()) == [
        ("spread 0.02, not -1.5e-05", 2), ("rare", 1),
    ]  # fmt: skip
    none = reporting.tally([])
    assert reporting.tally_cell(none) == ""
    lines = reporting.verdicts_found("it", none, [found, found])
    assert "of 8 trojaned targets 2 are called trojaned, 4 inconclusive" in lines[0]
    assert lines[1].endswith("in 4 of 4, such as: a")
    assert reporting.limit_cell(np.inf) == "none"
    assert reporting.limit_cell(0.12345) == "0.123"
    assert reporting.plural("target-benign") == "benign targets"
    assert reporting.plural("shadow-all_to_all") == "shadows with all_to_all"
