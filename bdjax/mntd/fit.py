"""Joint optimisation of the query set and the meta-classifier.

Xu et al., "Detecting AI Trojans Using Meta Neural Analysis", S&P 2021, section V,
equations 5 (binary) and 6 (one-class). A shadow model is a row of a stacked pytree
that stays on the device: no model is read from disk inside the loop, and no gradient
toward its weights is computed.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike

from bdjax import prng, tree
from bdjax.evaluation import auc
from bdjax.mntd.classifier import Meta, MetaClassifier
from bdjax.mntd.config import FitConfig
from bdjax.types import PRNGKey, PyTree, UserError, Variables

ApplyFn = Callable[[Variables, jax.Array], jax.Array]
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


class _State(NamedTuple):
    meta: Meta
    moments: optax.OptState
    radius: jax.Array


def fit(
    apply: ApplyFn,
    shadows: Variables,
    labels_M: np.ndarray,
    validation: Variables,
    validation_labels_V: np.ndarray,
    *,
    spec: QuerySpec,
    config: FitConfig,
    key: PRNGKey,
    callback: Callback | None = None,
) -> Fit:
    """Fits ``config.repeats`` meta-classifiers on the same shadow models.

    The binary fit keeps, for each repeat, the epoch with the best AUC on the
    validation shadows (the later one on a tie: its queries are better tuned). The
    one-class fit sees benign shadows alone and keeps its last epoch.

    Args:
      apply: ``apply(variables, x) -> logits`` of one shadow model; hashable, as it is
        compiled once for equal arguments.
      shadows: stacked variables, leaves ``[M, ...]``.
      labels_M: int ``[M]``, 1 for trojaned.
      validation: stacked variables, leaves ``[V, ...]``, in no part of ``shadows``.
      validation_labels_V: int ``[V]``.
      spec: shape, value range and start of the queries.
      config: the optimisation.
      key: all randomness; repeat ``r`` uses ``fold_in(key, r)``.
      callback: called as ``callback(epoch, validation_auc_R)`` after every epoch.

    Raises:
      UserError: a class is missing among the shadows or validation shadows.
    """
    labels_M, validation_labels_V = (
        np.asarray(labels_M),
        np.asarray(validation_labels_V),
    )
    _check_labels("shadow", labels_M, both=config.mode == "binary")
    _check_labels("validation shadow", validation_labels_V, both=True)
    for labels, models in ((labels_M, shadows), (validation_labels_V, validation)):
        if len(labels) != tree.count(models):
            raise UserError(
                f"there are {len(labels)} labels for {tree.count(models)} models; give "
                "one each"
            )
    if config.mode == "one_class":
        benign = np.flatnonzero(labels_M == 0)
        shadows, labels_M = tree.index(shadows, benign), labels_M[benign]
    shadows, validation = jax.device_put((shadows, validation))

    keys_R = prng.model_keys(key, jnp.arange(config.repeats))
    state_R, answers_R = _begin(apply, spec, config, keys_R, shadows)
    auc_ExR, scores_ExRxV, metas = [], [], []
    for epoch in range(config.epochs):
        state_R, scores_RxV = _epoch(
            apply, spec, config, epoch, keys_R, state_R, answers_R,
            shadows, labels_M, validation,
        )  # fmt: skip
        scores_ExRxV.append(np.asarray(scores_RxV))
        auc_ExR.append([auc(validation_labels_V, s) for s in scores_ExRxV[-1]])
        metas.append(jax.device_get(state_R.meta))
        if callback:
            callback(epoch, np.asarray(auc_ExR[-1]))
    auc_RxE = np.asarray(auc_ExR).T
    return _choose(config, auc_RxE, np.stack(scores_ExRxV), metas)


def score_models(
    apply: ApplyFn, config: FitConfig, meta_R: Meta, models: Variables
) -> np.ndarray:
    """Scores of stacked models, larger = more likely trojaned; float32 ``[R, M]``."""
    return np.asarray(_score(apply, config, meta_R, models))


def classify(config: FitConfig, meta: Meta, logits_QxC: ArrayLike) -> jax.Array:
    """Score of one network's logits float ``[Q, C]`` under one repeat; float scalar."""
    answers = _answers(config, jnp.asarray(logits_QxC, jnp.float32))
    return _suspicion(config, meta.classifier, answers)


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


def _classifier(config: FitConfig) -> MetaClassifier:
    return MetaClassifier(config.hidden, one_class=config.mode == "one_class")


def _answers(config: FitConfig, logits_QxC: jax.Array) -> jax.Array:
    """What the classifier reads of one network's logits; float ``[Q * C]``."""
    if config.answers == "log_probabilities":
        logits_QxC = jax.nn.log_softmax(logits_QxC)
    return logits_QxC.ravel()


def _ask(
    apply: ApplyFn, config: FitConfig, variables: Variables, queries: jax.Array
) -> jax.Array:
    """One model's answers to all queries, joined; float ``[Q * C]``."""
    return _answers(config, apply(variables, queries))


def _suspicion(config: FitConfig, classifier: PyTree, answers: jax.Array) -> jax.Array:
    """Larger = more likely trojaned. The one-class score grows with normality."""
    score = jnp.asarray(_classifier(config).apply(classifier, answers))
    return -score if config.mode == "one_class" else score


