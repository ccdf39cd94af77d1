"""A fitted meta-classifier as a user meets it: one callable in, one verdict out."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from bdjax import storage
from bdjax.evaluation import best_threshold
from bdjax.mntd.classifier import Meta
from bdjax.mntd.config import FitConfig
from bdjax.mntd.fit import Fit, QuerySpec, classify
from bdjax.types import UserError

KIND = "bdjax MNTD detector"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a detector says of one network.

    Attributes:
      score: larger = more likely trojaned; no unit.
      threshold: scores above it are called trojaned. Set on validation shadow models.
      is_trojaned: ``score > threshold``.
      percentile: share, in percent, of *benign* validation shadow models that score
        no more than this network. 100 means: none of them looked this suspicious, be
        it for a Trojan or for having been trained quite differently.
      answers: float32 ``[Q, C]``, the logits that the network gave.
    """

    score: float
    threshold: float
    is_trojaned: bool
    percentile: float
    answers: np.ndarray = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class MetaDetector:
    """MNTD's detector (Xu et al., S&P 2021): black box, ten questions a network.

    Attributes:
      task: key in ``bdjax.tasks.TASKS`` that the shadow models were trained on.
      meta: query set and classifier.
      config: how they were fitted.
      threshold: calibrated on validation shadow models; targets play no part in it.
      benign_scores: float32, sorted scores of the benign validation shadow models.
      num_classes: logits that a network must answer with.
      value_range: least and greatest value an input of the task may hold.
      validation_auc: AUC on the validation shadow models.
      repeat: which repeat of the fit this is.
    """

    access: ClassVar[str] = "logits"
    needs: ClassVar[str] = "shadow models, at fitting time only"

    task: str
    meta: Meta
    config: FitConfig
    threshold: float
    benign_scores: np.ndarray
    num_classes: int
    value_range: tuple[float, float]
    validation_auc: float
    repeat: int = 0

    @property
    def queries(self) -> np.ndarray:
        """The query set: float32 ``[Q, H, W, C]``, channels last.

        Values lie in :attr:`value_range` ([0, 1] for images: pixel / 255, no mean or
        deviation taken off) unless the fit had ``clip=False``; then they may lie
        outside, as in the official code. A channels-first network takes
        ``queries.transpose(0, 3, 1, 2)``.
        """
        return np.asarray(self.meta.queries)

    def score(self, model: Callable[[np.ndarray], ArrayLike]) -> Verdict:
        """Asks a network the queries and judges its answers.

        Args:
          model: any callable from float32 ``[Q, H, W, C]`` (a copy of
            :attr:`queries`) to logits ``[Q, num_classes]``: NumPy, JAX, PyTorch on
            the CPU, a web service. Called once. No gradients are used.

        Raises:
          UserError: the answers have the wrong shape or type, are not finite, do not
            depend on the input, or are probabilities and not logits.
        """
        if not callable(model):
            raise UserError(
                f"model is a {type(model).__name__}; give a function that maps "
                "queries to logits"
            )
        answers = self._check(model(self.queries.copy()))
        score = float(classify(self.config, self.meta, answers))
        return Verdict(
            score=score,
            threshold=self.threshold,
            is_trojaned=score > self.threshold,
            percentile=100 * float(np.mean(self.benign_scores <= score)),
            answers=answers,
        )

    def score_answers(self, answers_QxC: np.ndarray) -> float:
        """The score of answers already at hand: logits float ``[Q, num_classes]``.

        Raises:
          UserError: as :meth:`score`.
        """
        return float(classify(self.config, self.meta, self._check(answers_QxC)))

    def _check(self, answers: ArrayLike) -> np.ndarray:
        shape = len(self.queries), self.num_classes
        try:
            logits = np.asarray(answers)
        except Exception as error:
            raise UserError(
                f"the model's answer is a {type(answers).__name__} that NumPy cannot "
                f"read ({error}); return logits on the CPU, without gradients"
            ) from error
        if logits.shape != shape:
            raise UserError(
                f"the model answered with shape {logits.shape}; it must give logits "
                f"{shape}, one row for each query"
            )
        if logits.dtype.kind != "f" and str(logits.dtype) != "bfloat16":
            raise UserError(
                f"the model answered with dtype {logits.dtype}; it must give floating "
                "point logits, not class indices"
            )
        with np.errstate(over="ignore"):
            logits = logits.astype(np.float32)
        if not np.isfinite(logits).all():
            raise UserError(
                f"{np.count_nonzero(~np.isfinite(logits))} of the model's "
                f"{logits.size} logits are NaN or infinite; check its weights"
            )
        if np.ptp(logits, axis=0).max() <= 1e-6 * max(1.0, np.abs(logits).max()):
            raise UserError(
                "the model gives the same answer to every query; check that it reads "
                f"its input, float32 {self.queries.shape}, and is not a constant"
            )
        _refuse_probabilities(logits)
        return logits

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the detector to a directory, replacing one that is there.

        Raises:
          UserError: the directory holds something else, or cannot be written.
        """
        arrays = {
            "queries": self.queries,
            "classifier": self.meta.classifier,
            "benign_scores": self.benign_scores,
        }
        meta: dict[str, Any] = {
            "task": self.task,
            "config": dataclasses.asdict(self.config),
            "threshold": self.threshold,
            "num_classes": self.num_classes,
            "value_range": list(self.value_range),
            "validation_auc": self.validation_auc,
            "repeat": self.repeat,
        }
        storage.save_tree(directory, arrays, meta, kind=KIND)


def load(directory: str | os.PathLike[str]) -> MetaDetector:
    """Reads a detector, such as the ``detector`` folder of a run.

    Raises:
      UserError: there is none, or it is damaged or of a newer bdjax.
    """
    arrays, meta = storage.load_tree(directory, kind=KIND)
    try:
        return MetaDetector(
            task=meta["task"],
            meta=Meta(arrays["queries"], arrays["classifier"]),
            config=FitConfig(**meta["config"]),
            threshold=meta["threshold"],
            benign_scores=arrays["benign_scores"],
            num_classes=meta["num_classes"],
            value_range=tuple(meta["value_range"]),
            validation_auc=meta["validation_auc"],
            repeat=meta["repeat"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{KIND} in {directory} is damaged ({error!r}); restore a copy or make it "
            "again"
        ) from error


def from_fit(
    fit: Fit,
    validation_labels_V: np.ndarray,
    *,
    task: str,
    num_classes: int,
    spec: QuerySpec,
    config: FitConfig,
) -> MetaDetector:
    """The repeat with the best validation AUC (the first of equals) as a detector.

    Args:
      fit: a finished fit.
      validation_labels_V: int ``[V]``, of the validation shadows it was given.
      task: key in ``bdjax.tasks.TASKS``.
      num_classes: of that task.
      spec: as given to the fit.
      config: as given to the fit.
    """
    aucs = fit.validation_auc_RxE[np.arange(config.repeats), fit.epoch_R]
    best = int(aucs.argmax())
    scores_V = fit.validation_scores_RxV[best]
    return MetaDetector(
        task=task,
        meta=fit.repeat(best),
        config=config,
        threshold=best_threshold(validation_labels_V, scores_V),
        benign_scores=np.sort(scores_V[np.asarray(validation_labels_V) == 0]),
        num_classes=num_classes,
        value_range=spec.value_range,
        validation_auc=float(aucs[best]),
        repeat=best,
    )


def _refuse_probabilities(logits_QxC: np.ndarray) -> None:
    """Raises for what a softmax or sigmoid leaves, rounded or in percent included."""
    if logits_QxC.shape[1] < 2:
        return
    what = None
    if (logits_QxC >= 0).all() and (logits_QxC <= 1).all():
        what = "probabilities (every value lies in [0, 1])"
    elif (logits_QxC >= 0).all() and np.allclose(logits_QxC.sum(1), 100, atol=2):
        what = "percentages (every row sums to 100)"
    elif np.allclose(np.exp(np.minimum(logits_QxC, 1)).sum(1), 1, atol=1e-3):
        what = "log-probabilities (every row's exponentials sum to 1)"
    if what:
        raise UserError(
            f"the model seems to return {what}; return the logits, from before the "
            "softmax or sigmoid"
        )
