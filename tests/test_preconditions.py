"""Preconditions: what is said of networks that were not asked as they are meant to be.

And that nothing is said of those that were.
"""

import flax.linen as nn
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from bdjax.verdicts import preconditions

settings = hypothesis.settings(derandomize=True, database=None, deadline=None)
DROPOUT, BATCH = "dropout is on", "statistics of the batch are in use"


class Net(nn.Module):
    """Of what people use: BatchNorm and dropout, live in training mode."""

    rate: float = 0.3
    norm: bool = True

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(32)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(self.rate, deterministic=not train)(nn.relu(x))
        return nn.Dense(4)(x)


X = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
VARIABLES = Net().init(jax.random.key(0), X, train=False)


def ask(x, train=False, seed=7, **fields):
    return np.asarray(
        Net(**fields).apply(
            VARIABLES, x, train=train, rngs={"dropout": jax.random.key(seed)},
            mutable=["batch_stats"],
        )[0]
    )  # fmt: skip


def said(network, x=X):
    return preconditions.steady(network, x, network(x))


class TestSteady:
    def test_nothing_of_inference_mode(self):
        assert said(ask) == []

    @pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
    def test_whatever_the_number_of_inputs(self, count):
        shapes = []

        def watched(x):
            shapes.append(x.shape)
            return ask(x)

        assert said(watched, X[:count]) == []
        # As large a batch, which compiles nothing new.
        assert set(shapes) == {(count, 6)}
        for live in (dropping, lambda x: ask(x, train=True, rate=0.0)):
            assert len(said(live, X[:count])) == (count > 1)

    def test_dropout(self):
        (reason,) = said(dropping)
        assert DROPOUT in reason
        # A mask for every row, the same at every call: a key that is fixed.
        (reason,) = said(lambda x: ask(x, train=True, norm=False))
        assert DROPOUT in reason

    def test_batch_statistics(self):
        (reason,) = said(lambda x: ask(x, train=True, rate=0.0))
        assert BATCH in reason
        assert "inference mode" in reason

    def test_random_answers(self):
        rng = np.random.default_rng(0)
        (reason,) = said(lambda x: ask(x) + rng.normal(size=(len(x), 4)))
        assert DROPOUT in reason
        assert "or the network is random" in reason
        # One draw a call, of which a batch's rows share all.
        (reason,) = said(lambda x: ask(x) + rng.normal())
        assert BATCH in reason
        assert "or the network is random" in reason

    @pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
    def test_rounding_of_products_is_none_of_it(self, dtype):
        rng = np.random.default_rng(0)

        def coarse(x):
            # As where another batch sums in another order: the last bit differs.
            ulp = float(jnp.finfo(dtype).eps)
            answers = ask(x) * (1 + ulp * rng.uniform(-0.5, 0.5, (len(x), 4)))
            return answers.astype(dtype)

        assert (coarse(X) != coarse(X)).any()
        assert said(coarse) == []

    def test_lists_of_sentences(self):
        sentences = ["a b c", "b", "", "c c", "a a"]

        def length(texts):
            assert isinstance(texts, list)
            return np.array([[len(t), t.count("c")] for t in texts], float)

        assert said(length, sentences) == []
        (reason,) = said(lambda t: length(t) - length(t).mean(0), sentences)
        assert BATCH in reason

    def test_answers_that_are_no_numbers_the_second_time(self):
        answers = ask(X)
        reason = preconditions.steady(lambda x: np.full((10, 4), np.nan), X, answers)
        assert reason

    def test_huge_answers(self):
        assert said(lambda x: ask(x) * np.float32(1e38)) == []


def dropping(x, rng=np.random.default_rng(0)):  # noqa: B008
    return ask(x, train=True, norm=False, seed=int(rng.integers(1 << 30)))


def ramp(least, greatest):
    return np.linspace(least, greatest, 48).reshape(3, 4, 4, 1)


@pytest.mark.parametrize(
    ("least", "greatest", "value_range", "fine"),
    [
        (0, 1, (0, 1), True),
        (0, 255, (0, 255), True),
        (0, 1, (0, 255), False),
        (0.1, 0.9, (0, 1), True),
        (0, 0.61, (0, 1), True),  # dark, but not of another range
        (0, 0.5, (0, 1), False),
        (0, 1, (-1, 1), False),
        (-1, 1, (-1, 1), True),
        (-1, 1, (-2.5, 2.5), False),
        (-2.1, 2.6, (-2.5, 2.75), True),
        (100, 101, (0, 255), False),
    ],
)
def test_fills(least, greatest, value_range, fine):
    found = preconditions.fills(ramp(least, greatest), value_range)
    assert bool(found) is not fine
    if found:
        assert f"[{least:g}, {greatest:g}]" in found[0]
        assert f"value_range ({value_range[0]:g}, {value_range[1]:g})" in found[0]


def test_accurate():
    assert preconditions.accurate(0.5, 0.5, 10) == []
    assert preconditions.accurate(0.0, 0.0, 10) == []
    (reason,) = preconditions.accurate(0.1, 0.5, 10)
    assert "classifies 10% of the 10 given images right, below 50%" in reason


matrices = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 12), st.integers(2, 12)),
    elements=st.floats(-40, 40, width=32),
)


