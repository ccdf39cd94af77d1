"""The joint fit against a loop in NumPy with gradients by hand, and what it may see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax import prng
from bdjax.evaluation import auc
from bdjax.mntd import (
    FitConfig,
    MetaClassifier,
    Networks,
    QuerySpec,
    fit,
    score_models,
)
from bdjax.mntd.groups import batches
from bdjax.types import UserError

SHAPE, CLASSES = (2, 3, 2), 3
SPEC = QuerySpec(SHAPE, (0.0, 1.0), mean=(0.4, 0.6), std=(0.5, 0.8))
CONFIG = FitConfig(queries=4, hidden=6, epochs=2, learning_rate=0.01, repeats=3)
KEY = jax.random.key(7)


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation():
    """These programs take a second to optimise and a millisecond to run."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def linear(v, x):
    return x.reshape(len(x), -1) @ v["w"] + v["b"]


def networks(seed, benign, trojaned, *, planted=1.0):
    """Linear networks, and labels; a Trojan pulls one direction to a class of its own.

    Benign networks come first, as in an experiment.
    """
    rng = np.random.default_rng(seed)
    size = int(np.prod(SHAPE))
    labels = np.repeat([0, 1], [benign, trojaned])
    w = rng.normal(0, 0.3, (len(labels), size, CLASSES))
    direction = np.where(np.arange(size) % 3 == 0, 1.0, -0.3)
    target = np.eye(CLASSES)[rng.integers(CLASSES, size=len(labels))]
    w += planted * labels[:, None, None] * direction[:, None] * target[:, None]
    b = rng.normal(0, 0.3, (len(labels), CLASSES))
    return {"w": w.astype(np.float32), "b": b.astype(np.float32)}, labels


SHADOWS, LABELS = networks(0, 11, 9)
VALIDATION, VALIDATION_LABELS = networks(1, 5, 6)
VALIDATIONS = [Networks(linear, VALIDATION)]


def run(config=CONFIG, *, shadows=SHADOWS, labels=LABELS, spec=SPEC, key=KEY, **more):
    return fit(
        [Networks(linear, shadows)], labels, VALIDATIONS, VALIDATION_LABELS,
        spec=spec, config=config, key=key, **more,
    )  # fmt: skip


# The oracle: float64 NumPy, one network after the other, every gradient by hand.


def start(config, key, spec=SPEC):
    """What repeat ``key`` starts from."""
    shape = config.queries, *spec.shape
    noise = np.asarray(jax.random.normal(prng.stream(key, "queries"), shape), float)
    queries = np.asarray(spec.mean) + np.asarray(spec.std) * noise
    if config.clip:
        queries = np.clip(queries, *spec.value_range)
    module = MetaClassifier(config.hidden, one_class=config.mode == "one_class")
    width = config.queries * CLASSES
    variables = module.init(prng.stream(key, "classifier"), jnp.zeros(width))
    return {"queries": queries, **flat(variables)}


def flat(classifier):
    hidden, score = classifier["params"]["hidden"], classifier["params"]["score"]
    named = {
        "hidden": hidden["kernel"],
        "hidden_bias": hidden["bias"],
        "score": np.asarray(score["kernel"])[..., 0],
    }
    if "bias" in score:
        named["score_bias"] = np.asarray(score["bias"])[..., 0]
    return {k: np.asarray(v, float) for k, v in named.items()}


def forward(config, p, w, b):
    """Score, and what the way back needs."""
    answers = p["queries"].reshape(len(p["queries"]), -1) @ w + b
    if config.answers == "log_probabilities":
        answers -= np.log(np.exp(answers).sum(1, keepdims=True))
    hidden = np.maximum(answers.ravel() @ p["hidden"] + p["hidden_bias"], 0)
    return hidden @ p["score"] + p.get("score_bias", 0.0), answers, hidden


