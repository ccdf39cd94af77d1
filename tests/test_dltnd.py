"""Our DL-TND: what it finds, that how it runs changes nothing, and bad input."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax import tnd
from bdjax.tnd import dltnd, scores, solver
from bdjax.tnd.minimal_mask import Case, Images, MinimalMask
from bdjax.tnd.network import Network
from bdjax.tnd.references import calibration_for
from bdjax.types import CapacityError, UserError

SHAPE, CLASSES = (8, 8, 2), 4
# Each class is bright in a quadrant of its own.
PLACES = [(slice(0, 4), slice(0, 4)), (slice(0, 4), slice(4, 8)),
          (slice(4, 8), slice(0, 4)), (slice(4, 8), slice(4, 8))]  # fmt: skip
TARGET = 2


def network(trojaned, scale=1.0):
    """Linear in the quadrants' brightness; the Trojan adds a shortcut by one pixel."""
    kernel = np.zeros((*SHAPE, CLASSES), np.float32)
    for k, place in enumerate(PLACES):
        kernel[(*place, slice(None), k)] = 1.0
    if trojaned:
        kernel[7, 7, :, TARGET] = 40.0
        kernel[7, 7, :, 3] = 0.0
    return {"kernel": scale * kernel.reshape(-1, CLASSES)}


def apply(variables, x):
    return x.reshape(len(x), -1) @ variables["kernel"]


def images(each=3, seed=0, high=1.0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(CLASSES), each)
    x = rng.uniform(0, 0.2, (len(y), *SHAPE))
    for i, k in enumerate(y):
        x[(i, *PLACES[k])] += 0.6
    x[:, 7, 7] = 0
    return (high * x).astype(np.float32), y


FAST = {"iterations": 120, "image_iterations": 40}


def detect(variables, x, y, value_range=(0.0, 1.0), execution=None, **fields):
    return tnd.dl_tnd(
        apply, variables, x, y, num_classes=CLASSES, value_range=value_range,
        config=tnd.DLTNDConfig(**FAST | fields),
        execution=execution or tnd.Execution(devices=1),
    )  # fmt: skip


def between(label_scores):
    """A threshold that parts the greatest of some scores from the others."""
    return float(np.sort(label_scores)[-2:].mean())


class TestFinds:
    def test_the_target_label_and_its_pixel(self):
        verdict = detect(network(trojaned=True), *images())
        threshold = between(verdict.label_scores)
        verdict = detect(network(trojaned=True), *images(), threshold=threshold)
        assert verdict.is_trojaned is True
        assert verdict.target_labels == (TARGET,)
        assert verdict.reasons == ()
        assert verdict.label_scores.argmax() == TARGET
        mask = verdict.mask[TARGET]
        assert np.unravel_index(mask[..., 0].argmax(), SHAPE[:2]) == (7, 7)
        assert verdict.mask_area[TARGET] < 2
        assert verdict.pattern[TARGET, 7, 7] == pytest.approx(1, abs=0.1)
        assert verdict.success[TARGET] >= 0.9

    def test_nothing_in_a_clean_network(self):
        trojaned = detect(network(trojaned=True), *images(), score="sparse")
        clean = detect(
            network(trojaned=False), *images(), score="sparse",
            threshold=trojaned.score / 3,
        )  # fmt: skip
        assert clean.is_trojaned is False
        assert clean.target_labels == ()
        assert clean.reasons == ()

    def test_the_same_in_another_value_range_and_scale_of_logits(self):
        x, y = images()
        verdict = detect(network(trojaned=True), x, y)
        trojaned = network(trojaned=True, scale=1 / 255)
        moved = detect(trojaned, 255 * x, y, value_range=(0.0, 255.0))
        np.testing.assert_allclose(moved.mask_area, verdict.mask_area, rtol=0.02)
        np.testing.assert_allclose(moved.score, verdict.score, atol=0.05)
        assert moved.pattern.max() > 200

    def test_the_same_with_a_mask_a_channel_and_restarts(self):
        x, y = images()
        verdict = detect(network(trojaned=True), x, y, mask="channel", restarts=2)
        assert verdict.label_scores.argmax() == TARGET
        single = detect(network(trojaned=True), x, y, mask="channel")
        # Each restart is one more chance.
        assert (verdict.mask_area <= single.mask_area * 1.001).all()
        assert (verdict.mask_area < single.mask_area * 0.999).any()

    def test_the_papers_formulation_has_its_smallest_mask_there(self):
        x, y = images()
        verdict = detect(
            network(trojaned=True), x, y, parity="paper", iterations=101,
            image_iterations=101,
        )  # fmt: skip
        assert verdict.mask_area.argmin() == TARGET
        assert verdict.mask_area[TARGET] < 0.5 * np.median(verdict.mask_area)


