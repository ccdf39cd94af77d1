"""A fitted meta-classifier as a user meets it: one callable in, one verdict out."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from bdjax import verdicts
from bdjax.evaluation import auc_interval
from bdjax.mntd.answers import Answers, check_answers
from bdjax.mntd.classifier import Meta
from bdjax.mntd.config import FitConfig
from bdjax.mntd.coverage import Coverage
from bdjax.mntd.fit import classify
from bdjax.mntd.words import checksum
from bdjax.types import UserError
from bdjax.verdicts import Calibration, calibrate_scores, conclude, preconditions


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Verdict(verdicts.Verdict):
    """What MNTD says of one network; see :class:`bdjax.verdicts.Verdict`.

    Attributes:
      answers: float32 ``[Q, C]``, the logits that the network gave.
    """

    detector: ClassVar[str] = "MNTD"

    answers: np.ndarray

    @property
    def percentile(self) -> float:
        """Share, in percent, of the benign references that score no more; or NaN."""
        if not self.references:
            return math.nan
        return 100 * float(np.mean(self.calibration.benign_scores <= self.score))

    def to_dict(self) -> dict[str, Any]:
        """As of any verdict, and the answers."""
        return super().to_dict() | {"answers": self.answers.tolist()}


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class MetaDetector:
    """MNTD's detector (Xu et al., S&P 2021): black box, ten questions a network.

    Attributes:
      task: key in ``bdjax.tasks.TASKS`` that the shadow models were trained on.
      meta: query set and classifier.
      config: how they were fitted.
      calibration: where benign networks score, and the threshold: of validation shadow
        models, or from :meth:`calibrate`; targets play no part in it.
      coverage: which networks the score means something for.
      num_classes: logits that a network must answer with.
      value_range: least and greatest value an input of the task may hold.
      validation_auc: AUC on the validation shadow models.
      repeat: which repeat of the fit this is.
      units: offset and scale of features that were rescaled for the shadow models, both
        float32, shaped like the last axis of a query; see :attr:`asked`.
      sentences: of text with ``config.query_space="tokens"``, the queries as words.
      vectors: of text, the sum of the word vectors that the shadow models read, which
        :meth:`check_vectors` compares; else 0.
      columns: of tables, what each feature of a query is called, where that is known.
    """

    task: str
    meta: Meta
    config: FitConfig
    calibration: Calibration
    coverage: Coverage
    num_classes: int
    value_range: tuple[float, float]
    validation_auc: float
    repeat: int = 0
    units: tuple[np.ndarray, np.ndarray] | None = None
    sentences: tuple[str, ...] = ()
    vectors: int = 0
    columns: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"MNTD detector of {self.task!r}: {len(self.queries)} queries, AUC "
            f"{self.validation_auc:.2f} on validation shadows, threshold "
            f"{self.threshold:.3g} ({self.calibration.source})"
        )

    @property
    def threshold(self) -> float:
        """Scores above it are called trojaned, if nothing is in doubt."""
        return self.calibration.threshold

    @property
    def benign_scores(self) -> np.ndarray:
        """Sorted scores of the benign references, float64."""
        return self.calibration.benign_scores

    @property
    def asked(self) -> Any:
        """What a network is asked: :attr:`queries`, a copy in the data's own units.

        Of tables and series, a stranger's network takes dollars and years, ``queries *
        scale + offset``; of text with queries of real words it is :attr:`sentences`.
        """
        if self.sentences:
            return list(self.sentences)
        if self.units is None:
            return self.queries.copy()
        offset, scale = self.units
        return self.queries * scale + offset

    @property
    def queries(self) -> np.ndarray:
        """The query set: float32 ``[Q, H, W, C]``, channels last.

        In :attr:`value_range` ([0, 1] for images: pixel / 255), unless the fit had
        ``clip=False``. Channels-first networks take ``queries.transpose(0, 3, 1, 2)``.
        """
        return np.asarray(self.meta.queries)

    @property
    def asks(self) -> str:
        """What :attr:`asked` is, in words."""
        if self.sentences:
            words = self.queries.shape[1]
            return f"a list of {len(self.sentences)} sentences (str) of {words} words"
        asked = f"float32 {self.queries.shape}"
        if self.columns:
            first, last = self.columns[0], self.columns[-1]
            return f"{asked}, columns from {first!r} to {last!r} (see columns)"
        words = (
            ", sentences of word vectors, which must be those that the shadow models "
            "read (see check_vectors)"
        )
        return asked + words if self.vectors else asked

    def check_vectors(self, vectors_VxE: ArrayLike) -> None:
        """Compares a table of word vectors with the one that the shadow models read.

        A network that is asked word vectors must read the same ones: load them as the
        run did, ``get_task(detector.task).load(...).vocabulary.vectors``.

        Raises:
          UserError: they are others, or this detector's queries are no text.
        """
        if not self.vectors:
            raise UserError(f"task {self.task!r} has no word vectors to compare")
        if np.ndim(vectors_VxE) != 2 or checksum(vectors_VxE) != self.vectors:
            raise UserError(
                f"these word vectors, shape {np.shape(vectors_VxE)}, are not those "
                "that the detector was fitted with; load them as the run did"
            )

    def score(self, model: Callable[[Any], ArrayLike]) -> Verdict:
        """Asks a network the queries and judges its answers.

        Args:
          model: any callable from float32 ``[Q, H, W, C]``, or as queries are shaped
            (:attr:`asked`, in the data's own units), to logits ``[Q, num_classes]``:
            NumPy, JAX, PyTorch on the CPU, a web service. Of two classes, one logit
            will do as well as two. Of text, it is called with what :attr:`asks` says:
            a list of strings, or word vectors. Called twice, with as many queries, the
            second time other ones side by side, which shows dropout, statistics of a
            batch and random answers. No gradients are used.

        Raises:
          UserError: the answers have the wrong shape or type, are not finite or do not
            depend on the input; or, of text, the model fails.
        """
        return self._judge(*self._examine(model))

    def judge(
        self, answers_QxC: ArrayLike, again_QxC: ArrayLike | None = None
    ) -> Verdict:
        """The verdict on answers already at hand.

        Args:
          answers_QxC: float ``[Q, num_classes]``.
          again_QxC: likewise, to the queries that
            :func:`bdjax.verdicts.preconditions.repeated` numbers. Without them it
            cannot be said whether the network answers the same again.

        Raises:
          UserError: as :meth:`score`.
        """
        read = self._check(answers_QxC)
        if again_QxC is not None:
            again = self._check(again_QxC, repeats=True).logits
            doubts = preconditions.steady(lambda _: again, self.queries, read.logits)
            return self._judge(read, doubts)
        note = "the network was not asked again: whether its answers are steady is open"
        return self._judge(read._replace(notes=(*read.notes, note)), [])

    def _judge(self, read: Answers, doubts: list[str]) -> Verdict:
        score, none = float(classify(self.config, self.meta, read.logits)), np.zeros(0)
        doubts = [*doubts, *read.reasons, *self.coverage.doubts(read.logits)]
        found = conclude(
            score, none, none, self.calibration, doubts, read.notes, self._weakness()
        )
        return Verdict(**found, answers=read.logits)

    def _weakness(self) -> list[str]:
        """Why this detector can judge nothing, if so."""
        each = (len(self.coverage.answers) - self.coverage.added) // 2
        low = auc_interval(self.validation_auc, each, each).low if each else 0.0
        if low > 0.5:
            return []
        return [
            "the detector itself may be at chance: its AUC on "
            f"{each} + {each} validation shadows is {self.validation_auc:.2f}, which "
            "proves nothing; give it more shadow models"
        ]

    def calibrate(
        self,
        benign: Sequence[Callable[[Any], ArrayLike]],
        *,
        false_alarms: float = 0.05,
        source: str = "",
    ) -> "MetaDetector":
        """This detector with benign networks of one's own as its references.

        It covers networks that answer like these, too.

        Args:
          benign: networks without a backdoor, alike to those that are to be judged.
          false_alarms: wanted share of benign networks flagged, in (0, 1).
          source: what they are, in words.

        Raises:
          UserError: too few for that share, or one cannot be asked, or not be asked
            steadily: it is named.
        """
        if callable(benign):
            raise UserError("benign is one network; give a list of them")
        logits = []
        for i, model in enumerate(benign):
            try:
                read, unsteady = self._examine(model)
                if reasons := [*unsteady, *read.reasons]:
                    raise UserError(reasons[0])
            except UserError as error:
                text = f"benign network {i} is no reference: {error}"
                raise UserError(text) from error
            logits.append(read.logits)
        scores = [float(classify(self.config, self.meta, each)) for each in logits]
        calibration = calibrate_scores(scores, false_alarms=false_alarms, source=source)
        coverage = self.coverage.extended(np.stack(logits))
        return dataclasses.replace(self, calibration=calibration, coverage=coverage)

    def _examine(self, model: Callable[[Any], ArrayLike]) -> tuple[Answers, list[str]]:
        """A network's answers, and why it would not give them again."""
        if not callable(model):
            raise UserError(
                f"model is a {type(model).__name__}; give a function that maps "
                "queries to logits"
            )
        answers = self._check(self._ask(model, self.asked))

        def again(some: Any) -> np.ndarray:
            return self._check(self._ask(model, some), repeats=True).logits

        # Not what was asked first: networks may write on their inputs.
        return answers, preconditions.steady(again, self.asked, answers.logits)

    def _ask(self, model: Callable[[Any], ArrayLike], asked: Any) -> ArrayLike:
        try:
            return model(asked)
        except UserError:
            raise
        except Exception as error:  # most likely, of another framework or layout
            text = " ".join(str(error).split())
            raise UserError(
                f"the model failed ({type(error).__name__}: {text[:200]}); it was "
                f"asked {self.asks}"
            ) from error

    def _check(self, answers: ArrayLike, *, repeats: bool = False) -> Answers:
        return check_answers(
            answers,
            (len(self.queries), self.num_classes),
            self.asks,
            scale_free=self.config.answers == "log_probabilities",
            repeats=repeats,
        )

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the detector to a directory, replacing one that is there.

        Raises:
          UserError: the directory holds something else, or cannot be written.
        """
        from bdjax.mntd import saved  # which knows detectors

        saved.write(self, directory)
