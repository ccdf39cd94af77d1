"""Which networks a meta-classifier knows: those that answer as its shadows did.

A classifier gives any answers a score, also those of networks that are like no shadow
it learnt from: untrained, much longer trained, of inputs in another range. Such a score
is no evidence. What is compared are the answers of the *validation* shadows, benign and
trojaned, which neither queries nor classifier were fitted to.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

_WIDER = 1.1  # than what was seen, and still inside
_FLOOR = 0.02  # nats, of an entropy
# Share of shadow models with another one so near. Beyond are outliers, such as Trojans
# that answer everything alike, and what lies between these is covered by none.
_USUAL = 0.9


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Answers of networks whose scores mean something.

    Attributes:
      answers: float64 ``[V, Q, C]``, log-probabilities of the answers of V networks,
        two or more; of a single logit, of both classes.
      added: how many of these, the last, are no shadow models but networks of a user's
        own, which lie as far apart as they do: the shadow models' distances are not
        their measure.
    """

    answers: np.ndarray
    added: int = 0

    def extended(self, logits_MxQxL: ArrayLike) -> "Coverage":
        """With networks of one's own, by their logits ``[M, Q, C]``.

        In place of those that were added before.
        """
        more = log_probabilities(logits_MxQxL)
        shadows = self.answers[: len(self.answers) - self.added]
        return Coverage(np.concatenate([shadows, more]), len(more))

    def doubts(self, logits_QxL: ArrayLike) -> list[str]:
        """In what a network's logits ``[Q, C]`` are unlike all that are covered."""
        answers_QxC = log_probabilities(np.asarray(logits_QxL)[None])[0]
        checks = (self._scale, self._entropy, self._distance)
        return [sentence for check in checks if (sentence := check(answers_QxC))]

    def _scale(self, answers_QxC: np.ndarray) -> str:
        low, high = _range(_scales(self.answers))
        scale = float(_scales(answers_QxC))
        if low / _WIDER <= scale <= high * _WIDER:
            return ""
        return (
            f"the logits spread by {scale:.3g} over the classes, those of the shadow "
            f"models by {low:.3g} to {high:.3g}: this network was trained otherwise "
            "(longer, on more data, at another scale of inputs or logits)"
        )

    def _entropy(self, answers_QxC: np.ndarray) -> str:
        low, high = _range(_entropies(self.answers))
        entropy = float(_entropies(answers_QxC))
        if low / _WIDER - _FLOOR <= entropy <= high * _WIDER + _FLOOR:
            return ""
        how = "surer" if entropy < low else "less sure"
        return (
            f"the network is {how} of its answers (mean entropy {entropy:.3g}) than "
            f"any shadow model ({low:.3g} to {high:.3g})"
        )

    def _distance(self, answers_QxC: np.ndarray) -> str:
        apart = np.sqrt(((self.answers - answers_QxC) ** 2).mean((1, 2)))
        first = len(self.answers) - self.added
        usual = _usual(self.answers[:first])
        if (nearest := float(apart[:first].min())) <= usual:
            return ""
        # One network alone has no distances of its own.
        own = _usual(self.answers[first:]) if self.added > 1 else usual
        if (apart[first:] <= own).any():
            return ""
        return (
            f"the answers lie {nearest:.3g} from those of the nearest shadow model, "
            f"and {_USUAL:.0%} of the shadow models have one within {usual:.3g}: the "
            "detector knows no network like this; calibrate it on benign ones of your "
            "own, or use bdjax.tnd"
        )


def covering(logits_MxQxL: ArrayLike) -> Coverage:
    """The coverage of networks by their logits ``[M, Q, C]``."""
    return Coverage(log_probabilities(logits_MxQxL))


def log_probabilities(logits_MxQxL: ArrayLike) -> np.ndarray:
    """Of every query's classes, float64 ``[M, Q, C]``."""
    # In NumPy, whose float64 squares what float32 cannot.
    logits = np.asarray(logits_MxQxL, np.float64)
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    return special.log_softmax(logits, axis=-1)


def _scales(answers: np.ndarray) -> np.ndarray:
    """Root mean square of logits about each query's mean."""
    return np.sqrt(answers.var(-1).mean(-1))


def _entropies(answers: np.ndarray) -> np.ndarray:
    return -(np.exp(answers) * answers).sum(-1).mean(-1)


def _usual(answers_VxQxC: np.ndarray) -> float:
    """Within what root mean square difference most networks have another one."""
    flat = answers_VxQxC.reshape(len(answers_VxQxC), -1)
    apart = np.stack([np.sqrt(((flat - row) ** 2).mean(1)) for row in flat])
    apart += np.diag(np.full(len(apart), np.inf))  # not itself
    return float(np.quantile(apart.min(1), _USUAL))


def _range(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())