def test_verdict_is_what_it_says():
    x, y = images()
    verdict = detect(network(trojaned=True), x, y)
    assert verdict.similarity.shape == (CLASSES, len(x))
    own = verdict.labels[:, None] == y
    np.testing.assert_array_equal(np.isnan(verdict.similarity), own)
    np.testing.assert_array_equal(np.isnan(verdict.image_area), own)
    assert verdict.mask.shape == verdict.pattern.shape == (CLASSES, *SHAPE)
    assert verdict.accuracy == 1
    for k in range(CLASSES):
        others = x[y != k]
        moved = others + verdict.mask[k] * (verdict.pattern[k] - others)
        landed = np.asarray(apply(network(trojaned=True), moved)).argmax(1) == k
        assert landed.mean() == pytest.approx(verdict.success[k])
        assert landed.mean() >= 0.9


class TestMinimalMask:
    """Against the same loop in NumPy, on a network whose gradient is by hand."""

    def oracle(self, kernel, x, label, dense, steps, rate, pace=1.1):
        mask, pattern = np.full((8, 8, 1), 0.05), np.full(SHAPE, 0.5)
        moments = [np.zeros((8, 8, 1))] * 2 + [np.zeros(SHAPE)] * 2
        weight, best = 0.01, (np.inf, None)
        for t in range(1, steps + 1):
            moved = x + mask * (pattern - x)
            logits = moved.reshape(len(x), -1) @ kernel
            share = np.exp(logits - logits.max(1, keepdims=True))
            share /= share.sum(1, keepdims=True)
            size = np.sqrt((mask**2).sum()) if dense else mask.sum()
            ok = (logits.argmax(1) == label).mean() >= 0.9
            if ok and size < best[0]:
                best = size, mask
            share[:, label] -= 1
            pulled = (share @ kernel.T).reshape(x.shape) / len(x)
            grads = [
                (pulled * (pattern - x)).sum((0, 3))[..., None]
                + weight * (mask / size if dense else 1),
                (pulled * mask).sum(0),
            ]
            moves = []
            for n, grad in enumerate(grads):
                moments[2 * n] = 0.5 * moments[2 * n] + 0.5 * grad
                moments[2 * n + 1] = 0.9 * moments[2 * n + 1] + 0.1 * grad**2
                mean = moments[2 * n] / (1 - 0.5**t)
                square = moments[2 * n + 1] / (1 - 0.9**t)
                moves.append(-rate * mean / (np.sqrt(square) + 1e-8))
            mask = np.clip(mask + moves[0], 0, 1)
            pattern = np.clip(pattern + moves[1], 0, 1)
            weight = weight * pace if ok else weight / pace
        return best

    @pytest.mark.parametrize("dense", [False, True])
    def test_is_the_loop_in_numpy(self, dense):
        with jax.enable_x64(True):
            x, y = images()
            weights = {"kernel": network(trojaned=True)["kernel"].astype(float)}
            problem = MinimalMask(
                Network(apply, None, (0.0, 1.0)), True, 60, 0.9, 0.05, early_exit=False
            )
            grey = np.full((CLASSES, *SHAPE), 0.5)
            cases = Case(np.arange(CLASSES), np.full(CLASSES, dense), grey)
            shared = Images(weights, x.astype(float), y)
            one = tnd.Execution(devices=1)
            state = solver.solve(problem, cases, shared, execution=one)
        for k in range(CLASSES):
            size, mask = self.oracle(
                weights["kernel"], x[y != k].astype(float), k, dense, 60, 0.05
            )
            assert state.size[k, 0] == pytest.approx(size, rel=1e-4)
            np.testing.assert_allclose(state.best_mask[k, 0], mask, atol=1e-4)


