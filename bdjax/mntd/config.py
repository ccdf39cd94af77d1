"""What a meta-classifier fit may be told."""

import dataclasses

from bdjax import checks
from bdjax.types import UserError

MODES = ("binary", "one_class")
ANSWERS = ("log_probabilities", "logits")
QUERY_SPACES = ("input", "tokens")


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """Meta-training. The defaults are MNTD's, but for clipping and minibatches.

    Attributes:
      queries: size of the query set.
      hidden: width of the classifier's hidden layer.
      epochs: passes over the shadow models.
      learning_rate: Adam's, for queries and classifier alike.
      batch_size: shadow models an Adam step. 1 is the paper's; more is the
        *minibatch* mode, faster on an accelerator.
      repeats: independent fits, all advanced together.
      query_tuning: optimise the queries too; ``False`` leaves them where they start.
      clip: keep the queries inside the task's value range after every step, so that
        any model can be asked them. The official code never clips (``False``).
      answers: what the classifier reads of a network's answer: ``"logits"`` as in the
        paper, or ``"log_probabilities"``, the log-softmax of the logits of each query,
        which leaves out the common offset that training never determines.
      mode: ``"binary"``, benign against trojaned shadows; ``"one_class"``, benign
        shadows only.
      nu: one-class: the share of benign shadows left outside (paper's nu).
      query_learning_rate: Adam's for the queries alone; 0 for ``learning_rate``, as in
        the paper. Few shadows fit a classifier, but not thousands of query values: a
        lower rate over more epochs keeps queries from fitting these shadows' noise.
      query_dropout: ask shadow and target models with their dropout on, as the official
        code does; scores are then random. A detector asks strangers' networks as they
        are.
      query_space: ``"input"``, whatever a network reads, of sentences word vectors that
        need not be any word's, as in the paper; or of sentences ``"tokens"``, words of
        the vocabulary, which a network that takes text can be asked.
    """

    queries: int = 10
    hidden: int = 20
    epochs: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 1
    repeats: int = 5
    query_tuning: bool = True
    clip: bool = True
    answers: str = "log_probabilities"
    mode: str = "binary"
    nu: float = 0.1
    query_dropout: bool = False
    query_learning_rate: float = 0.0
    query_space: str = "input"

    def __post_init__(self):
        checks.at_least(
            1,
            queries=self.queries,
            hidden=self.hidden,
            epochs=self.epochs,
            batch_size=self.batch_size,
            repeats=self.repeats,
        )
        checks.above_zero(learning_rate=self.learning_rate)
        checks.not_negative(query_learning_rate=self.query_learning_rate)
        checks.within("(0, 1)", nu=self.nu)
        checks.one_of(MODES, mode=self.mode)
        checks.one_of(ANSWERS, answers=self.answers)
        checks.one_of(QUERY_SPACES, query_space=self.query_space)
        if self.mode == "one_class" and self.batch_size != 1:
            raise UserError(
                f"batch_size is {self.batch_size}; the one-class radius is set after "
                "every single model, so it must be 1"
            )