def gradient(config, p, w, slope, answers, hidden):
    """Of a loss whose derivative by the score is ``slope``."""
    behind = slope * p["score"] * (hidden > 0)
    asked = (p["hidden"] @ behind).reshape(answers.shape)
    if config.answers == "log_probabilities":
        asked = asked - np.exp(answers) * asked.sum(1, keepdims=True)
    grads = {
        "queries": (asked @ w.T).reshape(p["queries"].shape),
        "hidden": np.outer(answers, behind),
        "hidden_bias": behind,
        "score": slope * hidden,
        "score_bias": slope,
    }
    return {k: grads[k] for k in p}


def oracle(config, key, shadows=SHADOWS, labels=LABELS, *, spec=SPEC, taken=None):
    """Parameters after every epoch; ``taken[epoch]`` are its batches of rows."""
    if config.mode == "one_class" and taken is None:
        shadows = {k: v[labels == 0] for k, v in shadows.items()}
        labels = labels[labels == 0]
    w, b = (np.asarray(shadows[k], float) for k in "wb")
    p = start(config, key, spec)
    first = {k: np.zeros_like(v) for k, v in p.items()}
    second = {k: np.zeros_like(v) for k, v in p.items()}
    radius, t, epochs = 1.0, 0, []
    for epoch in range(config.epochs):
        scores = []
        draw = jax.random.fold_in(prng.stream(key, "order"), epoch)
        order = np.asarray(jax.random.permutation(draw, len(labels)))
        size = min(config.batch_size, len(order))
        batches = order[: len(order) // size * size].reshape(-1, size)
        for batch in batches if taken is None else taken[epoch]:
            total = {k: np.zeros_like(v) for k, v in p.items()}
            for m in batch:
                score, *kept = forward(config, p, w[m], b[m])
                scores.append(score)
                if config.mode == "one_class":
                    slope = -1 / config.nu if radius > score else 0.0
                else:
                    slope = 1 / (1 + np.exp(-score)) - labels[m]
                for k, g in gradient(config, p, w[m], slope, *kept).items():
                    total[k] = total[k] + g / len(batch)
            if config.mode == "one_class":
                for k in ("hidden", "hidden_bias", "score"):
                    total[k] = total[k] + p[k]
                radius = np.percentile(scores, 100 * config.nu)
            if not config.query_tuning:
                total["queries"] = np.zeros_like(p["queries"])
            t += 1
            for k, g in total.items():
                first[k] = 0.9 * first[k] + 0.1 * g
                second[k] = 0.999 * second[k] + 0.001 * g**2
                step = first[k] / (1 - 0.9**t)
                root = np.sqrt(second[k] / (1 - 0.999**t)) + 1e-8
                p = {**p, k: p[k] - config.learning_rate * step / root}
            if config.clip:
                p["queries"] = np.clip(p["queries"], *spec.value_range)
        epochs.append(p)
    return epochs


def oracle_scores(config, p, models=VALIDATION):
    pairs = zip(models["w"], models["b"], strict=True)
    scores = np.array([forward(config, p, w, b)[0] for w, b in pairs])
    return -scores if config.mode == "one_class" else scores


def assert_equals_oracle(found, config, *, spec=SPEC):
    """Every repeat: parameters of the kept epoch, AUC of each epoch, final scores."""
    for r in range(config.repeats):
        epochs = oracle(config, jax.random.fold_in(KEY, r), spec=spec)
        p = epochs[found.epoch_R[r]]
        meta = found.repeat(r)
        np.testing.assert_allclose(meta.queries, p["queries"], atol=1e-4)
        for name, value in flat(meta.classifier).items():
            np.testing.assert_allclose(value, p[name], atol=1e-4, err_msg=name)
        scores = np.array([oracle_scores(config, p) for p in epochs])
        aucs = [auc(VALIDATION_LABELS, s) for s in scores]
        np.testing.assert_allclose(found.validation_auc_RxE[r], aucs)
        np.testing.assert_allclose(
            found.validation_scores_RxV[r], scores[found.epoch_R[r]], atol=1e-4
        )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"answers": "logits"},
        {"answers": "logits", "clip": False},
        {"query_tuning": False},
        {"query_tuning": False, "clip": False, "batch_size": 3},
        {"batch_size": 6},
        {"batch_size": 64},
    ],
    ids=str,
)
def test_binary_fit_equals_the_loop(change):
    config = dataclasses.replace(CONFIG, **change)
    found = run(config)
    # An epoch after the first must be among those compared.
    assert found.epoch_R.max() == config.epochs - 1
    assert_equals_oracle(found, config)