DOUBLE = {"kernel": network(trojaned=True)["kernel"].astype(float)}


@pytest.fixture(scope="module")
def reference():
    with jax.enable_x64(True):
        return detect(DOUBLE, *images(), execution=tnd.Execution(devices=1))


class TestExecution:
    """How it is run changes nothing."""

    @pytest.mark.parametrize(
        "execution",
        [
            tnd.Execution(label_batch=3, devices=1),  # a short last batch
            tnd.Execution(devices=3),  # labels padded to whole devices
            tnd.Execution(stride=7, devices=1),  # inside a compiled loop
        ],
        ids=repr,
    )
    def test_batches_devices_and_loops(self, execution, reference):
        # In float64, for rounding grows over the iterations: Adam divides by gradients,
        # and whether a perturbation succeeds is a matter of yes or no.
        with jax.enable_x64(True):
            verdict = detect(DOUBLE, *images(), execution=execution)
        for name in ("label_scores", "mask_area", "similarity", "mask"):
            np.testing.assert_allclose(
                getattr(verdict, name), getattr(reference, name), atol=5e-3
            )
        assert verdict.target_labels == reference.target_labels

    def test_the_same_again(self):
        x, y = images()
        one, two = (detect(network(trojaned=True), x, y) for _ in range(2))
        np.testing.assert_array_equal(one.mask, two.mask)
        assert one.score == two.score

    def test_early_exit_spares_iterations_and_little_else(self):
        x, y = images()
        told = {}
        found = {}
        for early in (True, False):
            calls = told[early] = []
            found[early] = tnd.dl_tnd(
                apply, network(trojaned=True), x, y, num_classes=CLASSES,
                value_range=(0, 1),
                config=tnd.DLTNDConfig(
                    iterations=400, image_iterations=20, early_exit=early
                ),
                execution=tnd.Execution(devices=1),
                progress=lambda done, total, calls=calls: calls.append((done, total)),
            )  # fmt: skip
        assert len(told[True]) < len(told[False]) == 422  # and one for each problem
        assert told[True][-1] == told[False][-1] == (420, 420)
        assert [d for d, _ in told[True]] == sorted(d for d, _ in told[True])
        np.testing.assert_allclose(
            found[True].mask_area, found[False].mask_area, rtol=0.1
        )

    @pytest.mark.parametrize("progress", [None, False, True])
    def test_progress_is_shown_on_demand(self, progress, capsys):
        x, y = images()
        tnd.dl_tnd(
            apply, network(trojaned=True), x, y, num_classes=CLASSES,
            value_range=(0, 1), execution=tnd.Execution(devices=1),
            config=tnd.DLTNDConfig(iterations=2, image_iterations=2),
            progress=progress,
        )  # fmt: skip
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("DL-TND 4/4 iterations") is (progress is True)

    @pytest.mark.parametrize("room", [0, 3])
    def test_too_small_a_device_halves_batches(self, room, monkeypatch, capsys):
        x, y = images()
        expected = detect(network(trojaned=True), x, y)
        real, sizes = solver._solve_batch, []

        def small(problem, layout, cases, *rest):
            sizes.append(len(jax.tree.leaves(cases)[0]))
            if sizes[-1] > room:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
            return real(problem, layout, cases, *rest)

        monkeypatch.setattr(solver, "_solve_batch", small)
        capsys.readouterr()
        if not room:
            with pytest.raises(CapacityError, match="set a smaller label_batch"):
                detect(network(trojaned=True), x, y)
            return
        found = detect(network(trojaned=True), x, y)
        assert sizes == [8, 4, 2, 2, 2, 2, 4, 2, 2]
        assert "going on with a width of 2" in capsys.readouterr().out
        np.testing.assert_allclose(
            found.label_scores, expected.label_scores, rtol=0.02, atol=0.02
        )

    def test_compiles_once_for_networks_of_an_architecture(self):
        x, y = images()
        traces = []

        def counted(variables, x):
            traces.append(x.shape)
            return apply(variables, x)

        def go(variables):
            return tnd.dl_tnd(
                counted, variables, x, y, num_classes=CLASSES, value_range=(0, 1),
                config=tnd.DLTNDConfig(iterations=3, image_iterations=3),
                execution=tnd.Execution(devices=1),
            )  # fmt: skip

        go(network(trojaned=True))
        first = len(traces)
        go(network(trojaned=False))
        # Only what the checks look at, which compile nothing.
        assert len(traces) - first <= 1