class TestKind:
    @settings
    @hypothesis.given(matrices, st.sampled_from([np.float16, np.float32, np.float64]))
    def test_a_softmax_is_never_taken_for_logits(self, x, dtype):
        share = special.softmax(x, axis=1)
        assert preconditions.kind_of(share.astype(dtype)) == "probabilities"
        percent = preconditions.kind_of((100 * share).astype(dtype))
        assert percent == "percentages"
        logs = special.log_softmax(x, axis=1)
        if dtype != np.float16:  # of many classes, too coarse to sum up
            assert preconditions.kind_of(logs.astype(dtype)) == "log-probabilities"

    @settings
    @hypothesis.given(matrices)
    def test_nor_is_a_sigmoid(self, x):
        share = special.expit(x)
        hypothesis.assume(np.abs(share.sum(1) - 1).max() > 0.021)
        assert preconditions.kind_of(share) == "values in [0, 1]"

    @settings
    @hypothesis.given(matrices)
    def test_logits_are_never_taken_for_probabilities(self, x):
        hypothesis.assume(x.min() < -1e-3 or x.max() > 1 + 1e-3)
        logs = special.logsumexp(x, axis=1)
        hypothesis.assume(np.abs(logs).max() > 1e-2)
        hypothesis.assume(np.abs(x.sum(1) - 100).max() > 3)
        assert preconditions.kind_of(x) == "logits"

    @settings
    @hypothesis.given(matrices, st.floats(0.5, 8))
    def test_one_honest_row_is_enough(self, x, beyond):
        x = np.concatenate([special.softmax(x, axis=1), np.full_like(x[:1], -beyond)])
        hypothesis.assume(np.abs(special.logsumexp(x, axis=1)).max() > 1e-2)
        assert preconditions.kind_of(x) == "logits"

    def test_rounding(self):
        share = np.float32([[1 + 1.2e-7, -1e-8], [0.3, 0.7]])
        assert preconditions.kind_of(share) == "probabilities"
        share[0, 0] = 0.985  # of a few digits
        assert preconditions.kind_of(share) == "probabilities"
        share[0, 0] = 0.975
        assert preconditions.kind_of(share) == "values in [0, 1]"
        whole = np.array([[34.0, 33, 33], [99, 1, 1], [0, 0, 99]])
        assert preconditions.kind_of(whole) == "percentages"
        assert preconditions.kind_of(np.array([[3e38, -3e38], [0, 1e30]])) == "logits"


class TestAlive:
    def test_dead_ones(self):
        rng = np.random.default_rng(0)
        live = np.maximum(rng.normal(size=(50, 100)), 0)
        assert preconditions.alive(live) == []
        # Most neurons of a wide layer may be dead, and 2 of 100 will do.
        some = np.where(np.arange(100) < 2, live, 0.5)
        assert preconditions.alive(some) == []
        one = np.where(np.arange(100) < 1, live, 0.5)
        (reason,) = preconditions.alive(one)
        assert "1 of 100 features move with the input: the layer is dead" in reason
        assert preconditions.alive(np.zeros((50, 100)))
        # What rounding moves is dead.
        assert preconditions.alive(1000 + 1e-5 * rng.normal(size=(50, 100)))

    def test_is_free_of_units(self):
        live = np.random.default_rng(0).normal(size=(50, 100))
        for unit in (1e-6, 1e30):
            assert preconditions.alive(unit * live) == []


class TestPenultimate:
    """A network of two hidden layers, asked noise."""

    def network(self, count=200, width=60, classes=10, dead=0, seed=0):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(count, 40))
        first = np.maximum(x @ rng.normal(size=(40, width)), 0)
        bias = np.where(np.arange(width) < dead, -1e6, 0)
        second = np.maximum(first @ rng.normal(size=(width, width)) / 6 + bias, 0)
        logits = second @ rng.normal(size=(width, classes)) + rng.normal(size=classes)
        return x, first, second, logits

    @pytest.mark.parametrize("dead", [0, 20, 59])
    @pytest.mark.parametrize("classes", [2, 10, 30])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_the_true_one_passes_with_dead_neurons(self, dead, classes, dtype):
        _, _, second, logits = self.network(dead=dead, classes=classes)
        assert (np.ptp(second, axis=0) == 0).sum() >= dead
        found = preconditions.penultimate(second.astype(dtype), logits.astype(dtype))
        assert found == []

    @pytest.mark.parametrize("seed", range(3))
    def test_layers_before_fail(self, seed):
        x, first, second, logits = self.network(seed=seed)
        for wrong in (x, first, second[:, :30], np.tanh(logits)):
            (reason,) = preconditions.penultimate(wrong, logits)
            assert "no affine function of the features" in reason
            assert "what the last dense layer reads" in reason

    def test_too_few_inputs_say_nothing(self):
        _, first, second, logits = self.network(count=100)
        assert (np.ptp(first[:70], axis=0) > 0).all()
        for count in (2, 30, 70):  # of 60 neurons and 10 classes
            some = preconditions.penultimate(first[:count], logits[:count])
            assert some == []
        assert preconditions.penultimate(first, logits) != []
        assert preconditions.penultimate(second[:71], logits[:71]) == []

    def test_the_logits_themselves_are_affine(self):
        _, _, _, logits = self.network()
        assert preconditions.penultimate(logits, logits) == []

    def test_any_unit_and_offset(self):
        _, _, second, logits = self.network()
        for unit in (1e-6, 1e6):
            assert preconditions.penultimate(unit * second, logits / unit + 5) == []
