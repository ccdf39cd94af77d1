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
from bdjax.mntd.repeats import repeats_of
from bdjax.mntd.words import draw, speak
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
def begin(apply, spec, config, keys_R, shadows, vectors_VxE=None):
    """Initial state of every repeat; and, if they never change, all answers.

    With ``vectors_VxE`` queries are of words, and start as any.
    """

    def one(key):
        key_queries, shape = prng.stream(key, "queries"), (config.queries, *spec.shape)
        noise = jax.random.normal(key_queries, shape)
        queries = jnp.asarray(spec.mean) + jnp.asarray(spec.std) * noise
        if config.clip:
            queries = jnp.clip(queries, *spec.value_range)
        if vectors_VxE is not None:
            queries = draw(key_queries, vectors_VxE, shape[:-1])
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


@functools.partial(jax.jit, static_argnames=("config", "passes"))
def orders(config, number, keys_R, rows_K, passes):
    """Which shadows epoch ``number`` takes, batch by batch; int32 ``[R, S, B]``.

    An epoch is ``passes`` passes over ``rows_K``, each in an order of its own.
    """
    size = min(config.batch_size, len(rows_K))
    whole = len(rows_K) // size * size

    def one(key):
        numbers_P = number * passes + jnp.arange(passes)
        keys_P = prng.model_keys(prng.stream(key, "order"), numbers_P)
        order_PxK = jax.vmap(jax.random.permutation, (0, None))(keys_P, rows_K)
        return order_PxK[:, :whole].reshape(-1, size)

    return jax.vmap(one)(keys_R)


@functools.partial(jax.jit, static_argnames=("apply", "spec", "config"))
def epoch(
    apply,
    spec,
    config,
    number,
    steps,
    keys_R,
    state_R,
    answers_R,
    shadows,
    labels_M,
    order_RxSxB,
    validation,
    vectors_VxE=None,
):
    """The first ``steps`` of an order and the validation scores after, all repeats.

    ``steps`` is data: one program serves however many shadows an epoch takes.
    """

    def one(key, state, answers_M, order_SxB, steps, models, validation, vectors_VxE):
        shadows, labels_M = models
        noise = jax.random.fold_in(prng.stream(key, "query-dropout"), number)
        body = functools.partial(
            _step, apply, spec, config, noise, answers_M, shadows, labels_M, order_SxB,
            vectors_VxE,
        )  # fmt: skip
        # Scores so far, for the radius.
        history = jnp.full(len(order_SxB), jnp.inf, jnp.float32)
        state, _ = jax.lax.fori_loop(0, steps, body, (state, history))
        meta = spoken(state.meta, vectors_VxE)
        return state, _score_one(apply, config, meta, validation, noise)

    return repeats_of(config.repeats, shadows).over(
        one,
        (keys_R, state_R, answers_R, order_RxSxB),
        (steps, (shadows, labels_M), validation, vectors_VxE),
    )


def spoken(meta, vectors_VxE):
    """The meta-classifier with queries as networks are asked them."""
    if vectors_VxE is None:
        return meta
    return meta._replace(queries=speak(vectors_VxE, meta.queries))


def _step(
    apply, spec, config, noise, answers_M, shadows, labels_M, order_SxB, vectors_VxE,
    i, carry,
):  # fmt: skip
    """One Adam step on a minibatch of shadow models (one, as in the paper)."""
    state, history = carry
    order_B = order_SxB[i]

    def answers_of(meta):
        if answers_M is not None:
            return answers_M[order_B]
        queries = spoken(meta, vectors_VxE).queries
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
    if config.query_learning_rate:
        # Adam's updates are in proportion to its rate.
        ratio = config.query_learning_rate / config.learning_rate
        updates = updates._replace(queries=ratio * updates.queries)
    meta = optax.apply_updates(state.meta, updates)
    if config.clip:
        meta = meta._replace(queries=jnp.clip(meta.queries, *spec.value_range))
    history = history.at[i].set(score)
    radius = state.radius
    if config.mode == "one_class":
        radius = _quantile(history, i + 1, config.nu)
    return State(meta, moments, radius), history


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
    one = functools.partial(_score_one, apply, config)
    return repeats_of(config.repeats, models).over(one, (meta_R,), (models, key))