@pytest.mark.parametrize(("nu", "clip"), [(0.1, True), (0.35, False)])
def test_one_class_fit_equals_the_loop(nu, clip):
    config = dataclasses.replace(
        CONFIG, mode="one_class", nu=nu, clip=clip, answers="logits", repeats=6
    )
    found = run(config)
    assert found.epoch_R.tolist() == [1] * 6
    assert_equals_oracle(found, config)


def test_one_class_without_tuning_equals_the_loop():
    config = dataclasses.replace(CONFIG, mode="one_class", query_tuning=False)
    assert_equals_oracle(run(config), config)


def doubling(v, x):
    """Another architecture: its variables have another name, and it doubles."""
    return linear({"w": 2 * v["kernel"], "b": v["b"]}, x)


def mixed(models, first):
    """The first so many models, and the others as that architecture's."""
    rest = {"kernel": models["w"][first:] / 2, "b": models["b"][first:]}
    return [
        Networks(linear, {k: v[:first] for k, v in models.items()}),
        Networks(doubling, rest),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"batch_size": 3},
        {"query_tuning": False},
        {"mode": "one_class", "nu": 0.5, "answers": "logits"},
    ],
    ids=str,
)
def test_shadows_of_two_architectures_equal_the_loop(change):
    config = dataclasses.replace(CONFIG, **change)
    groups, rows = mixed(SHADOWS, 7), np.arange(len(LABELS))
    if config.mode == "one_class":
        rows = rows[LABELS == 0]
    found = fit(
        groups, LABELS, mixed(VALIDATION, 4), VALIDATION_LABELS,
        spec=SPEC, config=config, key=KEY,
    )  # fmt: skip
    keys = jax.vmap(lambda r: jax.random.fold_in(KEY, r))(jnp.arange(config.repeats))
    every = [
        batches(config, epoch, KEY, keys, rows, [0, 7, 20], 1, 0)[0]
        for epoch in range(config.epochs)
    ]
    for each in every:
        # A batch is of one group, the same for all repeats, and no row comes twice.
        taken = np.asarray(each.row_RxSxB)
        np.testing.assert_array_equal((taken >= 7).all(2), (taken >= 7).any(2))
        np.testing.assert_array_equal((taken[..., 0] >= 7), [each.group_S] * 3)
        assert all(len(set(r.ravel())) == r.size for r in taken)
        assert len(rows) - taken[0].size < 2 * config.batch_size
    for r in range(config.repeats):
        epochs = oracle(config, keys[r], taken=[np.asarray(e[0][r]) for e in every])
        p = epochs[found.epoch_R[r]]
        np.testing.assert_allclose(found.repeat(r).queries, p["queries"], atol=1e-4)
        np.testing.assert_allclose(
            found.validation_scores_RxV[r], oracle_scores(config, p), atol=1e-4
        )


def test_a_network_is_asked_only_if_the_batch_is_its_own():
    asked = []

    def counted(v, x):
        jax.debug.callback(lambda: asked.append(1))
        return doubling(v, x)

    groups = mixed(SHADOWS, 14)
    groups[1] = groups[1]._replace(apply=counted)
    config = dataclasses.replace(CONFIG, epochs=1)
    fit(
        groups, LABELS, VALIDATIONS, VALIDATION_LABELS, spec=SPEC, config=config,
        key=KEY,
    )  # fmt: skip
    jax.effects_barrier()
    assert len(asked) == 6  # a step of all repeats at once is told once


