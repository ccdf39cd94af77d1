"""What a network's answers are, and logits of them."""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from bdjax.checks import keeps_to
from bdjax.types import UserError
from bdjax.verdicts import preconditions

_SATURATED = 600.0  # spread of logits; see tnd.network
_TINY = 1e-30  # of a probability


class Answering(NamedTuple):
    """How a network answers.

    Attributes:
      kind: ``"labels"``, ``"sigmoid"`` (one probability), or of
        :data:`bdjax.verdicts.preconditions.Kind`.
      columns: of an answer; 0 of labels.
    """

    kind: str
    columns: int

    @property
    def is_labels(self) -> bool:
        """Whether it is not said how sure the network is."""
        return self.kind == "labels"

    @property
    def is_logits(self) -> bool:
        """Whether answers are logits, up to an offset of an input's."""
        return self.kind in ("logits", "log-probabilities")

    @property
    def num_classes(self) -> int:
        """One logit tells two classes apart; of labels it is not known."""
        return 2 if self.columns == 1 else self.columns

    @property
    def words(self) -> str:
        """For people."""
        return "one probability" if self.kind == "sigmoid" else self.kind

    def labels(self, answers: np.ndarray) -> np.ndarray:
        """Answers ``[N, columns]`` or labels as labels ``[N]``."""
        return answers if self.is_labels else self.logits(answers).argmax(1)

    def logits(self, answers: Any, xp: ModuleType = np) -> Any:
        """Answers ``[N, columns]`` as logits ``[N, C]``; in JAX with ``xp=jnp``."""
        if self.kind in ("sigmoid", "values in [0, 1]"):
            sure = xp.clip(answers, _TINY, 1.0)
            answers = xp.log(sure) - xp.log(xp.clip(1 - answers, 1e-7, 1.0))
        elif self.kind in ("probabilities", "percentages"):
            share = answers / 100 if self.kind == "percentages" else answers
            answers = xp.log(xp.clip(share, _TINY, None))
        if self.columns == 1:
            answers = xp.concatenate([xp.zeros_like(answers), answers], axis=-1)
        return answers


def read(answers: Any, count: int) -> tuple[Answering, np.ndarray]:
    """What so many answers are, and themselves: labels ``[N]``, or ``[N, columns]``.

    Raises:
      UserError: they are not one an input, not numbers, or not finite.
    """
    given = np.asarray(answers)
    if given.dtype.kind in "iu" and given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim == 1 and given.dtype.kind == "f":
        given = given[:, None]
    labels = given.ndim == 1 and given.dtype.kind in "iu"
    if len(given) != count or not (labels or (given.ndim == 2 and given.shape[1])):
        raise UserError(
            f"the network answers {count} images with shape {given.shape}; it must "
            f"give ({count}, classes), or ({count},) of labels: name the output, or "
            "give a classifier"
        )
    if given.dtype.kind not in "iuf":
        raise UserError(f"the network answers with {given.dtype}; they must be numbers")
    if labels:
        return Answering("labels", 0), given.astype(np.int64)
    given = given.astype(np.float32)
    if bad := int((~np.isfinite(given)).any(1).sum()):
        raise UserError(
            f"the network answers {bad} of {count} images with NaN or infinity; check "
            "its weights, and what it takes (value_range, mean, std)"
        )
    kind: str = preconditions.kind_of(given)
    if given.shape[1] == 1:
        kind = "sigmoid" if keeps_to(given.min(), given.max(), (0, 1)) else "logits"
    return Answering(kind, given.shape[1]), given


def saturated(answering: Answering, answers: np.ndarray) -> bool:
    """Whether answers are surer than any network is of what it was trained on."""
    if answering.is_logits:
        return float(answers.std()) > _SATURATED
    return not answering.is_labels and bool(((answers == 0) | (answers == 1)).all())


def rounded(answering: Answering, answers: np.ndarray) -> bool:
    """Whether probabilities were rounded to 0, so that nothing is left to compare."""
    return answering.kind in ("probabilities", "percentages") and bool(
        (answers <= 0).any()
    )
