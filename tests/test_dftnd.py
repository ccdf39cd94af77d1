"""DF-TND: the official update against NumPy, selective weights, answers, bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle_dftnd import TwoLayer, official

from bdjax.tnd import simplex
from bdjax.tnd.activation_maximization import ActivationMaximization
from bdjax.tnd.config import Execution
from bdjax.tnd.dfconfig import DFTNDConfig
from bdjax.tnd.dftnd import df_tnd, label_scores
from bdjax.tnd.network import Network
from bdjax.tnd.references import calibration_for
from bdjax.tnd.sign_ascent import Seeds, SignAscent
from bdjax.tnd.solver import solve
from bdjax.types import UserError
from bdjax.verdicts import Calibration

SHAPE, CLASSES, HIDDEN, TARGET = (4, 3, 2), 8, 40, 3
ONE = Execution(devices=1)


def features(variables, x):
    hidden = x.reshape(len(x), -1) @ variables["first"] + variables["bias"]
    return jax.nn.relu(hidden)


def apply(variables, x):
    return features(variables, x) @ variables["second"]


NETWORK = Network(apply, features, (0.0, 1.0))


def tiny(seed=0, trojan=False):
    """A random network; the Trojan's has three neurons for the trigger pixel."""
    network = TwoLayer(seed, int(np.prod(SHAPE)), HIDDEN, CLASSES)
    if trojan:
        network.first[:, :3] = 0
        network.first[5, :3] = 8
        network.bias[:3] = -5
        network.second[:3] = 0
        network.second[:3, TARGET] = 4
    names = ("first", "bias", "second")
    variables = {k: jnp.asarray(getattr(network, k), jnp.float32) for k in names}
    return network, variables


def ask(variables, **changes):
    settings = dict(
        input_shape=SHAPE,
        num_classes=CLASSES,
        value_range=(0.0, 1.0),
        features=features,
        config=DFTNDConfig(),
        execution=ONE,
    )
    settings.update(changes)
    function = settings.pop("apply", apply)
    return df_tnd(function, variables, **settings)


def seeds(network, count=10, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (count, *SHAPE)).astype(np.float32)
    noise = rng.normal(0, 1e-6, x.shape).astype(np.float32)
    return x, noise, np.full(HIDDEN, 1 / HIDDEN, np.float32)


@pytest.mark.parametrize(("first", "second"), [(101, 0), (61, 40)])
@pytest.mark.parametrize("gamma", [1e-3, 3e-3])
def test_official_update_is_the_slow_transcription(first, second, gamma):
    network, variables = tiny(1)
    x, noise, weights = seeds(network)
    problem = SignAscent(NETWORK, first, second, gamma)
    cases = Seeds(x[None], noise[None], weights[None])
    got = solve(problem, cases, variables, execution=ONE)
    mask, pattern, w, _ = official(
        network, x.astype(float), noise.astype(float), gamma, first, second
    )
    np.testing.assert_allclose(got.mask[0], mask, atol=1e-5)
    np.testing.assert_allclose(got.pattern[0], pattern, atol=1e-5)
    np.testing.assert_allclose(got.weights[0], w, atol=1e-5)
    # Not by having stood still, nor by being all alike.
    assert mask.std() > 0.05
    assert len(np.unique(pattern.round(1))) > 10
    assert 0 < (w == 0).sum() < HIDDEN


def weights_after(problem, iterations):
    """Neuron weights after each of some numbers of iterations."""
    network, variables = tiny(1)
    x, noise, weights = seeds(network)
    cases = Seeds(x[None], noise[None], weights[None])
    state, step, found = problem.init(cases, variables), jax.jit(problem.step), []
    for i in range(max(iterations)):
        state = step(jnp.int32(i), state, cases, variables)
        if i + 1 in iterations:
            found.append(np.asarray(state.weights[0]))
    return found


