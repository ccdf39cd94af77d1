"""Queries of real words: fitted, spoken to a network of text, saved.

The networks are linear in the mean of a sentence's word vectors.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax import mntd, plots
from bdjax.experiments import configurations, runner
from bdjax.experiments.overrides import change
from bdjax.mntd import FitConfig, QuerySpec, words
from bdjax.types import UserError

E, T, QUERIES = 5, 4, 3
NAMES = ("<padding>", "<unknown>", *(f"word{i}" for i in range(14)), "unheard")
VECTORS = np.random.default_rng(0).normal(size=(len(NAMES), E)).astype(np.float32) / 4
VECTORS[[0, 1, -1]] = 0  # a file of vectors lacked the last
SPEC = QuerySpec((T, E), (-1.0, 1.0), mean=0.0, std=1e-3)
CONFIG = FitConfig(
    queries=QUERIES, hidden=5, epochs=4, learning_rate=0.05, repeats=2,
    query_space="tokens",
)  # fmt: skip
LABELS = np.arange(12) % 2


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def network(v, x):
    return x.mean(1) @ v["w"] + v["b"]


def networks(seed, count):
    rng = np.random.default_rng(seed)
    w = 5 * rng.normal(size=(count, E, 1)).astype(np.float32)
    return {"w": w, "b": rng.normal(size=(count, 1)).astype(np.float32)}


def fit(vectors=VECTORS, **change):
    return mntd.fit(
        [mntd.Networks(network, networks(0, 12))], LABELS,
        [mntd.Networks(network, networks(1, 12))], LABELS,
        spec=SPEC, config=dataclasses.replace(CONFIG, **change), key=jax.random.key(6),
        vectors_VxE=vectors,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    return fit()


def make(found, **change):
    return mntd.from_fit(
        found, [mntd.Networks(network, networks(1, 12))], LABELS,
        task="mr:5:8", num_classes=1,
        spec=SPEC, config=dataclasses.replace(CONFIG, **change),
        vocabulary=(NAMES, VECTORS),
    )  # fmt: skip


@pytest.fixture(scope="module")
def detector(fitted):
    return make(fitted)


def read(sentences):
    """A stranger's network of text."""
    ids = [[NAMES.index(word) for word in text.split(" ")] for text in sentences]
    return network({k: v[0] for k, v in networks(2, 1).items()}, VECTORS[ids])


def slow_nearest(queries):
    """The real word with the greatest cosine, one by one."""
    found = []
    for query in queries.reshape(-1, E):
        cosines = [
            query @ v / np.linalg.norm(v) if v.any() else -np.inf for v in VECTORS
        ]
        found.append(int(np.argmax(cosines)))
    return np.reshape(found, queries.shape[:-1])


def is_word(vectors):
    return (vectors[..., None, :] == VECTORS[2:-1]).all(-1).any(-1)


def test_the_nearest_word_is_real():
    queries = np.random.default_rng(3).normal(size=(6, T, E)).astype(np.float32)
    np.testing.assert_array_equal(
        words.nearest(VECTORS, queries), slow_nearest(queries)
    )
    assert is_word(VECTORS[np.asarray(words.nearest(VECTORS, np.zeros((1, E))))]).all()


def test_gradients_pass_straight_through():
    query = jnp.asarray(np.random.default_rng(4).normal(size=(T, E)), jnp.float32)
    weight = jnp.arange(T * E, dtype=jnp.float32).reshape(T, E)
    value, grad = jax.value_and_grad(
        lambda q: (words.speak(jnp.asarray(VECTORS), q) * weight).sum()
    )(query)
    np.testing.assert_array_equal(grad, weight)
    wanted = (VECTORS[slow_nearest(np.asarray(query))] * np.asarray(weight)).sum()
    assert float(value) == pytest.approx(float(wanted), rel=1e-5)


def test_a_fit_asks_words_and_nothing_else(fitted):
    queries = np.asarray(fitted.meta.queries)
    assert queries.shape == (2, QUERIES, T, E)
    assert is_word(queries).all()
    # Tuning has changed words; without it they are those of the start.
    start = np.asarray(fit(query_tuning=False).meta.queries)
    assert is_word(start).all()
    assert (start != queries).any()
    # The scores that chose the epoch are those of the words.
    again = mntd.score_models(network, CONFIG, fitted.meta, networks(1, 12))
    np.testing.assert_allclose(again, fitted.validation_scores_RxV, atol=1e-5)


