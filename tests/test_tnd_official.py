"""``parity="official"`` against the published update rules in slow NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle_dltnd as oracle
import pytest

from bdjax import tnd
from bdjax.tnd.alternating import Alternating
from bdjax.tnd.minimal_mask import Images
from bdjax.tnd.network import Network
from bdjax.tnd.solver import solve

SHAPE, CLASSES = (3, 3, 2), 3
NET = oracle.TanhNet(0, 18, 8, CLASSES)
WEIGHTS = {"first": NET.first, "second": NET.second}


@pytest.fixture(autouse=True)
def double_precision():
    """Adam divides by the gradient's size: what is rounded early on grows."""
    with jax.enable_x64(True):
        yield


def apply(weights, x):
    hidden = jnp.tanh((x.reshape(len(x), -1) / 255 - 0.5) @ weights["first"])
    return hidden @ weights["second"]


def some_images(seed=1, each=2):
    """Images that the network tells apart, ``each`` of every class."""
    rng = np.random.default_rng(seed)
    found = [[] for _ in range(CLASSES)]
    while min(map(len, found)) < each:
        x = rng.integers(0, 256, SHAPE).astype(np.float32)
        found[int(NET.logits(x).argmax())].append(x)
    images = np.stack([x for f in found for x in f[:each]])
    return images, np.repeat(np.arange(CLASSES), each).astype(np.int32)


IMAGES, LABELS = some_images()
NETWORK = Network(apply, None, (0.0, 255.0), 255.0)


def solved(**changes):
    options = dict(
        network=NETWORK, universal=True, iterations=101, searches=8, success=0.7,
        learning_rate=1e-2, official=True,
    )  # fmt: skip
    problem = Alternating(**options | changes)
    cases, shared = (
        np.arange(CLASSES, dtype=np.int32),
        Images(WEIGHTS, IMAGES.astype(float), LABELS),
    )
    return solve(problem, cases, shared, execution=tnd.Execution(stride=101))


@functools.cache
def published(k):
    return oracle.universal(NET, IMAGES, LABELS, k)


def test_universal_problem_is_the_published_one():
    state = solved()
    outcomes = set()
    for k in range(CLASSES):
        for s, (c, m, d, ok) in enumerate(published(k)):
            outcomes.add(ok)
            assert state.constants[k, s] == pytest.approx(c, rel=1e-6)
            assert bool(state.hits[k, s]) == ok
            np.testing.assert_allclose(state.masks[k, s, 0], m, atol=1e-5)
            np.testing.assert_allclose(state.patterns[k, s, 0], d, atol=1e-5)
    assert outcomes == {True, False}  # both branches of the search were taken


def test_per_image_problem_is_the_published_one():
    state = solved(universal=False, searches=1, learning_rate=0.1, first=1.0)
    for k in range(CLASSES):
        for n in np.flatnonzero(k != LABELS):
            m, d = oracle.per_image(NET, IMAGES[n], k)
            np.testing.assert_allclose(state.mask[k, n], m, atol=1e-5)
            np.testing.assert_allclose(state.pattern[k, n], d, atol=1e-5)
    assert state.mask.max() == 1.0  # it moves at all, see the next test


def test_a_counter_each_would_undo_every_step():
    """Why parity matters: with counters of their own no per-image mask appears."""

    class Separate(oracle.SharedAdam):
        def step(self, name, value, grad):
            self.counts = getattr(self, "counts", {})
            self.counts[name] = self.applied = self.counts.get(name, 0)
            value = super().step(name, value, grad)
            self.counts[name] = self.applied
            return value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "SharedAdam", Separate)
        separate = oracle.per_image(NET, IMAGES[0], 1)[0]
    assert separate.max() < 0.05
    assert oracle.per_image(NET, IMAGES[0], 1)[0].max() > 0.5


def test_verdict_scores_by_the_published_rule():
    verdict = tnd.dl_tnd(
        apply, WEIGHTS, IMAGES, LABELS, num_classes=CLASSES, value_range=(0, 255),
        config=tnd.DLTNDConfig(parity="official"),
    )  # fmt: skip
    found = [published(k) for k in range(CLASSES)]
    areas = np.array([[m.sum() for _, m, _, _ in f] for f in found])
    best = areas[areas > 0.5].min()
    for k in range(CLASSES):
        others = [x for x, y in zip(IMAGES, LABELS, strict=True) if y != k]
        rows = [[oracle.similarity(NET, x, k, f) for x in others] for f in found[k]]
        succeeded = [s for s, f in enumerate(found[k]) if f[3] and areas[k, s] > 0.5]
        first = min(succeeded, key=lambda s: areas[k, s]) if succeeded else 7
        chosen = first
        for s in range(8):
            near = areas[k, s] < 1.1 * best
            if near and np.quantile(rows[s], 0.25) > np.median(rows[first]):
                chosen = s
        assert verdict.label_scores[k] == pytest.approx(
            np.quantile(rows[chosen], 0.25), abs=1e-4
        )
        assert verdict.mask_area[k] == pytest.approx(areas[k, chosen], abs=1e-3)
    fired = [k for k in range(CLASSES) if verdict.label_scores[k] > 0.75]
    assert fired
    # The published threshold ranks labels; what it is worth nothing is known of.
    assert verdict.threshold == 0.75
    order = np.argsort(-verdict.label_scores).tolist()
    assert verdict.target_labels == tuple(order[: len(fired)])
    assert verdict.is_trojaned is None
    assert "no benign references are built in" in verdict.reasons[-1]
    assert "published threshold" in str(verdict)


def test_a_threshold_given_is_the_published_rule():
    verdict = tnd.dl_tnd(
        apply, WEIGHTS, IMAGES, LABELS, num_classes=CLASSES, value_range=(0, 255),
        config=tnd.DLTNDConfig(parity="official", threshold=0.75),
    )  # fmt: skip
    assert verdict.is_trojaned is True
    assert verdict.score > 0.75
    assert verdict.reasons == ()