def test_one_class_never_sees_trojaned_shadows():
    config = dataclasses.replace(CONFIG, mode="one_class")
    other = {k: v.copy() for k, v in SHADOWS.items()}
    for leaf in other.values():
        leaf[LABELS == 1] = np.nan
    alone = {k: v[LABELS == 0] for k, v in SHADOWS.items()}
    expected = run(config)
    for found in (
        run(config, shadows=other),
        run(config, shadows=alone, labels=LABELS[LABELS == 0]),
    ):
        jax.tree.map(np.testing.assert_array_equal, found.meta, expected.meta)


def test_one_class_keeps_the_last_epoch_though_another_was_better():
    config = dataclasses.replace(
        CONFIG, mode="one_class", epochs=6, repeats=6, learning_rate=0.03
    )
    found = run(config)
    aucs = found.validation_auc_RxE
    assert (aucs.max(1) > aucs[:, -1]).any()
    assert found.epoch_R.tolist() == [5] * 6
    scores = score_models(linear, config, found.meta, VALIDATION)
    np.testing.assert_allclose([auc(VALIDATION_LABELS, s) for s in scores], aucs[:, -1])


def test_binary_keeps_the_best_epoch_and_the_later_of_equals():
    # Two and two validation networks: the AUC has five values, so ties are certain.
    config = dataclasses.replace(CONFIG, epochs=7, repeats=6, learning_rate=0.05)
    labels = np.random.default_rng(3).permutation(LABELS)
    few = {k: v[[0, 1, 5, 6]] for k, v in VALIDATION.items()}
    told = []
    found = fit(
        [Networks(linear, SHADOWS)], labels, [Networks(linear, few)], [0, 1, 0, 1],
        spec=SPEC, config=config, key=KEY,
        callback=lambda epoch, auc_R: told.append((epoch, auc_R)),
    )  # fmt: skip
    aucs = found.validation_auc_RxE
    best = aucs == aucs.max(1, keepdims=True)
    expected = [int(np.flatnonzero(row)[-1]) for row in best]
    assert found.epoch_R.tolist() == expected
    # Not the last, not the first of equals, not one epoch for all.
    assert len(set(expected)) > 1
    assert (best.argmax(1) < expected).any()
    # The parameters and scores are those of that epoch.
    scores = score_models(linear, config, found.meta, few)
    np.testing.assert_allclose(scores, found.validation_scores_RxV, atol=1e-5)
    np.testing.assert_allclose([auc([0, 1, 0, 1], s) for s in scores], aucs.max(1))
    assert [epoch for epoch, _ in told] == list(range(7))
    np.testing.assert_array_equal(np.stack([a for _, a in told], axis=1), aucs)


def test_a_repeat_does_not_depend_on_how_many_there_are():
    three, one = run(), run(dataclasses.replace(CONFIG, repeats=1))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        one.repeat(0),
        three.repeat(0),
    )
    np.testing.assert_allclose(
        one.validation_scores_RxV[0], three.validation_scores_RxV[0], atol=1e-6
    )
    assert np.abs(three.repeat(0).queries - three.repeat(1).queries).max() > 0.1


def test_clipping_keeps_queries_in_the_range():
    inside = run().meta.queries
    assert (inside.min(), inside.max()) == SPEC.value_range
    outside = run(dataclasses.replace(CONFIG, clip=False)).meta.queries
    assert outside.min() < -0.3
    assert outside.max() > 1.2


def test_untuned_queries_stay_where_they_start():
    config = dataclasses.replace(CONFIG, query_tuning=False)
    found = run(config).meta.queries
    tuned = run().meta.queries
    for r in range(CONFIG.repeats):
        begin = start(config, jax.random.fold_in(KEY, r))["queries"]
        np.testing.assert_allclose(found[r], begin, atol=1e-6)
        assert np.abs(tuned[r] - begin).max() > 0.05