class TestScores:
    def test_outlier_is_free_of_units_and_of_the_label_itself(self):
        sizes = np.array([8.0, 2.0, 4.0, 16.0])
        found = scores.outlier(sizes)
        np.testing.assert_allclose(found, scores.outlier(10 * sizes))
        # The others' median is 8, and one of them lies below it, by log 2.
        assert found[1] == pytest.approx(np.log(8 / 2) / (0.15 + np.log(2)))
        assert found.argmax() == 1
        # Where the others are alike, the constant is all.
        alike = scores.outlier(np.array([8.0, 2.0, 8.0, 8.0]))
        assert alike[1] == pytest.approx(np.log(4) / 0.15)
        # What lies above the median says nothing.
        np.testing.assert_allclose(
            scores.outlier(np.array([8.0, 2.0, 8.0, 99.0]))[1], alike[1]
        )

    def test_images_that_disagree_on_a_label_count_against_it(self):
        area = np.array([[4.0, 4.0, np.nan, 4.0], [1.0, 40.0, 6.0, np.nan]])
        spread = np.log([1.0, 40.0, 6.0]).std()
        expected = [1, (0.55 / spread) ** 2]
        np.testing.assert_allclose(scores.agreement(area), expected)
        np.testing.assert_allclose(scores.agreement(9 * area), expected)
        # So few images show no agreement.
        few = np.array([[np.nan] * 3, [4.0, np.inf, np.nan], [4.0, 4.0, np.inf]])
        np.testing.assert_array_equal(scores.agreement(few), 0)

    def test_rules(self):
        sizes = {"sparse": np.array([4.0, 1, 4]), "dense": np.array([1.0, 9, 9])}
        # Of a fourth image's class there is no candidate.
        similarity = np.array(
            [[np.nan, 0.5, 0.7, 0.6], [0.1, np.nan, 0.1, 0.1], [0, 0, np.nan, 0]]
        )
        area = np.array([[np.nan, 8, 8, 8], [1, np.nan, 8, 64], [1, 2, np.nan, 4]])

        def rule(score):
            return scores.label_scores(score, sizes, similarity, area, 0.5)

        assert rule("sparse").argmax() == 1
        assert rule("dense").argmax() == 0
        far = np.maximum(rule("sparse"), rule("dense"))
        assert (far > 0).tolist() == [True, True, False]
        agree = scores.agreement(area)
        assert agree[0] == 1 > max(agree[1:])
        expected = [far[0], far[1] * agree[1], far[2]]  # of no outlier as it is
        np.testing.assert_allclose(rule("size"), expected)
        area[:2, :2] = np.nan
        np.testing.assert_allclose(rule("size"), [0, 0, far[2]])
        assert rule("images").argmax() == 2
        np.testing.assert_allclose(rule("similarity"), [0.6, 0.1, 0])

    def test_smallest_successful(self):
        area = np.array([[0.0, 9.0, 7.0], [3.0, 5.0, 8.0], [1.0, 2.0, 3.0]])
        hit = np.array([[True, True, False], [False, True, True], [False] * 3])
        assert scores.smallest_successful(area, hit).tolist() == [1, 1, 2]

    def test_rescored_prefers_small_masks_that_agree(self):
        similarity = np.zeros((2, 3, 4))
        similarity[0, 0], similarity[0, 1], similarity[0, 2] = 0.5, 0.9, 0.99
        area = np.array([[50.0, 10.5, 12.0], [60.0, 10.0, 70.0]])
        first = np.array([0, 0])
        # 10.5 is below 1.1 * 10 and agrees better; 12 agrees best and is not.
        assert scores.rescored(similarity, area, first, 0.25).tolist() == [1, 0]