@functools.partial(jax.jit, static_argnames=("apply", "spec", "config"))
def _begin(apply, spec, config, keys_R, shadows):
    """Initial state of every repeat; and, if queries stay put, all answers to them."""

    def one(key):
        noise = jax.random.normal(
            prng.stream(key, "queries"), (config.queries, *spec.shape)
        )
        queries = jnp.asarray(spec.mean) + jnp.asarray(spec.std) * noise
        if config.clip:
            queries = jnp.clip(queries, *spec.value_range)
        answers = None
        if not config.query_tuning:
            answers = jax.lax.map(lambda v: _ask(apply, config, v, queries), shadows)
        size = jax.eval_shape(_ask_first(apply, config), shadows, queries).shape
        classifier = _classifier(config).init(
            prng.stream(key, "classifier"), jnp.zeros(size)
        )
        meta = Meta(queries=queries, classifier=classifier)
        moments = optax.adam(config.learning_rate).init(meta)
        return _State(meta, moments, radius=jnp.float32(1)), answers

    return jax.vmap(one)(keys_R)


def _ask_first(apply, config):
    return lambda shadows, queries: _ask(apply, config, tree.index(shadows, 0), queries)


@functools.partial(jax.jit, static_argnames=("apply", "spec", "config"))
def _epoch(
    apply,
    spec,
    config,
    epoch,
    keys_R,
    state_R,
    answers_R,
    shadows,
    labels_M,
    validation,
):
    """One pass over the shadows and the validation scores after it, all repeats."""

    def one(key, state, answers_M):
        key = jax.random.fold_in(prng.stream(key, "order"), epoch)
        order_M = jax.random.permutation(key, len(labels_M))
        steps = max(1, len(labels_M) // config.batch_size)
        order_SxB = order_M[: steps * config.batch_size].reshape(steps, -1)
        body = functools.partial(
            _step, apply, spec, config, answers_M, shadows, labels_M
        )
        history = jnp.full(steps, jnp.inf, jnp.float32)  # scores so far, for the radius
        (state, _), _ = jax.lax.scan(
            body, (state, history), (jnp.arange(steps), order_SxB)
        )
        return state, _score_one(apply, config, state.meta, validation)

    return jax.vmap(one)(keys_R, state_R, answers_R)


def _step(apply, spec, config, answers_M, shadows, labels_M, carry, batch):
    """One Adam step on a minibatch of shadow models (one, as in the paper)."""
    state, history = carry
    i, order_B = batch

    def loss_fn(meta):
        if config.query_tuning:
            ask = functools.partial(_ask, apply, config, queries=meta.queries)
            answers_B = jax.vmap(ask)(tree.index(shadows, order_B))
        else:
            answers_B = answers_M[order_B]
        score_B = _classifier(config).apply(meta.classifier, answers_B)
        if config.mode == "one_class":
            return _one_class_loss(config, meta.classifier, score_B[0], state.radius)
        loss = optax.sigmoid_binary_cross_entropy(score_B, labels_M[order_B])
        return loss.mean(), score_B[0]

    grads, score = jax.grad(loss_fn, has_aux=True)(state.meta)
    updates, moments = optax.adam(config.learning_rate).update(grads, state.moments)
    meta = optax.apply_updates(state.meta, updates)
    if config.clip:
        meta = meta._replace(queries=jnp.clip(meta.queries, *spec.value_range))
    history = history.at[i].set(score)
    radius = state.radius
    if config.mode == "one_class":
        radius = _quantile(history, i + 1, config.nu)
    return (_State(meta, moments, radius), history), None


def _one_class_loss(config, classifier, score, radius):
    """Stochastic form of equation 6.

    ``radius`` is set by its quantile rule instead of optimised, as officially.
    """
    weights = jax.tree.leaves(classifier)
    penalty = 0.5 * sum(jnp.square(w).sum() for w in weights)
    loss = penalty + jax.nn.relu(radius - score) / config.nu - radius
    return loss, score


def _quantile(history, count, q):
    """Linear-interpolated ``q``-quantile of the first ``count`` entries."""
    ordered = jnp.sort(history)
    position = q * (count - 1)
    low = jnp.floor(position).astype(jnp.int32)
    high = jnp.minimum(low + 1, count - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def _score_one(apply, config, meta, models):
    """Scores of stacked models under one meta-classifier, float ``[M]``."""

    def score(variables):
        answers = _ask(apply, config, variables, meta.queries)
        return _suspicion(config, meta.classifier, answers)

    return jax.lax.map(score, models)


@functools.partial(jax.jit, static_argnames=("apply", "config"))
def _score(apply, config, meta_R, models):
    return jax.vmap(lambda meta: _score_one(apply, config, meta, models))(meta_R)


def _check_labels(kind: str, labels: np.ndarray, *, both: bool) -> None:
    needed = (0, 1) if both else (0,)
    for label, name in zip(needed, ("benign", "trojaned"), strict=False):
        if not (labels == label).any():
            raise UserError(
                f"no {name} {kind} model among {len(labels)}; a fit needs at least one"
            )
