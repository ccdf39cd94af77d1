"""The saved detector: one callable in, one verdict out, or one line that says why not.

The networks are linear, on inputs of three by two pixels.
"""

import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax import mntd, storage
from bdjax.evaluation import best_threshold
from bdjax.mntd import FitConfig, QuerySpec
from bdjax.mntd.answers import check_answers
from bdjax.mntd.classifier import Meta
from bdjax.mntd.coverage import Coverage, covering
from bdjax.mntd.steps import classifier_of
from bdjax.types import UserError
from bdjax.verdicts import Calibration, Conclusion, by_threshold

SHAPE, CLASSES, QUERIES = (3, 2, 1), 3, 4
SPEC = QuerySpec(SHAPE, (0.0, 1.0), mean=0.4, std=0.5)
CONFIG = FitConfig(queries=QUERIES, hidden=5, epochs=3, learning_rate=0.05, repeats=4)


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def linear(v, x):
    return x.reshape(len(x), -1) @ v["w"] + v["b"]


def networks(seed, count):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(count, int(np.prod(SHAPE)), CLASSES)).astype(np.float32)
    return {"w": w, "b": rng.normal(size=(count, CLASSES)).astype(np.float32)}


LABELS = np.arange(14) % 2
VALIDATION_LABELS = np.array([1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0])
VALIDATION = len(VALIDATION_LABELS)
STRANGER = {k: v[0] for k, v in networks(2, 1).items()}


def make(**change):
    config = dataclasses.replace(CONFIG, **change)
    found = mntd.fit(
        [mntd.Networks(linear, networks(0, 14))], LABELS,
        [mntd.Networks(linear, networks(1, VALIDATION))], VALIDATION_LABELS,
        spec=SPEC, config=config, key=jax.random.key(6),
    )  # fmt: skip
    return found, detector_of(found, config)