def test_official_weights_stay_uniform_over_the_active_neurons():
    (w,) = weights_after(SignAscent(NETWORK, 100, 0, 1e-3), (100,))
    active = w > 1e-5
    assert HIDDEN / 2 < active.sum() < HIDDEN
    # But for one or two that came late, of whose share little is free.
    np.testing.assert_allclose(np.quantile(w[active], 0.1), w.max(), rtol=1e-5)
    assert simplex.effective_number(w) > 0.9 * active.sum()


@pytest.mark.parametrize(("geometry", "rate"), [("mirror", 0.3), ("euclidean", 0.05)])
def test_our_weights_become_selective(geometry, rate):
    problem = ActivationMaximization(NETWORK, 100, 0, 1e-3, 0.05, rate, geometry, False)
    number = [simplex.effective_number(w) for w in weights_after(problem, (1, 10, 100))]
    assert number[0] > HIDDEN / 2
    assert number[0] > 1.5 * number[1] > 3 * number[2]
    assert number[2] < 4


def test_projections_onto_the_simplex():
    rng = np.random.default_rng(0)
    w = rng.normal(0, 1, (50, 7)).astype(np.float32)
    near = np.asarray(simplex.euclidean(jnp.asarray(w)))
    np.testing.assert_allclose(near.sum(1), 1, atol=1e-6)
    assert (near >= 0).all()
    others = rng.dirichlet(np.ones(7), 200)
    distance = ((w[:, None] - others) ** 2).sum(-1).min(1)
    assert (((w - near) ** 2).sum(1) <= distance).all()
    np.testing.assert_allclose(simplex.euclidean(jnp.asarray(near)), near, atol=1e-6)
    high = np.abs(w) + 0.5
    np.testing.assert_allclose(
        simplex.bisection(jnp.asarray(high)), simplex.euclidean(high), atol=3e-6
    )
    # It can lower the sum but not raise it.
    np.testing.assert_allclose(
        simplex.bisection(jnp.asarray([0.2, -0.1, 0.3])), [0.2, 0, 0.3], atol=2e-6
    )
    moved = simplex.mirror(jnp.asarray([0.5, 0.5, 0.0]), jnp.asarray([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(moved, [0.731, 0.269, 0], atol=1e-3)


def test_a_trojan_stands_out_and_its_target_is_named():
    # On dark images the trigger's neurons are dead, and have no gradient.
    lit = DFTNDConfig(brightness=(0.5,))
    for seed in (0, 3):
        clean = ask(tiny(seed)[1], config=lit)
        trojaned = ask(tiny(seed, trojan=True)[1], config=lit)
        assert clean.score < trojaned.score
        between = (clean.score + trojaned.score) / 2
        config = dataclasses.replace(lit, threshold=between)
        assert ask(tiny(seed)[1], config=config).is_trojaned is False
        verdict = ask(tiny(seed, trojan=True)[1], config=config)
        assert verdict.is_trojaned is True
        assert verdict.target_labels == (TARGET,)
        assert verdict.notes == ()


@pytest.mark.parametrize("parity", ["bdjax", "official"])
def test_what_is_returned_fits_together(parity):
    _, variables = tiny(trojan=True)
    low, high = -3.0, 5.0

    def rescaled(function):
        return lambda variables, x: function(variables, (x - low) / (high - low))

    config = DFTNDConfig(
        parity=parity, iterations=30, second_iterations=5, seeds=4, threshold=0.1
    )
    count = 4 * len(config.brightness)
    got = ask(
        variables,
        apply=rescaled(apply),
        features=rescaled(features),
        value_range=(low, high),
        config=config,
    )
    plain = ask(variables, config=config)
    np.testing.assert_allclose(got.label_scores, plain.label_scores, rtol=1e-3)
    for name in ("seeds", "recovered"):
        value = getattr(got, name)
        assert value.shape == (count, *SHAPE)
        assert value.min() >= low
        assert value.max() <= high
        assert value.max() > 1
    mixed = (1 - got.masks) * got.seeds + got.masks * got.patterns
    np.testing.assert_allclose(np.clip(mixed, low, high), got.recovered, atol=1e-4)
    increase = rescaled(apply)(variables, got.recovered) - rescaled(apply)(
        variables, got.seeds
    )
    np.testing.assert_allclose(got.logit_increase.T, increase, atol=1e-3)
    start = rescaled(apply)(variables, got.seeds)
    np.testing.assert_allclose(
        got.label_scores,
        label_scores(
            got.logit_increase, config, np.asarray(start).T, len(config.brightness)
        ),
        rtol=1e-4,
    )
    assert got.weights.shape == (HIDDEN,)
    assert got.score == got.label_scores.max()
    assert got.is_trojaned is bool(got.score > 0.1)
    above = np.flatnonzero(got.label_scores > 0.1)
    assert set(got.target_labels) == set(above.tolist())
    assert got.target_labels[0] == got.label_scores.argmax()


def test_starts_are_of_the_brightness_asked_for():
    config = DFTNDConfig(brightness=(0.5, 0.1, 0.0), seeds=8, iterations=1)
    found = ask(tiny()[1], config=config).seeds.reshape(3, 8, -1)
    assert found.mean((1, 2)) == pytest.approx([0.5, 0.1, 0.0], abs=0.03)
    assert (found.min(), found[1].max() > 0.8) == (0, True)
    for wrong in ((), (1.0,), (-0.1, 0.5)):
        with pytest.raises(UserError, match="brightness"):
            DFTNDConfig(brightness=wrong)


def test_a_rise_counts_in_units_of_what_noise_is_answered():
    config = DFTNDConfig(brightness=(0.5, 0.0), seeds=1)
    rise = np.array([[10.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    # The first kind was answered with great confidence, the second not at all.
    start = np.array([[30.0, 0.0], [0.0, 0.0], [-30.0, 0.0]])
    first = 10 / np.hypot(np.std([10, 0, 0]), np.std([30, 0, -30]))
    second = -3 / np.std([0, 3, 0])
    found = label_scores(rise, config, start, 2)
    assert found[0] == pytest.approx((first + second) / 2, rel=1e-5)
    # Images of the caller's own are of one kind.
    own = label_scores(rise[:, :1], config, start[:, :1])
    assert own[0] == pytest.approx(first, rel=1e-5)


def test_scores_by_hand():
    increase = np.array([[1.0, 3.0], [10.0, 14.0], [0.0, 0.0], [-2.0, -4.0]])
    raw = DFTNDConfig(normalize="none", score="increase")
    np.testing.assert_allclose(label_scores(increase, raw), [2, 12, 0, -3])
    gap = dataclasses.replace(raw, score="gap")
    np.testing.assert_allclose(label_scores(increase, gap), [-10, 10, -12, -15])
    spread = dataclasses.replace(gap, normalize="spread")
    np.testing.assert_allclose(
        label_scores(increase, spread),
        np.array([-10, 10, -12, -15]) / np.std([2, 12, 0, -3]),
        rtol=1e-6,
    )
    # Free of the unit of the logits.
    np.testing.assert_allclose(
        label_scores(1000 * increase, spread), label_scores(increase, spread), rtol=1e-5
    )
    np.testing.assert_array_equal(label_scores(0 * increase, spread), 0)


def test_compiles_once_for_networks_of_an_architecture():
    traced = []

    def counted(variables, x):
        traced.append(x.shape)
        return apply(variables, x)

    ask(tiny(0)[1], apply=counted)
    first = len(traced)
    ask(tiny(1)[1], apply=counted)
    # Only what the checks look at, which compile nothing: a value and a gradient.
    assert len(traced) - first <= 2


def test_the_answer_is_that_of_the_key():
    _, variables = tiny()
    default, first, same, other = (
        ask(variables, key=key)
        for key in (None, jax.random.key(0), jax.random.key(0), jax.random.key(1))
    )
    for name in ("label_scores", "masks", "patterns", "weights", "seeds"):
        np.testing.assert_array_equal(getattr(first, name), getattr(same, name))
        np.testing.assert_array_equal(getattr(first, name), getattr(default, name))
    assert not np.array_equal(first.seeds, other.seeds)
    assert first.score != other.score


def test_execution_does_not_change_the_answer():
    _, variables = tiny(1)
    one = ask(variables)
    for execution in (Execution(stride=7), Execution(label_batch=1), Execution()):
        other = ask(variables, execution=execution)
        np.testing.assert_allclose(one.label_scores, other.label_scores, rtol=1e-4)


def test_images_stand_in_for_noise_and_stages_and_masks_are_options():
    _, variables = tiny()
    x = np.random.default_rng(0).uniform(0, 1, (3, *SHAPE))
    got = ask(variables, images=x)
    np.testing.assert_allclose(got.seeds, x, atol=1e-6)
    assert got.logit_increase.shape == (CLASSES, 3)
    assert np.ptp(got.masks, axis=0).max() > 0
    shared = ask(
        variables, images=x, config=DFTNDConfig(iterations=5, shared_mask=True)
    )
    assert np.ptp(shared.masks, axis=0).max() == 0
    calls = []
    for average in (False, True):
        ask(
            variables,
            config=DFTNDConfig(iterations=5, average=average, second_iterations=4),
            progress=lambda done, total: calls.append((done, total)),
        )
    assert (5, 5) in calls
    assert calls[-1] == (9, 9)


def test_second_stage_starts_from_the_means():
    _, variables = tiny()
    config = DFTNDConfig(iterations=20, average=True, second_iterations=1)
    spread = [
        np.ptp(ask(variables, config=c).patterns, axis=0).max()
        for c in (dataclasses.replace(config, average=False), config)
    ]
    assert spread[1] <= 2 * config.learning_rate + 1e-6 < spread[0]


def test_a_penalty_that_leaves_no_mask_is_inconclusive():
    got = ask(tiny()[1], config=DFTNDConfig(sparsity=100.0, threshold=0.0))
    np.testing.assert_array_equal(got.label_scores, 0)
    assert got.is_trojaned is None
    assert "lower config.sparsity" in got.reasons[0]
    assert got.doubts == got.reasons


def test_without_features_the_logits_stand_in_and_it_says_so():
    _, variables = tiny()
    config = DFTNDConfig(threshold=-9.0)
    got = ask(variables, features=None, config=config)
    assert got.weights.shape == (CLASSES,)
    assert got.is_trojaned is None
    assert "the logits stood for neurons" in got.reasons[0]
    assert ask(variables, config=config).notes == ()


def test_without_references_and_threshold_there_is_no_verdict():
    got = ask(tiny()[1], config=DFTNDConfig(parity="official", iterations=3))
    assert (got.is_trojaned, got.threshold) == (None, 100)
    assert "no benign references are built in" in got.reasons[-1]


def test_references_hold_for_starts_from_noise_and_about_as_many_classes():
    config = DFTNDConfig()
    noise = ask(tiny()[1], config=config)
    assert noise.references > 0
    assert not any("benign references" in reason for reason in noise.reasons)
    x = np.random.default_rng(0).uniform(0, 1, (3, *SHAPE))
    images = ask(tiny()[1], config=config, images=x)
    assert images.references == 0
    assert "no benign references are built in" in images.reasons[-1]
    assert images.settings == noise.settings | {"images_given": True}
    # Nor are they compared with a caller's own references of noise.
    own = Calibration(np.arange(20.0), 9.0, 9.0, "a test", noise.settings)
    assert ask(tiny()[1], config=config, calibration=own).reasons == ()
    with pytest.raises(UserError, match="images_given"):
        ask(tiny()[1], config=config, images=x, calibration=own)
    many, reasons = calibration_for(config, num_classes=100)
    assert many.references == noise.references
    assert "100 classes, and the built-in references 10" in reasons[0]


def test_features_that_are_not_the_last_layers_are_inconclusive():
    _, variables = tiny()
    config = DFTNDConfig(threshold=-9.0, iterations=3)

    def first(variables, x):
        return x.reshape(len(x), -1) @ variables["first"][:, :10]

    got = ask(variables, features=first, config=config)
    assert got.is_trojaned is None
    assert "must be the penultimate layer" in got.reasons[0]

    got = ask(variables, features=apply, config=config)
    assert "features are the logits" in got.reasons[0]
    got = ask(variables, features=lambda variables, x: x, config=config)
    assert "is [N, D]" in got.reasons[0]

    def dead(variables, x):
        return jnp.ones((len(x), 50)).at[:, 0].set(x.mean((1, 2, 3)))

    got = ask(variables, features=dead, config=config)
    assert got.is_trojaned is None
    assert "1 of 50 features move with the input" in got.reasons[0]


def test_of_few_classes_there_is_no_verdict():
    """The gap over the spread of two labels is 2, of whatever network."""
    _, variables = tiny()
    variables["second"] = variables["second"][:, :2]
    config = DFTNDConfig(normalize="spread", threshold=0.0)
    got = ask(variables, num_classes=2, config=config)
    assert got.score == pytest.approx(2)
    assert got.is_trojaned is None
    assert "2 classes are too few" in got.reasons[0]
    free = dataclasses.replace(config, normalize="none")
    assert ask(variables, num_classes=2, config=free).is_trojaned is True


def test_infinite_logits_of_what_was_recovered():
    def fragile(variables, x):
        # Finite on noise, which has no pixel at the very border.
        return apply(variables, x) + jnp.log(1 - x.max((1, 2, 3)))[:, None] * 1e-9

    with pytest.raises(UserError, match="infinite logits for recovered images"):
        ask(tiny(trojan=True)[1], apply=fragile)


def nan_for_seeds(variables, x):
    return apply(variables, x) / 0.0 - jnp.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": (4, 3)}, r"input_shape is \(4, 3\); it must be \(H, W, C\)"),
        ({"input_shape": 4}, "input_shape is 4"),
        ({"input_shape": (4, 3, 0)}, "three whole numbers above 0"),
        ({"input_shape": (5, 3, 2)}, r"apply cannot be traced.*\(24, 5, 3, 2\)"),
        ({"num_classes": 1}, "num_classes is 1; it must be at least 2"),
        ({"num_classes": 5}, r"it must be \(24, 5\)"),
        ({"value_range": (1.0, 0.0)}, "value_range is"),
        ({"images": np.zeros((2, 4, 4, 2))}, r"with input_shape \(4, 3, 2\)"),
        ({"images": np.full((2, *SHAPE), 3.0)}, "outside value_range"),
        ({"images": np.full((2, *SHAPE), np.nan)}, "images hold NaN"),
        ({"images": np.zeros(SHAPE)}, r"must be \[N, H, W, C\]"),
        ({"apply": nan_for_seeds}, "NaN or infinite logits for 24 of 24"),
        ({"apply": lambda v, x: jnp.zeros((len(x), CLASSES))}, "constant network"),
        (
            {"apply": lambda v, x: np.asarray(x).reshape(len(x), -1)[:, :CLASSES]},
            "apply cannot be traced or .*black-box detector, bdjax.mntd",
        ),
        (
            {"features": lambda v, x: features(v, x) * jnp.nan},
            "features gives NaN or infinite activations",
        ),
        ({"features": lambda v, x: features(v, x).sum()}, "its first axis"),
        ({"features": lambda v, x: float(x.sum())}, "features cannot be traced"),
    ],
)
def test_mistakes_are_named_in_one_line(changes, message):
    _, variables = tiny()
    with pytest.raises(UserError, match=message) as error:
        ask(variables, **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parity": "paper"}, "unknown parity 'paper'"),
        ({"seeds": 0}, "seeds is 0; it must be at least 1"),
        ({"iterations": 0}, "iterations is 0"),
        ({"second_iterations": -1}, "second_iterations is -1"),
        ({"sparsity": -1.0}, "sparsity is -1.0; it must be finite, 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"weight_rate": float("inf")}, "weight_rate is inf"),
        ({"geometry": "flat"}, "unknown geometry 'flat'"),
        ({"normalize": "l2"}, "unknown normalize 'l2'"),
        ({"score": "best"}, "unknown score 'best'"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"threshold": -float("inf")}, "threshold is -inf; it must be finite"),
    ],
)
def test_mistakes_in_the_config_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        DFTNDConfig(**changes)
