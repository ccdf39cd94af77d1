"""Joint optimisation of the query set and the meta-classifier.

Xu et al., "Detecting AI Trojans Using Meta Neural Analysis", S&P 2021, section V,
equations 5 (binary) and 6 (one-class). A shadow model is a row of a stacked pytree
that stays on the device: no model is read from disk inside the loop, and no gradient
toward its weights is computed.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from bdjax import prng, tree
from bdjax.evaluation import auc
from bdjax.mntd import steps
from bdjax.mntd.classifier import Meta
from bdjax.mntd.config import FitConfig
from bdjax.mntd.groups import ApplyFn, Networks, batches, starts_of
from bdjax.mntd.repeats import layout_of
from bdjax.mntd.words import check_vectors
from bdjax.types import PRNGKey, UserError, Variables

Callback = Callable[[int, np.ndarray], None]


@dataclasses.dataclass(frozen=True)
class QuerySpec:
    """Where queries live and start.

    Attributes:
      shape: shape of one query, NHWC without N.
      value_range: least and greatest value an input of the task may hold.
      mean: mean of the normal initial distribution, scalar or one a channel.
      std: its standard deviation, likewise.
    """

    shape: tuple[int, ...]
    value_range: tuple[float, float]
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]


class Fit(NamedTuple):
    """A finished fit of ``R`` repeats.

    Attributes:
      meta: the chosen epoch of every repeat, leaves ``[R, ...]``.
      epoch_R: int, which epoch that is.
      validation_auc_RxE: float, AUC on the validation shadows after every epoch.
      validation_scores_RxV: float32, scores of the validation shadows.
    """

    meta: Meta
    epoch_R: np.ndarray
    validation_auc_RxE: np.ndarray
    validation_scores_RxV: np.ndarray

    def repeat(self, r: int) -> Meta:
        """Query set and classifier of one repeat."""
        return tree.index(self.meta, r)


def fit(
    shadows: Sequence[Networks],
    labels_M: np.ndarray,
    validation: Sequence[Networks],
    validation_labels_V: np.ndarray,
    *,
    spec: QuerySpec,
    config: FitConfig,
    key: PRNGKey,
    rows_K: np.ndarray | None = None,
    passes: int = 1,
    vectors_VxE: np.ndarray | None = None,
    callback: Callback | None = None,
) -> Fit:
    """Fits ``config.repeats`` meta-classifiers on the same shadow models.

    The binary fit keeps, for each repeat, the epoch with the best AUC on the
    validation shadows (the later one on a tie: its queries are better tuned). The
    one-class fit sees benign shadows alone and keeps its last epoch.

    Args:
      shadows: groups of networks, M in all; of several, each step's batch is of one.
      labels_M: int ``[M]``, 1 for trojaned.
      validation: likewise, V in all, in no part of ``shadows``.
      validation_labels_V: int ``[V]``.
      spec: shape, value range and start of the queries.
      config: the optimisation.
      key: all randomness; repeat ``r`` uses ``fold_in(key, r)``.
      rows_K: int ``[K]``, the shadows to fit on; all if None. The result is that of a
        fit to these alone, and the program that of a fit to all.
      passes: over the shadows, that make an epoch.
      vectors_VxE: float32, the words' vectors, for ``config.query_space="tokens"``: the
        queries of the fit are then of these (not of those that are zeros).
      callback: called as ``callback(epoch, validation_auc_R)`` after every epoch.

    Raises:
      UserError: a class is missing among the shadows or validation shadows, or there
        are no words for queries.
    """
    if config.query_space == "tokens":
        check_vectors(vectors_VxE)
    else:
        vectors_VxE = None
    labels_M, validation_labels_V = (
        np.asarray(labels_M),
        np.asarray(validation_labels_V),
    )
    rows_K = np.arange(len(labels_M)) if rows_K is None else np.asarray(rows_K)
    _check_labels("shadow", labels_M[rows_K], both=config.mode == "binary")
    _check_labels("validation shadow", validation_labels_V, both=True)
    applies, models = zip(*shadows, strict=True)
    ask_V, models_V = zip(*validation, strict=True)
    starts = starts_of(models)
    for labels, count in (
        (labels_M, starts[-1]),
        (validation_labels_V, starts_of(models_V)[-1]),
    ):
        if len(labels) != count:
            raise UserError(
                f"there are {len(labels)} labels for {count} models; give one each"
            )
    if config.mode == "one_class":
        rows_K = rows_K[labels_M[rows_K] == 0]
    layout = layout_of(config.repeats, models)
    models, models_V, vectors_VxE = layout.everywhere((models, models_V, vectors_VxE))

    keys_R = prng.model_keys(key, jnp.arange(config.repeats))
    state_R, answers_R = layout.everywhere(
        steps.begin(applies, spec, config, keys_R, models, vectors_VxE)
    )
    auc_ExR, scores_ExRxV, metas = [], [], []
    for epoch in range(config.epochs):
        taken, count = batches(
            config, epoch, key, keys_R, rows_K, starts, passes, len(labels_M)
        )
        state_R, scores_RxV = steps.epoch(
            applies, spec, config, epoch, count, keys_R, state_R, answers_R,
            models, labels_M, taken, ask_V, models_V, vectors_VxE,
        )  # fmt: skip
        state_R = layout.everywhere(state_R)
        scores_ExRxV.append(np.asarray(scores_RxV))
        auc_ExR.append([auc(validation_labels_V, s) for s in scores_ExRxV[-1]])
        metas.append(jax.device_get(steps.spoken(state_R.meta, vectors_VxE)))
        if callback:
            callback(epoch, np.asarray(auc_ExR[-1]))
    auc_RxE = np.asarray(auc_ExR).T
    return _choose(config, auc_RxE, np.stack(scores_ExRxV), metas)


def score_models(
    apply: ApplyFn,
    config: FitConfig,
    meta_R: Meta,
    models: Variables,
    key: PRNGKey | None = None,
) -> np.ndarray:
    """Scores of stacked models, larger = more likely trojaned; float32 ``[R, M]``.

    ``key`` is of the dropout where ``config.query_dropout`` leaves it on; model ``m``
    uses ``fold_in(key, m)``.
    """
    key = jax.random.key(0) if key is None else key
    return np.asarray(steps.score((apply,), config, meta_R, (models,), key))


@functools.partial(jax.jit, static_argnames="apply")
def answers_of(apply: ApplyFn, queries: jax.Array, models: Variables) -> jax.Array:
    """Logits of stacked models ``[M, ...]`` to queries ``[Q, ...]``: ``[M, Q, C]``."""
    return jax.lax.map(lambda variables: apply(variables, queries), models)


def classify(config: FitConfig, meta: Meta, logits_QxC: ArrayLike) -> jax.Array:
    """Score of one network's logits float ``[Q, C]`` under one repeat; float scalar."""
    answers = steps.read_answers(config, jnp.asarray(logits_QxC, jnp.float32))
    return steps.suspicion(config, meta.classifier, answers)


def _choose(
    config: FitConfig, auc_RxE: np.ndarray, scores_ExRxV: np.ndarray, metas: list[Meta]
) -> Fit:
    last = config.epochs - 1
    if config.mode == "one_class":
        epoch_R = np.full(config.repeats, last)
    else:
        epoch_R = last - auc_RxE[:, ::-1].argmax(1)
    chosen = [tree.index(metas[e], r) for r, e in enumerate(epoch_R)]
    return Fit(
        meta=jax.tree.map(lambda *leaves: np.stack(leaves), *chosen),
        epoch_R=epoch_R,
        validation_auc_RxE=auc_RxE,
        validation_scores_RxV=scores_ExRxV[epoch_R, np.arange(config.repeats)],
    )


def _check_labels(kind: str, labels: np.ndarray, *, both: bool) -> None:
    needed = (0, 1) if both else (0,)
    for label, name in zip(needed, ("benign", "trojaned"), strict=False):
        if not (labels == label).any():
            raise UserError(
                f"no {name} {kind} model among {len(labels)}; a fit needs at least one"
            )