def detector_of(found, config=CONFIG):
    return mntd.from_fit(
        found, [mntd.Networks(linear, networks(1, VALIDATION))], VALIDATION_LABELS,
        task="mnist", num_classes=CLASSES, spec=SPEC, config=config,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    return make()


@pytest.fixture(scope="module")
def detector(fitted):
    """As if it told shadow models apart: so few epochs on so few prove nothing."""
    return dataclasses.replace(fitted[1], validation_auc=1.0)


def stranger(x):
    return linear(STRANGER, x)


@pytest.fixture(scope="module")
def knowing(detector):
    """The detector, with a single threshold, to which the stranger is familiar."""
    return dataclasses.replace(
        detector,
        calibration=by_threshold(detector.threshold, "a test"),
        coverage=detector.coverage.extended(stranger(detector.queries)[None]),
    )


def test_the_best_repeat_by_validation_becomes_the_detector(fitted):
    found, detector = fitted
    aucs = found.validation_auc_RxE.max(1)
    assert len(set(aucs)) > 1
    assert detector.repeat == aucs.argmax()
    assert detector.repeat == 1
    assert detector.validation_auc == aucs.max()
    jax.tree.map(
        np.testing.assert_array_equal, detector.meta, found.repeat(detector.repeat)
    )


def test_of_equal_repeats_the_first_becomes_the_detector(fitted):
    found, _ = fitted
    equal = found._replace(validation_auc_RxE=np.full((4, 3), 0.5))
    assert detector_of(equal).repeat == 0


def test_calibration_and_coverage_come_from_validation_shadows(fitted, detector):
    found, _ = fitted
    scores = found.validation_scores_RxV[detector.repeat]
    benign, trojaned = (scores[label == VALIDATION_LABELS] for label in (0, 1))
    assert detector.benign_scores.tolist() == sorted(benign.tolist())
    # From where no benign one scores and at most a quarter of the trojaned; up to
    # where they are parted best.
    assert detector.threshold >= benign.max()
    assert detector.threshold >= np.quantile(trojaned, 0.75)
    assert detector.threshold in (benign.max(), np.quantile(trojaned, 0.75))
    least = min(benign.max(), best_threshold(VALIDATION_LABELS, scores))
    assert detector.calibration.grey == least
    assert detector.calibration.source.startswith("6 benign validation shadow models")
    assert detector.coverage.answers.shape == (VALIDATION, QUERIES, CLASSES)
    verdict = detector.score(stranger)
    assert verdict.calibration is detector.calibration
    # What was calibrated on, put to the detector as a stranger, scores as it did.
    models = networks(1, VALIDATION)
    for v in range(VALIDATION):
        again = detector.score(
            lambda x, v=v: linear({k: a[v] for k, a in models.items()}, x)
        )
        assert again.score == pytest.approx(scores[v], abs=1e-4)
        # And of what the detector knows, nothing but the grey zone is in doubt.
        assert [r for r in again.reasons if "grey zone" not in r] == []


def test_percentile_counts_benign_scores_up_to_this_one(detector):
    score = detector.score(stranger).score
    for offsets, percentile in [
        ((-2, -1, 1, 2), 50),
        ((-2, -1, 0, 2), 75),  # an equal one is no more suspicious
        ((1, 2, 3, 4), 0),
        ((-4, -3, -2, -1), 100),
    ]:
        benign = score + np.array(offsets, float)
        calibration = Calibration(benign, 0.0, 0.0, "a test")
        changed = dataclasses.replace(detector, calibration=calibration)
        assert changed.score(stranger).percentile == percentile


def test_trojaned_means_above_the_threshold(knowing):
    score = knowing.score(stranger).score
    below = float(np.nextafter(score, -np.inf))
    for grey, threshold, trojaned in [
        (score, score, False),
        (below, below, True),
        (score + 1, score + 1, False),
        (score - 1, score - 1, True),
        (below, score, None),
        (score - 1, score + 1, None),
        (score - 2, score - 1, True),
        (score, score + 1, False),
    ]:
        calibration = Calibration(np.zeros(0), threshold, grey, "a test")
        changed = dataclasses.replace(knowing, calibration=calibration)
        verdict = changed.score(stranger)
        assert verdict.is_trojaned is trojaned
        assert bool(verdict.reasons) is (trojaned is None)


@pytest.mark.parametrize(
    ("mode", "answers"), [("binary", "log_probabilities"), ("one_class", "logits")]
)
def test_score_is_the_classifier_of_the_answers(mode, answers):
    _, detector = make(mode=mode, answers=answers)
    params = detector.meta.classifier["params"]
    logits = stranger(detector.queries)
    read = logits if answers == "logits" else np.log(softmax(logits))
    hidden = read.ravel() @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    expected = np.maximum(hidden, 0) @ params["score"]["kernel"][:, 0]
    if mode == "binary":
        expected += params["score"]["bias"][0]
    else:
        assert "bias" not in params["score"]
        expected = -expected  # normality, officially; suspicion here
    verdict = detector.score(stranger)
    assert verdict.score == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(verdict.answers, logits)
    assert detector.judge(verdict.answers).score == verdict.score
    # An offset that all classes share is left out of log-probabilities alone.
    shifted = detector.judge(logits + np.arange(QUERIES)[:, None]).score
    assert (shifted == pytest.approx(verdict.score, abs=1e-4)) is (answers != "logits")


@pytest.mark.parametrize("change", [{}, {"mode": "one_class", "answers": "logits"}])
def test_a_saved_detector_gives_the_identical_verdict(change, tmp_path):
    _, detector = make(**change)
    detector.save(tmp_path / "d")
    loaded = mntd.load(tmp_path / "d")
    for field in dataclasses.fields(detector):
        found, expected = getattr(loaded, field.name), getattr(detector, field.name)
        if field.name == "coverage":
            np.testing.assert_allclose(found.answers, expected.answers, atol=1e-5)
            assert found.answers.dtype == np.float64
            continue
        if field.name == "calibration":
            found, expected = (vars(calibration) for calibration in (found, expected))
        if field.name in ("meta", "calibration"):
            jax.tree.map(np.testing.assert_array_equal, found, expected)
            continue
        assert found == expected
        assert type(found) is type(expected)
    found, expected = loaded.score(stranger), detector.score(stranger)
    assert repr(found) == repr(expected)
    np.testing.assert_array_equal(found.answers, expected.answers)


def test_saving_again_replaces(detector, tmp_path):
    detector.save(tmp_path)
    changed = by_threshold(42.0, "a test")
    dataclasses.replace(detector, calibration=changed).save(tmp_path)
    loaded = mntd.load(tmp_path)
    assert loaded.threshold == 42.0
    # A threshold of one's own rests on no references.
    verdict = loaded.score(stranger)
    assert (verdict.references, loaded.benign_scores.size) == (0, 0)
    assert np.isnan([verdict.percentile, verdict.p_value]).all()


def test_saving_spares_what_is_there(detector, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        detector.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_network_is_asked_twice_with_copies(knowing):
    detector = knowing
    asked, before = [], detector.queries.copy()

    def spoil(x):
        asked.append((type(x), x.dtype, x.shape, x.copy()))
        answers = stranger(x)
        x[...] = 7
        return answers

    first = detector.score(spoil)
    assert len(asked) == 2
    for each in asked:
        assert each[:3] == (np.ndarray, np.float32, (QUERIES, *SHAPE))
    np.testing.assert_array_equal(asked[0][3], before)
    # The second time the first half of them twice, to see whether answers are steady.
    np.testing.assert_array_equal(asked[1][3], before[[0, 1, 0, 1]])
    np.testing.assert_array_equal(detector.queries, before)
    assert first.reasons == ()
    assert detector.score(stranger).score == first.score


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_any_floating_type_will_do(knowing, dtype):
    expected = knowing.score(stranger)
    found = knowing.score(
        lambda x: (
            jnp.asarray(stranger(x)).astype(dtype)
            if dtype == "bfloat16"
            else stranger(x).astype(dtype)
        )
    )
    assert found.score == pytest.approx(expected.score, abs=0.1)
    assert found.answers.dtype == np.float32


def test_callables_of_other_libraries(detector):
    expected = detector.score(stranger).score
    variables = jax.device_put(STRANGER)
    compiled = jax.jit(lambda x: linear(variables, x))
    assert detector.score(compiled).score == pytest.approx(expected, abs=1e-5)
    listed = detector.score(lambda x: stranger(x).tolist())
    assert listed.score == pytest.approx(expected, abs=1e-5)


def test_torch_networks(detector):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(6, CLASSES)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(STRANGER["w"].T))
        layer.bias.copy_(torch.from_numpy(STRANGER["b"]))

    def network(x):
        return layer(torch.from_numpy(x).flatten(1))

    with pytest.raises(UserError, match=r"Tensor that NumPy cannot read.*gradients"):
        detector.score(network)
    found = detector.score(torch.no_grad()(network))
    assert found.score == pytest.approx(detector.score(stranger).score, abs=1e-5)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


def rounded_to_zero(x):
    share = np.maximum(softmax(stranger(x)) - 0.1, 0)
    return share / share.sum(1, keepdims=True)


def spoiled(value, *where):
    def network(x):
        answers = stranger(x)
        for i in where:
            answers[i] = value
        return answers

    return network


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda x: stranger(x)[:, :2], r"shape \(4, 2\); it must give logits \(4, 3\)"),
        (lambda x: stranger(x).T, r"shape \(3, 4\)"),
        (lambda x: stranger(x).ravel(), r"shape \(12,\)"),
        (lambda x: stranger(x)[:1], r"shape \(1, 3\)"),
        (lambda x: stranger(x).argmax(1), r"shape \(4,\)"),
        (lambda x: None, r"shape \(\)"),
        (lambda x: object(), r"shape \(\)"),
        (lambda x: {"logits": stranger(x)}, r"shape \(\)"),
        (lambda x: [[1.0], [1.0, 2.0]], "a list that NumPy cannot read"),
        (lambda x: stranger(x).astype(int), "dtype int64; .* not class indices"),
        (lambda x: stranger(x) > 0, "dtype bool"),
        (lambda x: stranger(x).astype(complex), "dtype complex128"),
        (lambda x: stranger(x).astype(object), "dtype object"),
        (lambda x: stranger(x).astype(str), "dtype <U"),
        (spoiled(np.nan, (0, 1)), "1 of the model's 12 logits are NaN or infinite"),
        (spoiled(np.inf, 0), "3 of the model's 12 logits are NaN or infinite"),
        (lambda x: stranger(x) * np.float64(1e300), "of the model's 12 logits are NaN"),
        (lambda x: np.zeros((4, 3)), "the same answer to every query"),
        (lambda x: np.tile([1.0, -2, 3], (4, 1)), "the same answer to every query"),
        (
            lambda x: np.tile([100.0, -2, 3], (4, 1)) + 1e-6 * stranger(x),
            "the same answer to every query",
        ),
    ],
)
def test_answers_that_are_no_logits(detector, network, message):
    with pytest.raises(UserError, match=message) as error:
        detector.score(network)
    assert "\n" not in str(error.value)