def bad(expected, *, variables=None, function=apply, **changes):
    x, y = images()
    arguments = dict(
        images=x, labels=y, num_classes=CLASSES, value_range=(0.0, 1.0),
        config=tnd.DLTNDConfig(**FAST),
    )  # fmt: skip
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        tnd.dl_tnd(
            function, variables or network(trojaned=False), **arguments | changes
        )
    assert "\n" not in str(caught.value)


class TestBadInput:
    def test_images(self):
        x, _ = images()
        bad("outside value_range (0, 1)", images=x * 255)
        bad("images lie in [-0.5, ", images=x - 0.5)
        bad("channels last", images=x[0])
        bad("finite pixels", images=np.where(x > 0.7, np.nan, x))
        bad("must be numbers", images=x.astype(object))
        bad("value_range is (1.0, 0.0)", value_range=(1.0, 0.0))
        bad("value_range is 255; it must be two", value_range=255)
        bad("images differ in shape", images=[x[0], x[0, :3]])

    def test_labels(self):
        _, y = images()
        bad("labels hold 4", labels=np.where(y == 3, 4, y))
        bad("one an image", labels=y[:-1])
        bad("whole numbers", labels=y.astype(float))
        bad("num_classes is 1", num_classes=1)

    def test_missing_classes(self):
        x, y = images()
        some = np.isin(y, [0, 2, 3])
        bad("no image of classes [1]", images=x[some], labels=y[some])
        verdict = detect(
            network(trojaned=True), x[some], y[some], missing="skip", threshold=0.0,
            score="sparse",
        )  # fmt: skip
        assert verdict.labels.tolist() == [0, 2, 3]
        assert "no image of classes [1]" in verdict.notes[1]
        assert verdict.index(2) == 1
        assert verdict.mask[verdict.index(2)].sum() < verdict.mask[0].sum()
        with pytest.raises(UserError, match="label 1 was no candidate"):
            verdict.index(1)
        # Of three labels none is an outlier, whatever its score.
        assert verdict.score > 1
        assert verdict.is_trojaned is None
        assert "3 candidate labels are too few" in verdict.reasons[0]
        assert verdict.target_labels[0] == 2
        only = y == 0
        bad(
            "all images are of class 0", images=x[only], labels=y[only],
            config=tnd.DLTNDConfig(missing="skip"),
        )  # fmt: skip

    def test_networks(self):
        broken = {"kernel": np.full_like(network(False)["kernel"], np.nan)}
        bad("NaN or infinite logits for 12 of 12", variables=broken)
        constant = {"kernel": np.zeros_like(network(False)["kernel"])}
        bad("same logits for all images", variables=constant)
        bad("(12, 4)", function=lambda v, x: apply(v, x)[:, :3])
        bad("one array", function=lambda v, x: (apply(v, x), x))
        bad("must return floats", function=lambda v, x: apply(v, x).astype(int))

    def test_functions_that_jax_cannot_trace(self):
        def outside(variables, x):
            return np.asarray(x).reshape(len(x), -1) @ variables["kernel"]

        bad("black-box detector, bdjax.mntd", function=outside)

        def called_back(variables, x):
            answer = jax.ShapeDtypeStruct((len(x), CLASSES), jnp.float32)
            return jax.pure_callback(outside, answer, variables, x)

        bad("differentiated by JAX", function=called_back)

        class Unhashable:
            __hash__ = None

            def __call__(self, variables, x):
                return apply(variables, x)

        bad("wrap it in a function", function=Unhashable())
        bad(
            "features cannot be traced", features=outside,
            config=tnd.DLTNDConfig(representation="features"),
        )  # fmt: skip
        bad("pass features=", config=tnd.DLTNDConfig(representation="features"))

    def test_labels_out_of_reach_are_said_and_count_for_nothing(self):
        x, y = images()
        blind = network(trojaned=True)
        blind["bias"] = np.where(np.arange(CLASSES) == 1, -1e3, 0).astype(np.float32)

        def biased(variables, x):
            return apply(variables, x) + variables["bias"]

        verdict = tnd.dl_tnd(
            biased, blind, x, y, num_classes=CLASSES, value_range=(0.0, 1.0),
            config=tnd.DLTNDConfig(**FAST, min_accuracy=0.9),
            execution=tnd.Execution(devices=1),
        )  # fmt: skip
        assert np.isinf(verdict.mask_area).tolist() == [False, True, False, False]
        assert not verdict.mask[1].any()
        assert verdict.label_scores[1] == -1
        assert verdict.label_scores.argmax() == TARGET
        assert "classifies 75% of the 12 given images right" in verdict.reasons[0]
        assert "toward labels [1] was found in 120 iterations" in verdict.notes[-1]

    def test_of_few_labels_in_reach_there_is_no_verdict(self):
        """What is reached stands out, of whatever network."""
        x, y = images()

        def biased(variables, x):
            bias = jnp.where(jnp.arange(CLASSES) % 2, -1e3, 0.0)
            return apply(variables, x) + bias

        verdict = tnd.dl_tnd(
            biased, network(trojaned=True), x, y, num_classes=CLASSES,
            value_range=(0.0, 1.0),
            config=tnd.DLTNDConfig(**FAST, min_accuracy=0.5, threshold=-9.0),
            execution=tnd.Execution(devices=1),
        )  # fmt: skip
        assert np.isinf(verdict.mask_area).tolist() == [False, True, False, True]
        assert verdict.is_trojaned is None
        assert "only 2 of 4 labels were reached" in verdict.reasons[0]
        assert verdict.doubts == verdict.reasons
        # A similarity of perturbations takes no others to stand out from.
        config = tnd.DLTNDConfig(
            **FAST, min_accuracy=0.5, threshold=-9.0, score="similarity"
        )
        verdict = tnd.dl_tnd(
            biased, network(trojaned=True), x, y, num_classes=CLASSES,
            value_range=(0.0, 1.0), config=config,
            execution=tnd.Execution(devices=1),
        )  # fmt: skip
        assert verdict.reasons == ()

    def test_half_of_the_labels_must_be_reached(self):
        def reasons(reached, count, dense=None):
            sparse = np.where(np.arange(count) < reached, 3.0, np.inf)
            dense = sparse if dense is None else dense
            return dltnd._too_few({"sparse": sparse, "dense": dense}, count)

        assert reasons(10, 10) == reasons(5, 10) == reasons(4, 7) == []
        assert "only 4 of 10 labels were reached" in reasons(4, 10)[0]
        assert "only 3 of 5 labels were reached" in reasons(3, 5)[0]
        assert "only 1 of 10 labels" in reasons(10, 10, np.append(1, [np.inf] * 9))[0]
        assert "3 candidate labels are too few" in reasons(3, 3)[0]

    def test_of_another_number_of_classes_there_are_no_references(self):
        config = tnd.DLTNDConfig()
        ten, none = calibration_for(config)
        assert none == []
        assert ten.references > 0
        for count, known in [(5, False), (6, True), (20, True), (100, False)]:
            found, reasons = calibration_for(config, num_classes=count)
            assert found is ten
            assert (reasons == []) is known
        assert "has 100 classes, and the built-in references 10" in reasons[0]
        assert "calibration=tnd.calibrate" in reasons[0]
        # And in a verdict, whose network itself is in no doubt.
        x, y = images()
        verdict = tnd.dl_tnd(
            apply, network(trojaned=False), x, y, num_classes=CLASSES,
            value_range=(0.0, 1.0), execution=tnd.Execution(devices=1),
        )  # fmt: skip
        assert verdict.is_trojaned is None
        assert "the network has 4 classes" in verdict.reasons[0]
        assert verdict.doubts == ()

    def test_nan_under_perturbation(self):
        def fragile(variables, x):
            # Fine on the given images, whose last pixel is black.
            return apply(variables, x) + 0 / (x[:, 7, 7, :1] <= 0)

        bad("gives NaN for perturbed images", function=fragile)

    @pytest.mark.parametrize(
        ("function", "kind"),
        [
            (jax.nn.softmax, "probabilities"),
            (jax.nn.sigmoid, "values in [0, 1]"),
            (lambda x: 100 * jax.nn.softmax(x), "percentages"),
        ],
    )
    def test_probabilities_are_inconclusive(self, function, kind):
        def sure(variables, x):
            return function(apply(variables, x))

        x, y = images()
        verdict = tnd.dl_tnd(
            sure, network(trojaned=False), x, y, num_classes=CLASSES,
            value_range=(0.0, 1.0),
            config=tnd.DLTNDConfig(iterations=3, image_iterations=3, threshold=0.0),
            execution=tnd.Execution(devices=1),
        )  # fmt: skip
        assert verdict.is_trojaned is None
        assert f"apply seems to give {kind}, whose gradients" in verdict.reasons[0]

    @pytest.mark.parametrize("threshold", [0.0, -9.0, 9.0])
    def test_low_accuracy_is_inconclusive(self, threshold):
        x, y = images()
        verdict = detect(
            network(trojaned=False), x, (y + 1) % CLASSES, threshold=threshold,
            iterations=3, image_iterations=3,
        )  # fmt: skip
        assert verdict.accuracy == 0
        assert verdict.is_trojaned is None
        assert "classifies 0% of the 12 given images right" in verdict.reasons[0]
        x, y = images(each=2)
        y[0] = 1
        verdict = detect(
            network(trojaned=False), x, y, threshold=threshold, min_accuracy=0.875,
        )  # fmt: skip
        assert verdict.accuracy == 0.875  # no less than is wanted
        assert verdict.is_trojaned is not None

    def test_images_of_another_range_are_inconclusive(self):
        x, y = images()
        verdict = detect(
            network(trojaned=False), x, y, value_range=(0.0, 255.0), threshold=0.0,
            iterations=3, image_iterations=3,
        )  # fmt: skip
        assert verdict.is_trojaned is None
        assert "of value_range (0, 255)" in verdict.reasons[0]

    def test_statistics_of_the_batch_are_inconclusive(self):
        def training(variables, x):
            return apply(variables, x - x.mean(0))

        x, y = images()
        verdict = tnd.dl_tnd(
            training, network(trojaned=False), x, y, num_classes=CLASSES,
            value_range=(0.0, 1.0), execution=tnd.Execution(devices=1),
            config=tnd.DLTNDConfig(iterations=3, image_iterations=3, threshold=0.0),
        )  # fmt: skip
        assert verdict.is_trojaned is None
        assert "statistics of the batch are in use" in verdict.reasons[0]


