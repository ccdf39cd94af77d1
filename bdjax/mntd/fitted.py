"""From a fit to the detector that networks are judged by."""

from collections.abc import Sequence

import numpy as np

from bdjax.evaluation import best_threshold
from bdjax.mntd.config import FitConfig
from bdjax.mntd.coverage import covering
from bdjax.mntd.detector import MetaDetector
from bdjax.mntd.fit import Fit, QuerySpec, answers_of
from bdjax.mntd.groups import Networks
from bdjax.mntd.words import checksum, nearest
from bdjax.verdicts import Calibration


def from_fit(
    fit: Fit,
    validation: Sequence[Networks],
    validation_labels_V: np.ndarray,
    *,
    task: str,
    num_classes: int,
    spec: QuerySpec,
    config: FitConfig,
    units: tuple[np.ndarray, np.ndarray] | None = None,
    vocabulary: tuple[tuple[str, ...], np.ndarray] | None = None,
    columns: tuple[str, ...] = (),
) -> MetaDetector:
    """The repeat with the best validation AUC (the first of equals) as a detector.

    Args:
      fit: a finished fit.
      validation: groups of validation shadows, as given to the fit.
      validation_labels_V: int ``[V]``, likewise.
      task: key in ``bdjax.tasks.TASKS``.
      num_classes: of that task.
      spec: as given to the fit.
      config: as given to the fit.
      units: of the data, where features were rescaled.
      vocabulary: of text, the words and their vectors, float32 ``[V, E]``.
      columns: of tables, what each feature is called.
    """
    aucs = fit.validation_auc_RxE[np.arange(config.repeats), fit.epoch_R]
    best = int(aucs.argmax())
    meta = fit.repeat(best)
    sentences: tuple[str, ...] = ()
    if vocabulary is not None and config.query_space == "tokens":
        words, ids_QxT = vocabulary[0], np.asarray(nearest(vocabulary[1], meta.queries))
        sentences = tuple(" ".join(words[i] for i in ids_T) for ids_T in ids_QxT)
    return MetaDetector(
        task=task,
        meta=meta,
        config=config,
        calibration=_calibration(
            np.asarray(validation_labels_V), fit.validation_scores_RxV[best]
        ),
        coverage=covering(
            np.concatenate([answers_of(a, meta.queries, v) for a, v in validation])
        ),
        num_classes=num_classes,
        value_range=spec.value_range,
        validation_auc=float(aucs[best]),
        repeat=best,
        units=units,
        sentences=sentences,
        vectors=checksum(vocabulary[1]) if vocabulary else 0,
        columns=columns,
    )


def _calibration(labels_V: np.ndarray, scores_V: np.ndarray) -> Calibration:
    """Of validation shadows, with a wide grey zone.

    They are all of one recipe and of the defender's rows, and benign networks of other
    origin score between benign and trojaned shadows. So trojaned is what scores as the
    most suspicious quarter of trojaned shadows, and not flagged what scores as benign
    ones; all between is inconclusive.
    """
    benign, trojaned = scores_V[labels_V == 0], scores_V[labels_V == 1]
    most = float(benign.max())
    return Calibration(
        benign,
        threshold=max(most, float(np.quantile(trojaned, 0.75))),
        grey=min(most, best_threshold(labels_V, scores_V)),
        source=f"{len(benign)} benign validation shadow models, all of one recipe",
    )