PAIR = np.random.default_rng(3).normal(size=(4, 2)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, jnp.bfloat16])
def test_one_logit_and_two_are_the_same_network(dtype):
    pair = PAIR.astype(dtype)
    one = pair[:, 1:] - pair[:, :1]
    for given in (one, one[:, 0], pair):
        joined = check_answers(given, (4, 1), "x").logits
        assert (joined.shape, joined.dtype) == ((4, 1), np.float32)
        np.testing.assert_array_equal(joined, one.astype(np.float32))
    widened = check_answers(one, (4, 2), "x").logits
    np.testing.assert_array_equal(widened[:, 0], 0)
    np.testing.assert_array_equal(widened[:, 1:], one.astype(np.float32))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("probabilities", softmax),
        ("percentages", lambda x: 100 * softmax(x)),
        ("log-probabilities", lambda x: np.log(softmax(x))),
    ],
)
@pytest.mark.parametrize("expected", [1, 2])
def test_probabilities_of_two_classes_are_read_as_such(kind, given, expected):
    logits = check_answers(PAIR, (4, expected), "x").logits
    found = check_answers(given(PAIR), (4, expected), "x")
    if expected == 2:
        logits = np.log(softmax(logits))
    np.testing.assert_allclose(found.logits, logits, atol=1e-5)
    assert found.reasons == ()
    assert len(found.notes) == (kind != "log-probabilities")
    assert all(f"seems to return {kind};" in note for note in found.notes)
    # Where the scale matters, or how sure a network is cannot be told: no verdict.
    strict = check_answers(given(PAIR), (4, expected), "x", scale_free=False)
    assert (
        f"seems to return {kind}, and this detector reads logits" in strict.reasons[0]
    )


