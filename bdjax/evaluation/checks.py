"""Checks of labels and scores, shared by the figures of merit and the plots."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bdjax.types import UserError


def check_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    """Returns labels as booleans.

    Args:
      labels: shape ``(N,)``, 1 (trojaned) or 0 (benign), both present.

    Raises:
      UserError: the shape or a value is wrong, or a class is missing.
    """
    labels_N = np.asarray(labels)
    if labels_N.ndim != 1:
        raise UserError(
            f"labels have shape {labels_N.shape}, expected (N,): one label a model"
        )
    strange = labels_N[~np.isin(labels_N, (0, 1))]
    if strange.size:
        raise UserError(
            f"labels contain {strange[0].item()!r}; write 1 for a trojaned model and "
            "0 for a benign one"
        )
    trojaned = np.count_nonzero(labels_N)
    if trojaned in (0, len(labels_N)):
        raise UserError(
            f"labels hold {trojaned} trojaned and {len(labels_N) - trojaned} benign "
            "models; an AUC needs at least one of each"
        )
    return labels_N.astype(bool)


def check_scores(labels_N: NDArray[np.bool_], scores: ArrayLike) -> NDArray:
    """Returns scores as a floating array of shape ``(N,)``, one for each label.

    Raises:
      UserError: the shape does not match the labels, or a score is not finite.
    """
    scores_N = as_finite(scores, name="scores")
    if scores_N.shape != labels_N.shape:
        raise UserError(
            f"scores have shape {scores_N.shape}, expected {labels_N.shape} to match "
            "the labels; pass one score a model"
        )
    return scores_N


def check_repeats(labels_N: NDArray[np.bool_], scores: ArrayLike) -> NDArray:
    """Returns scores as a floating array of shape ``(R, N)``, R at least 1.

    Raises:
      UserError: the shape does not match the labels, or a score is not finite.
    """
    scores_RxN = as_finite(scores, name="scores")
    if scores_RxN.ndim != 2 or scores_RxN.shape[1] != len(labels_N):
        raise UserError(
            f"scores have shape {scores_RxN.shape}, expected (repeats, "
            f"{len(labels_N)}) to match the labels; write a single fit as scores[None]"
        )
    if not len(scores_RxN):
        raise UserError("scores have 0 repeats, expected at least 1; fit the detector")
    return scores_RxN


def as_finite(values: ArrayLike, *, name: str) -> NDArray:
    """Returns values as a finite floating array, keeping a floating dtype.

    Args:
      values: numbers of any shape.
      name: what to call them in an error.

    Raises:
      UserError: a value is NaN or infinite.
    """
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = bad[0].tolist()
        raise UserError(
            f"{name} hold {len(bad)} value(s) that are not finite, the first "
            f"({array[tuple(where)]}) at index {where}; mend or leave out those entries"
        )
    return array