def test_no_gradient_toward_shadows_and_none_is_changed():
    @jax.custom_vjp
    def guard(w):
        return w

    def forbidden(w):
        raise AssertionError("a gradient toward a shadow's weights")

    guard.defvjp(forbidden, lambda _, g: (g,))

    def guarded(v, x):
        return linear({"w": guard(v["w"]), "b": guard(v["b"])}, x)

    with pytest.raises(AssertionError, match="toward a shadow"):
        jax.grad(lambda v: guarded(v, jnp.ones((1, *SHAPE))).sum())(
            {k: v[0] for k, v in SHADOWS.items()}
        )
    before = {k: v.copy() for k, v in SHADOWS.items()}
    fit(
        [Networks(guarded, SHADOWS)], LABELS,
        [Networks(guarded, VALIDATION)], VALIDATION_LABELS,
        spec=SPEC, config=dataclasses.replace(CONFIG, repeats=1), key=KEY,
    )  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, SHADOWS, before)


@pytest.mark.parametrize("mode", ["binary", "one_class"])
def test_every_epoch_runs_the_same_program(mode):
    def traces(epochs):
        seen = []

        def counted(v, x):
            seen.append(x)
            return linear(v, x)

        config = dataclasses.replace(CONFIG, mode=mode, epochs=epochs)
        fit(
            [Networks(counted, SHADOWS)], LABELS,
            [Networks(counted, VALIDATION)], VALIDATION_LABELS,
            spec=SPEC, config=config, key=KEY,
        )  # fmt: skip
        return len(seen)

    assert traces(3) == traces(1)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"query_tuning": False},
        {"batch_size": 4},
        {"batch_size": 8},
        {"mode": "one_class"},
    ],
    ids=str,
)
def test_a_fit_to_some_shadows_is_that_to_these_alone(change):
    config = dataclasses.replace(CONFIG, **change)
    rows = np.array([0, 12, 3, 5, 19, 13, 1])
    some = {k: v[rows] for k, v in SHADOWS.items()}
    found = run(config, rows_K=rows)
    expected = run(config, shadows=some, labels=LABELS[rows])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected
    )
    every = run(config).meta.queries
    assert np.abs(found.meta.queries - every).max() > 1e-3 or not config.query_tuning


def test_fits_to_few_and_to_all_are_one_program():
    seen = []

    def counted(v, x):
        seen.append(x)
        return linear(v, x)

    for rows, passes in ((None, 1), ([0, 19], 1), ([0, 1, 11, 12], 5)):
        fit(
            [Networks(counted, SHADOWS)], LABELS,
            [Networks(counted, VALIDATION)], VALIDATION_LABELS,
            spec=SPEC, config=CONFIG, key=KEY, rows_K=rows, passes=passes,
        )  # fmt: skip
        if rows is None:
            traced = len(seen)
    assert len(seen) == traced


def test_an_epoch_of_several_passes_is_as_many_epochs():
    config = dataclasses.replace(CONFIG, repeats=6)
    rows = np.array([2, 7, 11, 15, 16])
    joined = run(dataclasses.replace(config, epochs=2), rows_K=rows, passes=3)
    apart = run(dataclasses.replace(config, epochs=6), rows_K=rows)
    np.testing.assert_allclose(
        joined.validation_auc_RxE, apart.validation_auc_RxE[:, 2::3]
    )
    same = (joined.epoch_R == 1) & (apart.epoch_R == 5)
    assert same.any()
    np.testing.assert_allclose(
        joined.meta.queries[same], apart.meta.queries[same], atol=1e-5
    )


def test_shadows_to_fit_on_must_be_of_both_kinds():
    with pytest.raises(UserError, match="no trojaned shadow model among 3"):
        run(rows_K=[0, 1, 2])