def test_probabilities_rounded_to_zero_are_inconclusive():
    rounded = softmax(30 * PAIR).round(2)
    found = check_answers(rounded, (4, 2), "x")
    zeros = int((rounded == 0).sum())
    assert zeros > 0
    assert f"return probabilities, {zeros} of them rounded to 0" in found.reasons[0]
    assert np.isfinite(found.logits).all()


def test_what_was_made_of_probabilities_is_part_of_the_verdict(knowing):
    expected = knowing.score(stranger)
    assert expected.notes == ()
    logged = knowing.score(lambda x: np.log(softmax(stranger(x))))
    assert logged.notes == ()
    assert logged.score == pytest.approx(expected.score, abs=1e-4)
    for times in (1, 100):
        found = knowing.score(lambda x, times=times: times * softmax(stranger(x)))
        assert found.score == pytest.approx(expected.score, abs=1e-4)
        assert found.conclusion is expected.conclusion
        assert "their logarithms were read" in found.notes[0]
        assert "logits would be better" in repr(found)
    rounded = knowing.score(rounded_to_zero)
    assert rounded.is_trojaned is None
    assert "rounded to 0" in rounded.reasons[0]
    # Of a sigmoid a class, or logits of a weak network: rows do not sum to 1.
    for times in (0.8, 0.1):
        scaled = knowing.score(lambda x, times=times: times * softmax(stranger(x)))
        assert scaled.is_trojaned is None
        assert "cannot be told from probabilities" in scaled.reasons[0]
        np.testing.assert_array_equal(
            scaled.answers, times * softmax(stranger(knowing.queries))
        )  # and not their logarithms


@pytest.mark.parametrize(
    ("kind", "given"),
    [("probabilities", softmax), ("log-probabilities", lambda x: np.log(softmax(x)))],
)
def test_a_detector_that_reads_logits_takes_nothing_else(knowing, kind, given):
    config = dataclasses.replace(knowing.config, answers="logits")
    reading = dataclasses.replace(knowing, config=config)
    assert reading.score(stranger).reasons == ()
    verdict = reading.score(lambda x: given(stranger(x)))
    assert verdict.conclusion is Conclusion.INCONCLUSIVE
    assert f"seems to return {kind}" in verdict.reasons[0]
    assert "return them, from before the softmax" in verdict.reasons[0]