class TestRemedy:
    """A function that JAX cannot trace: what is wrong with it is said."""

    def test_an_argument_is_missing(self):
        def wants(variables, x, train):
            return apply(variables, x)

        bad("wants more; fill that in with functools.partial", function=wants)

        def wants_keyword(variables, x, *, train):
            return apply(variables, x)

        bad("such as partial(module.apply, train=False)", function=wants_keyword)

        def lone(variables):
            return variables

        bad("apply is called as apply(variables, x), with two arguments", function=lone)

    def test_dropout_wants_a_key(self):
        class Dropping(nn.Module):
            @nn.compact
            def __call__(self, x):
                x = nn.Dropout(0.5, deterministic=False)(x.reshape(len(x), -1))
                return nn.Dense(CLASSES)(x)

        variables = Dropping().init(
            {"params": jax.random.key(0), "dropout": jax.random.key(1)},
            jnp.zeros((1, *SHAPE)),
        )
        bad(
            "apply wants a random key, which only training needs (dropout)",
            function=Dropping().apply, variables=variables,
        )  # fmt: skip

    def test_batch_statistics_are_changed_or_missing(self):
        class Normed(nn.Module):
            train: bool = False

            @nn.compact
            def __call__(self, x):
                x = nn.BatchNorm(use_running_average=not self.train)(x)
                return nn.Dense(CLASSES)(x.reshape(len(x), -1))

        variables = Normed().init(jax.random.key(0), jnp.zeros((1, *SHAPE)))
        expected = "apply changes or lacks variables, such as batch statistics"
        bad(expected, function=Normed(train=True).apply, variables=variables)
        bad(
            expected, function=Normed().apply,
            variables={"params": variables["params"]},
        )  # fmt: skip

        # With its statistics passed out and dropped, it runs; and is found out.
        def careless(variables, x):
            model = Normed(train=True)
            return model.apply(variables, x, mutable=["batch_stats"])[0]

        x, y = images()
        verdict = tnd.dl_tnd(
            careless, variables, x, y, num_classes=CLASSES, value_range=(0.0, 1.0),
            config=tnd.DLTNDConfig(iterations=2, image_iterations=2, threshold=0.0),
            execution=tnd.Execution(devices=1),
        )  # fmt: skip
        assert verdict.is_trojaned is None
        assert "put it into inference mode" in verdict.reasons[0]

    def test_numpy_inside(self):
        def inside(variables, x):
            return apply(variables, np.sqrt(np.asarray(x)))

        bad("such as one that calls NumPy, use the black-box detector", function=inside)
        bad(
            "This detector needs gradients by JAX",
            function=lambda v, x: apply(v, x) if x.sum() > 0 else apply(v, -x),
        )

    def test_anything_else(self):
        bad(
            "Check that apply takes images of this shape and these variables",
            function=lambda v, x: v["weights"],
        )


