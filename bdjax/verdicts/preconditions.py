"""What must hold before a score means anything; a sentence for each thing that doesn't.

Nothing here decides between trojaned and benign: these are the questions whose answers
tell whether the network was asked as its makers meant it.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from bdjax.checks import keeps_to

Ask = Callable[[np.ndarray], np.ndarray]
"""A network: inputs ``[N, ...]`` to finite answers ``[N, C]``, both NumPy."""

Kind = Literal[
    "logits", "probabilities", "percentages", "log-probabilities", "values in [0, 1]"
]

_STEADY = 0.02  # of the answers' spread: beyond it, no rounding of products
_FILLED = 0.6  # of the value range: below it, images are of another range


def repeated(count: int) -> np.ndarray:
    """Which of so many inputs are asked again: the first half, twice; int ``[count]``.

    In a batch as large, with other neighbours.
    """
    return np.arange(count) % -(-count // 2)


def steady(ask: Ask, x_NxD: np.ndarray, answers_NxC: np.ndarray) -> list[str]:
    """Whether an input's answer depends on nothing but the input.

    Asks once more, those that are :func:`repeated`. Dropout, batch statistics and
    random answers all show.

    Args:
      ask: the network.
      x_NxD: inputs, an array, or a list of N.
      answers_NxC: its answers to these.
    """
    count = len(x_NxD)
    if count < 2:
        return []
    half = repeated(count)
    chosen = x_NxD[half] if isinstance(x_NxD, np.ndarray) else [x_NxD[i] for i in half]
    again_NxC = np.asarray(ask(chosen), np.float64)
    answers_NxC = np.asarray(answers_NxC, np.float64)
    bound = _STEADY * max(float(answers_NxC.std()), 1e-12)
    if np.abs(again_NxC - answers_NxC[half]).max() <= bound:
        return []
    _, first, place = np.unique(half, return_index=True, return_inverse=True)
    alike = np.abs(again_NxC - again_NxC[first[place]]).max() <= bound
    return [
        "the same inputs in another batch gave other answers: statistics of the batch "
        "are in use (training mode), or the network is random; put it into inference "
        "mode"
        if alike
        else "the same input twice in one batch gave two answers: dropout is on "
        "(training mode), or the network is random; put it into inference mode"
    ]


def fills(images: np.ndarray, value_range: tuple[float, float]) -> list[str]:
    """Whether images use the range of values that was given for them."""
    low, high = value_range
    least, greatest = float(images.min()), float(images.max())
    share = (greatest - least) / (high - low)
    if share >= _FILLED:
        return []
    return [
        f"the images lie in [{least:g}, {greatest:g}] and fill {share:.1%} of "
        f"value_range ({low:g}, {high:g}): perturbations up to the range's ends would "
        "be out of all proportion; give the range that these images come from"
    ]


def accurate(accuracy: float, least: float, images: int) -> list[str]:
    """Whether the network does on clean images what it was trained for."""
    if accuracy >= least:
        return []
    return [
        f"the network classifies {accuracy:.0%} of the {images} given images right, "
        f"below {least:.0%} (min_accuracy): check labels, their order, preprocessing "
        "and value_range"
    ]


def kind_of(answers_NxC: np.ndarray) -> Kind:
    """What answers of two or more values are, by what a softmax or sigmoid leaves."""
    answers = np.asarray(answers_NxC, np.float64)
    if keeps_to(answers.min(), answers.max(), (0, 1)):
        if np.allclose(answers.sum(1), 1, atol=0.02):
            return "probabilities"
        return "values in [0, 1]"
    if (answers >= 0).all() and np.allclose(answers.sum(1), 100, atol=2):
        return "percentages"
    if np.allclose(np.exp(np.minimum(answers, 1)).sum(1), 1, atol=1e-3):
        return "log-probabilities"
    return "logits"


def alive(features_NxD: np.ndarray) -> list[str]:
    """Whether activations move with the input."""
    spread = np.ptp(np.asarray(features_NxD, np.float64), axis=0)
    live = int((spread > 1e-6 * max(float(np.abs(features_NxD).max()), 1e-12)).sum())
    if live >= max(2, 0.02 * features_NxD.shape[1]):
        return []
    return [
        f"{live} of {features_NxD.shape[1]} features move with the input: the layer is "
        "dead, or is not one of activations"
    ]


def penultimate(features_NxD: np.ndarray, logits_NxC: np.ndarray) -> list[str]:
    """Whether the logits are an affine function of the features, as they should be.

    The map is fitted to the first inputs and tried on the last ``C`` or 8; with fewer
    inputs than that takes, nothing is said.
    """
    features = np.asarray(features_NxD, np.float64)
    features = features[:, np.ptp(features, axis=0) > 0]
    logits = np.asarray(logits_NxC, np.float64)
    # Log-probabilities are so up to an offset common to an input's classes.
    logits = logits - logits.mean(1, keepdims=True)
    fitted = len(features) - max(8, logits.shape[1])
    if fitted <= features.shape[1]:
        return []
    columns = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    columns /= np.abs(columns).max(0)
    solution = np.linalg.lstsq(columns[:fitted], logits[:fitted], rcond=1e-7)[0]
    error = columns[fitted:] @ solution - logits[fitted:]
    unexplained = float((error**2).mean() / max(logits[fitted:].var(), 1e-12))
    if unexplained <= 0.05:
        return []
    return [
        "the logits are no affine function of the features "
        f"({unexplained:.0%} of their variance is left over): features must be the "
        "penultimate layer, what the last dense layer reads"
    ]