@pytest.mark.parametrize("expected", [1, 2])
def test_a_single_logit_may_be_a_probability(expected):
    sigmoid = 1 / (1 + np.exp(-PAIR[:, :1]))

    def reasons(given):
        return check_answers(given, (4, expected), "x").reasons

    (reason,) = reasons(sigmoid)
    assert "from before the sigmoid" in reason
    assert not reasons(sigmoid - 0.5)
    assert not reasons(sigmoid + 0.5)
    assert not reasons(PAIR)


def test_doubts_are_part_of_the_verdict(detector):
    two = dataclasses.replace(
        detector,
        num_classes=1,
        config=dataclasses.replace(detector.config, answers="logits"),
        meta=Meta(
            detector.meta.queries,
            classifier_of(detector.config).init(jax.random.key(0), jnp.zeros(QUERIES)),
        ),
        calibration=by_threshold(0.0, "a test"),
        coverage=covering(np.stack([stranger(detector.queries)[:, :1]] * VALIDATION)),
    )
    verdict = two.score(lambda x: stranger(x)[:, :1])
    assert verdict.notes == ()
    noted = two.score(lambda x: 1 / (1 + np.exp(-stranger(x)[:, :1])))
    assert noted.is_trojaned is None
    assert "from before the sigmoid" in noted.reasons[0]
    assert "from before the sigmoid" in " ".join(repr(noted).split())


class TestSteady:
    """A network is asked again, for an input must have one answer."""

    def test_random_answers(self, knowing):
        rng = np.random.default_rng(0)

        def dropout(x):
            return linear(STRANGER, 2 * x * rng.integers(0, 2, x.shape))

        verdict = knowing.score(dropout)
        assert verdict.is_trojaned is None
        assert "dropout is on" in verdict.reasons[0]

    def test_statistics_of_the_batch(self, knowing):
        verdict = knowing.score(lambda x: stranger(x - x.mean(0)))
        assert verdict.is_trojaned is None
        assert "statistics of the batch are in use" in verdict.reasons[0]

    def test_answers_at_hand_are_not_asked_again(self, knowing):
        asked = knowing.score(stranger)
        verdict = knowing.judge(stranger(knowing.queries))
        assert verdict.reasons == asked.reasons == asked.notes == ()
        assert (verdict.score, verdict.conclusion) == (asked.score, asked.conclusion)
        (note,) = verdict.notes
        assert "the network was not asked again" in note


def test_a_detector_at_chance_judges_nothing(knowing):
    weak = dataclasses.replace(knowing, validation_auc=0.7)
    verdict = weak.score(stranger)
    assert verdict.score == knowing.score(stranger).score
    assert verdict.conclusion is Conclusion.INCONCLUSIVE
    (reason,) = verdict.reasons
    assert "at chance: its AUC on 5 + 5 validation shadows is 0.70" in reason
    assert verdict.doubts == ()  # of the network itself
    # Networks of one's own are no validation shadows, and prove no more.
    calibrated = weak.calibrate(list(own(19, 0)))
    assert "on 5 + 5 validation shadows" in calibrated.score(stranger).reasons[-1]
    # Of 4 + 4 shadows that are told apart without a mistake, so few prove nothing.
    answers = knowing.coverage.answers
    for count, proven in [(8, False), (9, False), (10, True)]:
        few = dataclasses.replace(knowing, coverage=Coverage(answers[-count - 1 :], 1))
        reasons = few.score(stranger).reasons
        assert any("may be at chance" in reason for reason in reasons) is not proven


def test_a_network_unlike_all_shadows_is_inconclusive(detector):
    verdict = detector.score(lambda x: 100 * stranger(x))
    assert verdict.is_trojaned is None
    assert "those of the shadow models by" in verdict.reasons[0]


@pytest.mark.parametrize("huge", [1e30, 3e38])
def test_huge_logits_are_inconclusive_without_a_warning(detector, huge):
    centre = stranger(detector.queries).mean(0)
    # Of any scale, and so of infinite scores.
    reading = dataclasses.replace(detector.config, answers="logits")
    for asked in (detector, dataclasses.replace(detector, config=reading)):
        verdict = asked.score(
            lambda x: np.float32(huge) * np.sign(stranger(x) - centre, dtype=np.float32)
        )
        assert verdict.is_trojaned is None
        assert "the logits spread by" in verdict.reasons[0]
        assert "NaN" not in verdict.to_json()
        assert "Infinity" not in verdict.to_json()
    pair = np.float32([[3e38, -3e38], [-3e38, 3e38]])
    assert check_answers(pair, (2, 2), "x").reasons == ()
    with pytest.raises(UserError, match="2 of the model's 2 logits are NaN or inf"):
        check_answers(pair, (2, 1), "x")  # whose difference is beyond float32


