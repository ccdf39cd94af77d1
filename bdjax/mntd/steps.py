"""The jitted inside of a fit: asking models, and one Adam step after the other."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bdjax import prng, tree
from bdjax.logits import class_logits
from bdjax.mntd.classifier import Meta, MetaClassifier
from bdjax.mntd.config import FitConfig
from bdjax.types import PRNGKey, PyTree, Variables

ApplyFn = Callable[..., jax.Array]


class State(NamedTuple):
    """What an epoch hands on; ``radius`` is the one-class fit's."""

    meta: Meta
    moments: optax.OptState
    radius: jax.Array


def classifier_of(config: FitConfig) -> MetaClassifier:
    """The classifier that a fit trains."""
    return MetaClassifier(config.hidden, one_class=config.mode == "one_class")


def read_answers(config: FitConfig, logits_QxL: jax.Array) -> jax.Array:
    """What the classifier reads of one network's logits; float ``[Q * C]``.

    A single logit is read as it is, or as the log-probabilities of both classes.
    """
    if config.answers == "log_probabilities":
        logits_QxL = jax.nn.log_softmax(class_logits(logits_QxL))
    return logits_QxL.ravel()


def suspicion(config: FitConfig, classifier: PyTree, answers: jax.Array) -> jax.Array:
    """Larger = more likely trojaned. The one-class score grows with normality."""
    score = jnp.asarray(classifier_of(config).apply(classifier, answers))
    return -score if config.mode == "one_class" else score


def ask(
    apply: ApplyFn,
    config: FitConfig,
    variables: Variables,
    queries: jax.Array,
    key: PRNGKey,
) -> jax.Array:
    """One model's answers to all queries, joined; float ``[Q * C]``."""
    options = {"train": True, "key": key} if config.query_dropout else {}
    return read_answers(config, apply(variables, queries, **options))


@functools.partial(jax.jit, static_argnames=("apply", "spec", "config"))
def begin(apply, spec, config, keys_R, shadows):
    """Initial state of every repeat; and, if they never change, all answers."""

    def one(key):
        noise = jax.random.normal(
            prng.stream(key, "queries"), (config.queries, *spec.shape)
        )
        queries = jnp.asarray(spec.mean) + jnp.asarray(spec.std) * noise
        if config.clip:
            queries = jnp.clip(queries, *spec.value_range)
        ask_one = functools.partial(ask, apply, config, queries=queries, key=key)
        answers = None
        if not config.query_tuning and not config.query_dropout:
            answers = jax.lax.map(ask_one, shadows)
        size = jax.eval_shape(lambda: ask_one(tree.index(shadows, 0))).shape
        classifier = classifier_of(config).init(
            prng.stream(key, "classifier"), jnp.zeros(size)
        )
        meta = Meta(queries=queries, classifier=classifier)
        moments = optax.adam(config.learning_rate).init(meta)
        return State(meta, moments, radius=jnp.float32(1)), answers

    return jax.vmap(one)(keys_R)


@functools.partial(jax.jit, static_argnames=("apply", "spec", "config"))
def epoch(
    apply,
    spec,
    config,
    number,
    keys_R,
    state_R,
    answers_R,
    shadows,
    labels_M,
    validation,
):
    """One pass over the shadows and the validation scores after it, all repeats."""

    def one(key, state, answers_M):
        order_key = jax.random.fold_in(prng.stream(key, "order"), number)
        order_M = jax.random.permutation(order_key, len(labels_M))
        steps = max(1, len(labels_M) // config.batch_size)
        order_SxB = order_M[: steps * config.batch_size].reshape(steps, -1)
        noise = jax.random.fold_in(prng.stream(key, "query-dropout"), number)
        body = functools.partial(
            _step, apply, spec, config, noise, answers_M, shadows, labels_M
        )
        history = jnp.full(steps, jnp.inf, jnp.float32)  # scores so far, for the radius
        (state, _), _ = jax.lax.scan(
            body, (state, history), (jnp.arange(steps), order_SxB)
        )
        return state, _score_one(apply, config, state.meta, validation, noise)

    return jax.vmap(one)(keys_R, state_R, answers_R)


def _step(apply, spec, config, noise, answers_M, shadows, labels_M, carry, batch):
    """One Adam step on a minibatch of shadow models (one, as in the paper)."""
    state, history = carry
    i, order_B = batch

    def answers_of(meta):
        if answers_M is not None:
            return answers_M[order_B]
        queries = meta.queries
        if not config.query_tuning:
            queries = jax.lax.stop_gradient(queries)
        keys_B = jax.random.split(jax.random.fold_in(noise, i), len(order_B))
        one = functools.partial(ask, apply, config)
        chosen = tree.index(shadows, order_B)
        return jax.vmap(one, in_axes=(0, None, 0))(chosen, queries, keys_B)

    def loss_fn(meta):
        score_B = classifier_of(config).apply(meta.classifier, answers_of(meta))
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
    return (State(meta, moments, radius), history), None


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


def _score_one(apply, config, meta, models, key):
    """Scores of stacked models under one meta-classifier, float ``[M]``."""

    def score(numbered):
        i, variables = numbered
        noise = jax.random.fold_in(key, i)
        answers = ask(apply, config, variables, meta.queries, noise)
        return suspicion(config, meta.classifier, answers)

    return jax.lax.map(score, (jnp.arange(tree.count(models)), models))


@functools.partial(jax.jit, static_argnames=("apply", "config"))
def score(apply, config, meta_R, models, key):
    """See :func:`bdjax.mntd.fit.score_models`."""
    return jax.vmap(lambda meta: _score_one(apply, config, meta, models, key))(meta_R)
