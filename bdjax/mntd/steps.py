"""The jitted inside of a fit: asking models, and one Adam step after the other."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bdjax import prng, tree
from bdjax.logits import class_logits
from bdjax.mntd.classifier import Meta, MetaClassifier
from bdjax.mntd.config import FitConfig
from bdjax.mntd.groups import ApplyFn, Batches, of_batch, over
from bdjax.mntd.repeats import layout_of
from bdjax.mntd.words import draw, speak
from bdjax.types import PRNGKey, PyTree, Variables


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


@functools.partial(jax.jit, static_argnames=("applies", "spec", "config"))
def begin(applies, spec, config, keys_R, shadows, vectors_VxE=None):
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

        def ask_one(apply, variables):
            return ask(apply, config, variables, queries, key)

        answers = None
        if not config.query_tuning and not config.query_dropout:
            answers = over(lambda apply, _, v: ask_one(apply, v), applies, shadows)
        first = tree.index(shadows[0], 0)
        size = jax.eval_shape(lambda: ask_one(applies[0], first)).shape
        classifier = classifier_of(config).init(
            prng.stream(key, "classifier"), jnp.zeros(size)
        )
        meta = Meta(queries=queries, classifier=classifier)
        moments = optax.adam(config.learning_rate).init(meta)
        return State(meta, moments, radius=jnp.float32(1)), answers

    return jax.vmap(one)(keys_R)


@functools.partial(
    jax.jit, static_argnames=("applies", "spec", "config", "validation_applies")
)
def epoch(
    applies,
    spec,
    config,
    number,
    steps,
    keys_R,
    state_R,
    answers_R,
    shadows,
    labels_M,
    batches,
    validation_applies,
    validation,
    vectors_VxE=None,
):
    """The first ``steps`` batches and the validation scores after, all repeats.

    ``steps`` is data: one program serves however many shadows an epoch takes.
    """

    def one(mapped, shared):
        key, state, answers_M, row_SxB = mapped
        group_S, steps, (shadows, labels_M), validation, vectors_VxE = shared
        noise = jax.random.fold_in(prng.stream(key, "query-dropout"), number)
        body = functools.partial(
            _step, applies, spec, config, noise, answers_M, shadows, labels_M,
            Batches(row_SxB, group_S), vectors_VxE,
        )  # fmt: skip
        # Scores so far, for the radius.
        history = jnp.full(len(row_SxB), jnp.inf, jnp.float32)
        state, _ = jax.lax.fori_loop(0, steps, body, (state, history))
        meta = spoken(state.meta, vectors_VxE)
        return state, _score_one(validation_applies, config, meta, validation, noise)

    return layout_of(config.repeats, shadows).map(
        one,
        (keys_R, state_R, answers_R, batches.row_RxSxB),
        # Unmapped, so that the choice of a network stays one for all repeats.
        (batches.group_S, steps, (shadows, labels_M), validation, vectors_VxE),
    )


def spoken(meta, vectors_VxE):
    """The meta-classifier with queries as networks are asked them."""
    if vectors_VxE is None:
        return meta
    return meta._replace(queries=speak(vectors_VxE, meta.queries))


def _step(
    applies, spec, config, noise, answers_M, shadows, labels_M, batches, vectors_VxE,
    i, carry,
):  # fmt: skip
    """One Adam step on a minibatch of shadow models (one, as in the paper)."""
    state, history = carry
    row_B, group = batches.row_RxSxB[i], batches.group_S[i]

    def answers_of(meta):
        if answers_M is not None:
            return answers_M[row_B]
        queries = spoken(meta, vectors_VxE).queries
        if not config.query_tuning:
            queries = jax.lax.stop_gradient(queries)
        keys_B = jax.random.split(jax.random.fold_in(noise, i), len(row_B))

        def ask_batch(apply, some_B, queries):
            one = functools.partial(ask, apply, config)
            return jax.vmap(one, in_axes=(0, None, 0))(some_B, queries, keys_B)

        return of_batch(ask_batch, applies, shadows, row_B, group, queries)

    def loss_fn(meta):
        score_B = classifier_of(config).apply(meta.classifier, answers_of(meta))
        if config.mode == "one_class":
            return _one_class_loss(config, meta.classifier, score_B[0], state.radius)
        loss = optax.sigmoid_binary_cross_entropy(score_B, labels_M[row_B])
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


def _score_one(applies, config, meta, models, key):
    """Scores of groups of stacked models under one meta-classifier, float ``[M]``."""

    def score(apply, i, variables):
        noise = jax.random.fold_in(key, i)
        answers = ask(apply, config, variables, meta.queries, noise)
        return suspicion(config, meta.classifier, answers)

    return over(score, applies, models)


@functools.partial(jax.jit, static_argnames=("applies", "config"))
def score(applies, config, meta_R, models, key):
    """See :func:`bdjax.mntd.fit.score_models`."""
    return layout_of(config.repeats, models).map(
        lambda meta, shared: _score_one(applies, config, meta, *shared),
        meta_R,
        (models, key),
    )