def own(count, seed, scale=20.0):
    """Networks of somebody's own: of one make, and unlike all shadows."""
    base = np.random.default_rng(9).normal(size=STRANGER["w"].shape)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        w = scale * (base + 0.3 * rng.normal(size=base.shape))
        yield functools.partial(linear, {"w": w.astype(np.float32), "b": 0})


class TestCalibrate:
    @pytest.fixture(scope="class")
    @classmethod
    def calibrated(cls, detector):
        return detector.calibrate(list(own(19, 0)), source="nineteen of ours")

    def test_networks_like_ones_own_are_judged(self, detector, calibrated, tmp_path):
        calibrated.save(tmp_path / "d")
        loaded = mntd.load(tmp_path / "d")
        for asked in (calibrated, loaded):
            assert asked.calibration.source == "nineteen of ours"
            assert asked.calibration.grey == asked.threshold
            judged = 0
            for network in own(20, 1):
                assert detector.score(network).is_trojaned is None
                verdict = asked.score(network)
                assert verdict.references == 19
                judged += verdict.is_trojaned is not None
            assert judged >= 14
        assert loaded.coverage.added == 19

    def test_the_threshold_is_of_ones_own_networks(self, calibrated):
        verdicts = [calibrated.score(network) for network in own(19, 0)]
        assert [v.is_trojaned for v in verdicts] == [False] * 19
        scores = [v.score for v in verdicts]
        np.testing.assert_allclose(calibrated.benign_scores, sorted(scores), atol=1e-4)
        assert calibrated.threshold == pytest.approx(max(scores), abs=1e-4)
        assert min(v.p_value for v in verdicts) == pytest.approx(2 / 20)

    def test_shadows_are_still_covered(self, calibrated):
        models = networks(1, VALIDATION)
        for v in range(VALIDATION):
            shadow = {k: a[v] for k, a in models.items()}
            assert calibrated.score(functools.partial(linear, shadow)).reasons == ()

    def test_the_detector_itself_stays_as_it_was(self, detector, calibrated):
        assert detector.calibration.references == 6
        assert detector.coverage.answers.shape[0] == VALIDATION
        assert calibrated.meta is detector.meta

    def test_too_few(self, detector):
        with pytest.raises(UserError, match="12 benign networks can state no"):
            detector.calibrate(list(own(12, 0)))
        found = detector.calibrate(list(own(12, 0)), false_alarms=0.1)
        assert found.calibration.source == "12 benign networks"
        with pytest.raises(UserError, match="0 benign networks can state no"):
            detector.calibrate([])

    def test_what_is_no_reference_is_named(self, detector):
        networks = list(own(19, 0))
        rng = np.random.default_rng(0)
        networks[3] = lambda x: rng.normal(size=(len(x), CLASSES))
        with pytest.raises(UserError, match="network 3 is no reference: the same inp"):
            detector.calibrate(networks)
        networks[3] = rounded_to_zero
        with pytest.raises(UserError, match=r"network 3 is no .* rounded to 0"):
            detector.calibrate(networks)
        networks[3] = lambda x: np.maximum(softmax(stranger(x)) - 0.1, 0)
        with pytest.raises(UserError, match=r"network 3 is no .* from probabilities"):
            detector.calibrate(networks)
        networks[3] = lambda x: stranger(x)[:, :2]
        with pytest.raises(UserError, match=r"network 3 .*shape \(4, 2\)"):
            detector.calibrate(networks)
        networks[3] = "resnet"
        with pytest.raises(UserError, match=r"network 3 .*is a str"):
            detector.calibrate(networks)


def test_what_a_network_raises_is_named_and_not_hidden(detector):
    def broken(x):
        raise ZeroDivisionError("of\nmine")

    with pytest.raises(UserError, match=r"failed \(ZeroDivisionError: of mine\)") as e:
        detector.score(broken)
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    with pytest.raises(UserError, match="benign network 0 is no reference"):
        detector.calibrate([broken])
    with pytest.raises(UserError, match="give a list"):
        detector.calibrate(stranger)