def test_queries_in_the_input_space_need_not_be_words():
    plain = np.asarray(fit(query_space="input").meta.queries)
    assert not is_word(plain).any()
    np.testing.assert_array_equal(
        plain, fit(vectors=None, query_space="input").meta.queries
    )


def test_a_network_of_text_is_asked_sentences(detector, tmp_path):
    seen = []
    verdict = detector.score(lambda asked: seen.append(asked) or read(asked))
    sentences, again = seen
    assert isinstance(sentences, list)
    assert again == [sentences[0], sentences[1], sentences[0]]
    assert not [r for r in verdict.reasons if "inference mode" in r]
    assert [len(text.split(" ")) for text in sentences] == [T] * QUERIES
    assert not {*" ".join(sentences).split(" ")} & {*NAMES[:2], NAMES[-1]}
    spoken = network({k: v[0] for k, v in networks(2, 1).items()}, detector.queries)
    assert verdict.score == pytest.approx(detector.judge(spoken).score, abs=1e-5)
    assert detector.asks == f"a list of {QUERIES} sentences (str) of {T} words"
    detector.save(tmp_path / "d")
    loaded = mntd.load(tmp_path / "d")
    assert loaded.sentences == detector.sentences
    assert loaded.score(read).score == verdict.score
    loaded.check_vectors(VECTORS)


def test_vectors_and_text_are_told_apart(fitted, detector):
    with pytest.raises(UserError, match=r"model failed .*asked a list of 3 sentences"):
        detector.score(lambda x: x.mean(1))
    plain = make(fit(query_space="input"), query_space="input")
    assert plain.sentences == ()
    assert plain.asked.shape == (QUERIES, T, E)
    with pytest.raises(
        UserError, match=r"asked float32 \(3, 4, 5\), sentences of word"
    ):
        plain.score(lambda sentences: [text.split() for text in sentences])
    for asked in (detector, plain):
        with pytest.raises(UserError, match="same answer") as error:
            asked.score(lambda x: np.ones((QUERIES, 1), np.float32))
        assert asked.asks in str(error.value)


def test_other_vectors_are_noticed(detector):
    detector.check_vectors(VECTORS)
    with pytest.raises(UserError, match="are not those that the detector"):
        detector.check_vectors(VECTORS[:, ::-1])
    with pytest.raises(UserError, match="these word vectors"):
        detector.check_vectors("x")
    with pytest.raises(UserError, match="has no word vectors"):
        dataclasses.replace(detector, vectors=0).check_vectors(VECTORS)


def test_words_need_a_vocabulary():
    with pytest.raises(UserError, match="the task has no vocabulary; choose 'input'"):
        fit(vectors=None)
    with pytest.raises(UserError, match="no word has a vector"):
        fit(vectors=np.zeros_like(VECTORS))
    with pytest.raises(UserError, match="unknown query_space 'words'; there are"):
        FitConfig(query_space="words")


def test_a_task_without_a_vocabulary_is_refused_before_anything_is_trained(tmp_path):
    experiment = configurations.load("mntd_mnist5k:smoke")
    spoken = change(experiment, {"fit.query_space": "tokens"})
    with pytest.raises(UserError, match="task 'mnist' has no vocabulary; leave it at"):
        runner.run(spoken, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_figures_are_drawn(detector):
    near = np.asarray(words.similarities(VECTORS, detector.queries))
    named = [[NAMES[i] for i in row] for row in near.argmax(-1)]
    figure = plots.EXAMPLES["text"].queries(named, "queries", similarity=near.max(-1))
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == " ".join(detector.sentences).split(" ")
    x = np.array([[2, 3, 4, 0, 0, 0], [5, 6, 0, 0, 0, 0]], np.int32)
    triggered = np.array([[2, 9, 3, 4, 0, 0], [5, 6, 7, 8, 0, 0]], np.int32)
    figure = plots.EXAMPLES["text"].triggers(
        x, triggered, ["M 0", "M 1"], "t", words=NAMES
    )
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == [
        *("M 0", "word0", "word7", "word1 word2"),
        *("M 1", "word3 word4", "word5 word6", ""),
    ]
