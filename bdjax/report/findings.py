"""What was found, and whether to trust it: short sentences, each only where it is true.

Everything here is pure, from numbers to words; a sentence has no full stop.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bdjax.evaluation import AucSummary

HEADING = "What was found, and whether to trust it"
FEW = 10  # models of a kind; with fewer an interval says little
_ALIKE = 0.02  # difference of two AUCs that is none
_SEPARATES = 0.6  # AUC from which accuracy alone is worth a sentence
_MANY_ALARMS = 0.1  # share of benign models flagged, from which it is said


class Called(NamedTuple):
    """How many models of a kind got which verdict."""

    models: int
    trojaned: int
    inconclusive: int


def separation(
    detector: str, aucs: Mapping[str, AucSummary | None], confidence: float
) -> str:
    """The AUC of each attack with its interval; chance is named.

    Args:
      detector: its name.
      aucs: by attack; None without models.
      confidence: of the intervals, in (0, 1).
    """
    parts = [f"{interval(s)} on {name}" for name, s in aucs.items() if s]
    if not parts:
        return f"No attack on the targets took hold, so {detector} had nothing to find"
    return (
        f"{detector} tells trojaned from benign targets with an AUC of {_list(parts)} "
        f"(in brackets the {confidence:.0%} interval)"
    )


def interval(summary: AucSummary) -> str:
    """An AUC and its interval; chance is named."""
    text = f"{summary.mean:.2f} [{summary.low:.2f} to {summary.high:.2f}"
    if summary.high < 0.5:
        return f"{text}, worse than chance]"
    if summary.low <= 0.5:
        return f"{text}, chance included]"
    return f"{text}]"


def accuracy_alone(
    detector: str, aucs: Mapping[str, AucSummary | None], alone: Mapping[str, float]
) -> list[str]:
    """Said of attacks by which accuracy alone separates as well as the detector.

    Args:
      detector: its name.
      aucs: its own, by attack; None without models.
      alone: by attack, AUC of the error rate as a score.
    """
    parts = [
        f"{alone[name]:.2f} against {summary.mean:.2f} on {name}"
        for name, summary in aucs.items()
        if summary
        and alone.get(name, 0) >= max(summary.mean - _ALIKE, _SEPARATES)
    ]  # fmt: skip
    if not parts:
        return []
    return [
        f"Accuracy alone separates the targets as well as {detector} or better (AUC "
        f"{_list(parts)}), so there the AUC is no evidence that triggers were seen"
    ]


def called(
    detector: str, benign: Called, trojaned: Called, reasons: Mapping[str, int]
) -> list[str]:
    """What verdicts come to.

    Args:
      detector: its name.
      benign: verdicts on benign targets.
      trojaned: on trojaned ones.
      reasons: of those that are inconclusive, and how many have it.
    """
    models = benign.models + trojaned.models
    unsure = benign.inconclusive + trojaned.inconclusive
    if not models:
        return []
    main = max(reasons, key=lambda reason: reasons[reason], default="")
    if unsure == models:
        return [f"Every verdict of {detector} is inconclusive{_because(main)}"]
    lines = []
    for count, kind in ((benign, "benign"), (trojaned, "trojaned")):
        if count.models:
            left = count.models - count.trojaned - count.inconclusive
            lines.append(
                f"of {count.models} {kind} targets {count.trojaned} "
                f"{'is' if count.trojaned == 1 else 'are'} called trojaned, "
                f"{count.inconclusive} inconclusive, {left} not flagged"
            )
    text = f"By the verdicts of {detector}, {'; '.join(lines)}"
    found = [text]
    if unsure and main:
        share = f"{reasons[main]} of {unsure}"
        found.append(
            f"The inconclusive verdicts' main reason, in {share}, such as: {main}"
        )
    return found


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def alarms(detector: str, flagged: int, benign: int, threshold: str) -> list[str]:
    """Said where more than a tenth of the benign targets is flagged.

    Args:
      detector: its name.
      flagged: benign targets above the threshold.
      benign: benign targets.
      threshold: which one, in words.
    """
    if not benign or flagged / benign <= _MANY_ALARMS:
        return []
    return [
        f"At the threshold {threshold}, {detector} flags {flagged} of {benign} benign "
        f"targets ({flagged / benign:.0%}): too many false alarms to go by it"
    ]


def labels(detector: str, right: int, models: int, classes: int) -> list[str]:
    """How often the most suspicious label is the true target.

    Args:
      detector: its name.
      right: Trojans of which it is.
      models: Trojans with a target.
      classes: candidate labels.
    """
    if not models:
        return []
    return [
        f"The label that {detector} suspects most is the true target of {right} of "
        f"{models} Trojans (by chance of 1 in {classes})"
    ]


def failed(
    kind: str, counts: Mapping[str, tuple[int, int]], min_asr: float, fate: str
) -> list[str]:
    """Said where attacks failed.

    Args:
      kind: of the models, in the plural.
      counts: by attack, how many failed, and of how many.
      min_asr: an attack success rate below it is a failure.
      fate: what becomes of them.
    """
    parts = [
        f"{count} of {models} on {kind} with {name}"
        for name, (count, models) in counts.items()
        if count
    ]
    if not parts:
        return []
    return [f"Attacks that failed (ASR below {min_asr:g}): {_list(parts)}; {fate}"]


def at_chance(
    accuracies: Mapping[str, ArrayLike], chance: float, examples: int
) -> list[str]:  # fmt: skip
    """Said where models classify no better than by chance.

    Two standard errors above chance are still chance.

    Args:
      accuracies: by kind of models, in the plural, ``[M]``, on clean test examples.
      chance: of naming the most frequent class always.
      examples: how many there are.
    """
    bound = chance + 2 * float(np.sqrt(chance * (1 - chance) / examples))
    parts = []
    for name, values in accuracies.items():
        accuracy_M = np.asarray(values)
        if poor := int((accuracy_M <= bound).sum()):
            parts.append(f"{poor} of {len(accuracy_M)} {name}")
    if not parts:
        return []
    return [
        f"On clean examples {_list(parts)} are no better than chance (accuracy of at "
        f"most {bound:.2f}; the most frequent class has {chance:.2f}): what holds for "
        "them need not hold for networks that work"
    ]


def few(benign: int, trojaned: int) -> list[str]:
    """Said of fewer than ten targets of a kind."""
    if min(benign, trojaned) >= FEW or not benign:
        return []
    return [
        f"Only {benign} benign and {trojaned} trojaned targets were compared: "
        f"intervals are wide, and one false alarm is a rate of {1 / benign:.0%}"
    ]


def _list(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