def test_a_detector_says_in_a_line_what_it_is(detector):
    assert repr(detector).startswith(f"MNTD detector of {detector.task!r}: ")
    assert "\n" not in repr(detector)


def test_odd_but_honest_logits_are_judged(detector):
    # All positive; rows that sum to 1 with negative entries; answers that differ
    # little beside a large bias, but more than rounding does.
    for network in (
        lambda x: np.abs(stranger(x)) + 1,
        lambda x: (
            stranger(x) - stranger(x).mean(1, keepdims=True) + 1 / 3 - [2, -1, -1]
        ),
        lambda x: stranger(x) * 1e-2 + 100,
    ):
        assert np.isfinite(detector.score(network).score)


def damage_json(path):
    (path / "meta.json").write_text("{")


def cut_tree(path):
    tree = next(path.glob("tree-*"))
    largest = max(tree.rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    largest.write_bytes(largest.read_bytes()[:-8])


def drop_tree(path):
    shutil.rmtree(next(path.glob("tree-*")))


def edit(path, change):
    meta = json.loads((path / "meta.json").read_text())
    change(meta)
    (path / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no bdjax MNTD detector.* in .*check the path"),
        (lambda p: (p / "meta.json").unlink(), "no bdjax MNTD detector.* in"),
        (damage_json, "is not JSON"),
        (cut_tree, "damaged"),
        (drop_tree, "damaged"),
        (lambda p: edit(p, lambda m: m.update(schema=99)), "newer bdjax"),
        (lambda p: edit(p, lambda m: m.update(kind="cake")), "of kind 'cake'"),
        (lambda p: edit(p, lambda m: m["meta"].pop("threshold")), "damaged"),
        (lambda p: edit(p, lambda m: m["meta"]["config"].pop("mode")), None),
        (lambda p: edit(p, lambda m: m["meta"]["config"].update(oven=1)), "damaged"),
        (lambda p: edit(p, lambda m: m["meta"]["config"].update(epochs=0)), "epochs"),
        (lambda p: edit(p, lambda m: m.pop("meta")), "damaged"),
    ],
)
def test_a_detector_that_cannot_be_read_is_one_line(
    detector, damage, message, tmp_path
):
    path = tmp_path / "detector"
    detector.save(path)
    damage(path)
    if message is None:
        assert mntd.load(path).config == detector.config  # the default of old files
        return
    with pytest.raises(UserError, match=message) as error:
        mntd.load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_runs_directory_will_do(detector, tmp_path):
    run = tmp_path / "run"
    detector.save(run / "detector")
    for place in (run, str(run), run / "detector"):
        found = mntd.load(place)
        np.testing.assert_array_equal(found.queries, detector.queries)
    damage_json(run / "detector")
    with pytest.raises(UserError, match=r"run/detector/meta\.json is not JSON"):
        mntd.load(run)


@pytest.mark.parametrize("place", ["nothing", "empty", "file", "unfinished"])
def test_what_is_neither_a_run_nor_a_detector_is_told_what_was_expected(
    tmp_path, place
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "unfinished" / "populations").mkdir(parents=True)
    with pytest.raises(
        UserError,
        match=rf"no bdjax MNTD detector in .*{place}: neither it nor a detector/ in it "
        r"has a meta\.json; .* give a run of MNTD",
    ) as error:
        mntd.load(tmp_path / place)
    assert "\n" not in str(error.value)


def test_another_kind_of_directory_is_no_detector(detector, tmp_path):
    storage.save_tree(tmp_path / "fit", {"queries": detector.queries}, {}, kind="fit")
    with pytest.raises(UserError, match="of kind 'fit'"):
        mntd.load(tmp_path / "fit")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "meta.json").write_text("[1, 2]")
    with pytest.raises(UserError, match="of kind 'list'"):
        mntd.load(tmp_path / "other")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="no bdjax MNTD detector"):
        mntd.load(tmp_path / "file")


def test_queries_are_what_a_network_takes(detector):
    assert detector.queries.shape == (QUERIES, *SHAPE)
    assert detector.queries.dtype == np.float32
    assert detector.value_range == (0.0, 1.0)
    low, high = detector.queries.min(), detector.queries.max()
    assert 0 <= low < high <= 1