def test_shadows_on_the_device_outlive_the_fit():
    device = jax.device_put(SHADOWS)
    first, second = run(shadows=device), run(shadows=device)
    jax.tree.map(np.testing.assert_array_equal, first.meta, second.meta)
    jax.tree.map(np.testing.assert_array_equal, device, SHADOWS)


@pytest.mark.parametrize(
    ("mode", "labels", "validation_labels", "message"),
    [
        ("binary", 0 * LABELS, VALIDATION_LABELS, "no trojaned shadow model among 20"),
        ("binary", 1 + 0 * LABELS, VALIDATION_LABELS, "no benign shadow model"),
        ("one_class", 1 + 0 * LABELS, VALIDATION_LABELS, "no benign shadow model"),
        (
            "binary",
            LABELS,
            np.zeros(11),
            "no trojaned validation shadow model among 11",
        ),
        ("one_class", LABELS, np.ones(11), "no benign validation shadow model"),
        ("one_class", LABELS, np.zeros(11), "no trojaned validation shadow model"),
    ],
)
def test_a_missing_class_is_named(mode, labels, validation_labels, message):
    config = dataclasses.replace(CONFIG, mode=mode)
    with pytest.raises(UserError, match=message):
        fit(
            [Networks(linear, SHADOWS)], labels, VALIDATIONS, validation_labels,
            spec=SPEC, config=config, key=KEY,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": 0}, "queries is 0; it must be at least 1"),
        ({"hidden": 0}, "hidden is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"repeats": -1}, "repeats is -1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0 and finite"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        (
            {"query_learning_rate": float("inf")},
            "query_learning_rate is inf; .* finite",
        ),
        ({"query_learning_rate": -1.0}, "query_learning_rate is -1.0; .* 0 or more"),
        ({"nu": 0.0}, r"nu is 0.0; it must be in \(0, 1\)"),
        ({"nu": 1.0}, "nu is 1.0"),
        ({"mode": "both"}, "unknown mode 'both'; there are"),
        ({"answers": "labels"}, "unknown answers 'labels'; there are"),
        ({"mode": "one_class", "batch_size": 2}, "batch_size is 2; the one-class"),
    ],
)
def test_a_wrong_configuration_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        FitConfig(**change)


LEARN = FitConfig(queries=4, epochs=12, learning_rate=0.01, repeats=3)


def learn(shadows, labels, validation, validation_labels, test, **change):
    config = dataclasses.replace(LEARN, **change)
    found = fit(
        [Networks(linear, shadows)], labels,
        [Networks(linear, validation)], validation_labels,
        spec=SPEC, config=config, key=KEY,
    )  # fmt: skip
    return found, score_models(linear, config, found.meta, test)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_planted_trojan_is_found_in_networks_never_seen(batch_size):
    test, labels = networks(12, 100, 100)
    _, scores = learn(
        *networks(10, 64, 64), *networks(11, 20, 20), test, batch_size=batch_size
    )
    assert min(auc(labels, s) for s in scores) > 0.9


def test_labels_without_meaning_teach_nothing():
    # Networks of one distribution, labels sorted as an experiment has them: whatever
    # the fit could read but from the networks' answers would lift the AUC.
    shadows, labels = networks(20, 64, 64, planted=0.0)
    test, test_labels = networks(22, 200, 200, planted=0.0)
    found, scores = learn(shadows, labels, *networks(21, 20, 20, planted=0.0), test)
    seen = score_models(linear, LEARN, found.meta, shadows)
    assert np.mean([auc(labels, s) for s in seen]) > 0.58  # some by heart
    # One AUC of 200 + 200 deviates by .03 from one half.
    assert np.abs(np.array([auc(test_labels, s) for s in scores]) - 0.5).max() < 0.1


def test_labels_and_models_must_be_as_many():
    with pytest.raises(UserError, match=f"{len(LABELS) - 1} labels for {len(LABELS)}"):
        run(labels=LABELS[:-1])