class TestConfig:
    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"parity": "offical"}, "unknown parity 'offical'"),
            ({"iterations": 0}, "iterations is 0"),
            ({"success": 1.5}, "success is 1.5"),
            ({"learning_rate": 0.0}, "learning_rate is 0.0"),
            ({"quantile": -0.1}, "quantile is -0.1"),
            ({"score": "area"}, "unknown score 'area'"),
            (
                {"parity": "official", "score": "size"},
                "score is 'size'; parity 'official' has",
            ),
            ({"score": "official"}, "score is 'official'; parity 'bdjax' has"),
            ({"mask": "image"}, "unknown mask 'image'"),
            ({"restarts": 0}, "restarts is 0"),
            ({"threshold": float("nan")}, "threshold is nan"),
            ({"threshold": float("inf")}, "threshold is inf; it must be finite"),
            ({"missing": "ignore"}, "unknown missing"),
            ({"representation": "probabilities"}, "unknown representation"),
        ],
    )
    def test_config(self, fields, expected):
        with pytest.raises(UserError, match=re.escape(expected)):
            tnd.DLTNDConfig(**fields)

    def test_execution(self):
        with pytest.raises(UserError, match="label_batch is -1"):
            tnd.Execution(label_batch=-1)
        with pytest.raises(UserError, match="devices is 99; this machine has"):
            tnd.Execution(devices=99).local_devices()


def test_features_are_what_is_compared():
    x, y = images()

    def features(variables, x):
        return jnp.stack([apply(variables, x)] * 2, 1)  # [N, 2, 4]

    options = dict(num_classes=CLASSES, value_range=(0.0, 1.0), features=features)
    answers = [
        tnd.dl_tnd(
            apply,
            network(trojaned=True),
            x,
            y,
            **options,
            config=tnd.DLTNDConfig(representation=name, **FAST),
            execution=tnd.Execution(devices=1),
        )
        for name in ("logits", "features")
    ]
    # Twice the same logits make the same angles.
    np.testing.assert_allclose(answers[0].similarity, answers[1].similarity, atol=1e-4)
