"""What single detectors do: against oracles in NumPy, and on networks never seen."""

import dataclasses

import jax
import numpy as np
import pytest
from page import DEFAULTS, NETWORK, TASK, labelled, networks, resources

from bdjax import mntd, prng, tnd, tree
from bdjax.detectors import Defaults, Labelled, get_detector
from bdjax.detectors import mntd as entry
from bdjax.detectors.linear_weights import statistics
from bdjax.detectors.mm_bd import label_scores
from bdjax.evaluation import auc
from bdjax.mntd import FitConfig
from bdjax.tnd import solver
from bdjax.types import CapacityError, UserError
from bdjax.verdicts import by_threshold

OTHER = dataclasses.replace(
    NETWORK, name="other", apply=lambda v, x: NETWORK.apply(v, x)
)
TRUTH = np.tile([0, 1], 10)


def examine(detector, given, targets):
    detector.check(given)
    detector.prepare(given)
    return list(detector.examine(targets, given))


class TestMMBD:
    @pytest.mark.parametrize("steps", [1, 7])
    def test_margins_are_those_of_ascent_in_numpy(self, steps):
        detector = get_detector(f"mm_bd:steps={steps},starts=3,learning_rate=0.03")
        targets = networks(1, np.array([1]))
        layer = jax.tree.map(lambda a: a[0], targets.variables["params"]["logits"])
        shape = (3, *TASK.input_shape)
        key = prng.stream(prng.root(3), "mm_bd")
        start = np.asarray(jax.random.uniform(key, shape)).reshape(3, -1)
        margins = []
        for k in range(TASK.num_classes):
            x, best = start.astype(float), np.full(3, -np.inf)
            for _ in range(steps):
                logits = x @ layer["kernel"] + layer["bias"]
                others = np.delete(np.arange(TASK.num_classes), k)
                rival = others[logits[:, others].argmax(1)]
                best = np.maximum(best, logits[:, k] - logits[np.arange(3), rival])
                slope = layer["kernel"][:, k] - layer["kernel"][:, rival].T
                x = np.clip(x + 0.03 * slope, 0, 1)
            margins.append(best.max())
        (found,) = examine(detector, resources(), targets)
        np.testing.assert_allclose(found.artefacts["margins"], margins, rtol=1e-5)
        real = np.maximum(margins, 1e-3 * max(margins))
        ratios = [m / np.median(np.delete(real, k)) for k, m in enumerate(real)]
        np.testing.assert_allclose(found.label_scores, np.log(ratios), rtol=1e-4)
        assert found.score == pytest.approx(float(np.log(ratios).max()), rel=1e-4)
        assert found.target == int(np.argmax(margins))

    def test_a_trojan_stands_out_and_its_target_is_named(self):
        targets = networks(2, TRUTH)
        found = examine(get_detector("mm_bd:starts=4"), resources(), targets)
        assert auc(TRUTH, np.array([each.score for each in found])) == 1
        kernel = targets.variables["params"]["logits"]["kernel"]
        true = kernel.reshape(len(TRUTH), *TASK.shape[:2], -1)[:, 5, 5].argmax(1)
        named = np.array([each.target for each in found])
        np.testing.assert_array_equal(named[TRUTH == 1], true[TRUTH == 1])

    def test_the_range_is_a_unit_and_no_label_is_infinite(self):
        # Inputs ten times as large, of weights ten times as small: the same network.
        targets = networks(1, np.array([0, 1]))
        small = jax.tree.map(np.copy, targets.variables)
        small["params"]["logits"]["kernel"] /= 10
        task = dataclasses.replace(TASK, value_range=(0.0, 10.0))
        detector = get_detector("mm_bd:steps=9,starts=2")
        found = examine(detector, resources(), targets)
        scaled = examine(
            detector,
            resources(task=task),
            dataclasses.replace(targets, variables=small),
        )
        for one, other in zip(found, scaled, strict=True):
            assert other.score == pytest.approx(one.score, rel=1e-3)
        assert np.isfinite(label_scores(np.array([3.0, -1.0, -2.0, -5.0]))).all()
        assert label_scores(np.array([2.0, 2.0, 2.0])).tolist() == [0, 0, 0]


class TestLinearWeights:
    def test_statistics_are_sorted_over_units(self):
        kernel = np.arange(24.0).reshape(2, 3, 4)[:, :, ::-1]
        found = statistics({"params": {"a": {"bias": np.array([[3.0, 1], [0, 2]]),
                                             "kernel": kernel}}})  # fmt: skip
        first = kernel[0]
        expected = [1, 3]
        for each in (
            np.sqrt((first**2).sum(0)), first.min(0), first.mean(0), first.max(0)
        ):  # fmt: skip
            expected += sorted(each.tolist())
        np.testing.assert_allclose(found[0], expected)
        mixed = np.random.default_rng(0).permutation(4)
        again = statistics({"kernel": kernel[:, :, mixed]})
        np.testing.assert_allclose(again, found[:, 2:])

    def test_the_score_is_logistic_regression_and_finds_trojans_never_seen(self):
        given, targets = resources(shadows=labelled(40, 20)), networks(2, TRUTH)
        found = examine(get_detector("linear_weights"), given, targets)
        scores = np.array([each.score for each in found])
        assert auc(TRUTH, scores) > 0.95
        # The same by Newton's method.
        x = np.concatenate([statistics(g.variables) for g in given.shadows.groups])
        y, c = given.shadows.truth, 0.1
        mean, std = x.mean(0), x.std(0)
        columns = np.c_[(x - mean) / std, np.ones(len(x))]
        penalty = np.r_[np.ones(x.shape[1]), 0]
        w = np.zeros(columns.shape[1])
        for _ in range(30):
            p = 1 / (1 + np.exp(-columns @ w))
            gradient = c * columns.T @ (p - y) + penalty * w
            hessian = c * (columns.T * (p * (1 - p))) @ columns + np.diag(penalty)
            w -= np.linalg.solve(hessian, gradient)
        new = np.c_[(statistics(targets.variables) - mean) / std, np.ones(len(TRUTH))]
        np.testing.assert_allclose(scores, new @ w, atol=0.02)

    def test_each_architecture_has_shadows_of_its_own(self):
        both = Labelled(
            labelled(40, 8).groups + labelled(50, 8, OTHER).groups,
            labelled(40, 8).labels + labelled(50, 8, OTHER).labels,
        )
        detector, truth = get_detector("linear_weights"), np.array([0, 1])
        alone = examine(
            detector, resources(shadows=labelled(40, 8)), networks(2, truth)
        )
        beside = examine(detector, resources(shadows=both), networks(2, truth))
        assert [e.score for e in alone] == [e.score for e in beside]
        given = resources(shadows=labelled(40, 8))
        (other, _) = examine(detector, given, networks(2, truth, OTHER))
        assert np.isnan(other.score)
        assert "architecture, 'other', to compare with" in other.notes[0]


class TestMNTD:
    def test_subsets_are_nested_balanced_and_of_every_population(self):
        shadows = Labelled(
            labelled(40, 5).groups + labelled(50, 4, OTHER).groups,
            labelled(40, 5).labels + labelled(50, 4, OTHER).labels,
        )
        before = np.zeros(0, int)
        for size in (2, 4, 8, 16):
            rows = shadows.nested_rows(size)
            assert len(set(rows.tolist())) == size
            assert shadows.truth[rows].sum() == size / 2
            assert set(before) <= set(rows)
            before = rows
        # In turn of the populations: 0 to 4 and 10 to 13 are benign.
        assert shadows.nested_rows(8)[:4].tolist() == [0, 10, 1, 11]
        assert labelled(40, 5).nested_rows(6).tolist() == [0, 1, 2, 5, 6, 7]

    def test_networks_of_one_architecture_are_one_group_in_order(self):
        parts = [labelled(40, 3), labelled(50, 2, OTHER), labelled(60, 2)]
        shadows = Labelled(
            sum((p.groups for p in parts), ()), sum((p.labels for p in parts), ())
        )
        groups, labels = shadows.merged()
        assert [g.apply for g in groups] == [NETWORK.apply, OTHER.apply]
        assert [tree.count(g.variables) for g in groups] == [10, 4]
        assert labels.tolist() == [0] * 3 + [1] * 3 + [0] * 2 + [1] * 2 + [0, 0, 1, 1]

    @pytest.mark.parametrize("text", ["mntd", "mntd:shadows=4", "mntd_one_class"])
    def test_it_is_the_plain_fit(self, text):
        given, detector = resources(), get_detector(text, DEFAULTS)
        found = examine(detector, given, networks(1, TRUTH))
        groups, labels = given.shadows.merged()
        rows = given.shadows.nested_rows(4) if ":" in text else np.arange(len(labels))
        fit = mntd.fit(
            [g._replace(variables=tree.index(g.variables, rows)) for g in groups],
            labels[rows],
            *given.validation.merged(),
            spec=mntd.QuerySpec(TASK.query_shape, TASK.value_range, 0.5, 0.3),
            config=detector.fit,
            key=prng.stream(prng.root(given.seed), "meta"),
        )
        scores = mntd.score_models(
            NETWORK.apply, detector.fit, fit.meta, networks(1, TRUTH).variables
        )
        repeats = [each.score for each in found if each.repeat >= 0]
        np.testing.assert_allclose(
            np.reshape(repeats, (len(TRUTH), -1)).T, scores, atol=1e-5
        )

    def test_equal_steps_make_more_passes_over_fewer(self):
        given = resources()
        detector = get_detector("mntd:shadows=4,equal_steps=true", DEFAULTS)
        rows, passes = detector._rows(given.shadows)
        assert len(rows) == 4
        assert passes == 3
        with pytest.raises(UserError, match="shadows is 40, more than the 12 shadow"):
            get_detector("mntd:shadows=40").prepare(given)

    def test_a_verdict_asks_twice_as_a_users_call_does(self, tmp_path):
        given, targets = resources(directory=tmp_path), networks(1, TRUTH)
        found = examine(get_detector("mntd", DEFAULTS), given, targets)
        loaded = mntd.load(tmp_path / "mntd")
        for m, each in enumerate(f for f in found if f.repeat < 0):
            network = targets.one(m)
            verdict = loaded.score(lambda x, v=network: NETWORK.apply(v, x))
            assert each.score == pytest.approx(verdict.score, abs=1e-5)
            assert each.reasons == verdict.reasons
            assert not [n for n in each.notes if "not asked again" in n]
            np.testing.assert_allclose(
                each.artefacts["answers"], verdict.answers, atol=1e-5
            )

    def test_dropout_that_is_left_on_shows(self):
        detector = get_detector("mntd", DEFAULTS)._detector(resources())
        rng = np.random.default_rng(0)
        answers, again = rng.normal(size=(2, 3, TASK.num_classes))
        assert any("inference mode" in d for d in detector.judge(answers, again).doubts)

    def test_a_finished_fit_is_read(self, tmp_path, monkeypatch):
        given, targets = resources(directory=tmp_path), networks(1, TRUTH)
        first = examine(get_detector("mntd", DEFAULTS), given, targets)

        def never(*args, **options):
            raise AssertionError("fitted again")

        monkeypatch.setattr(entry.mntd, "fit", never)
        again = resources(directory=tmp_path)
        found = examine(get_detector("mntd", DEFAULTS), again, targets)
        assert [e.score for e in found] == [e.score for e in first]
        # Of other shadows it is another.
        for change, message in (
            ({"shadows": labelled(70, 6)}, r"provenance.populations"),
            ({"seed": 9}, "seed"),
        ):
            with pytest.raises(UserError, match=message):
                examine(
                    get_detector("mntd", DEFAULTS),
                    resources(directory=tmp_path, **change),
                    targets,
                )
        other = Defaults(fit=dataclasses.replace(DEFAULTS.fit, epochs=3))
        with pytest.raises(UserError, match=r"fit\.epochs"):
            get_detector("mntd", other).check(resources(directory=tmp_path))

    def test_sentences_are_for_tasks_that_have_a_vocabulary(self):
        words = Defaults(fit=FitConfig(query_space="tokens"))
        with pytest.raises(UserError, match="'page' has no vocabulary"):
            get_detector("mntd", words).check(resources())


class TestPerturbations:
    def test_other_rules_cost_nothing_and_are_those_of_the_detector(
        self, tmp_path, monkeypatch
    ):
        given, targets = resources(directory=tmp_path), networks(1, np.array([0, 1]))
        defaults = dataclasses.replace(
            DEFAULTS, solver=dataclasses.replace(DEFAULTS.solver, iterations=30)
        )
        examine(get_detector("dl_tnd", defaults), given, targets)
        expected = {
            score: [
                tnd.dl_tnd(
                    NETWORK.apply, targets.one(m), *given.images(2),
                    num_classes=TASK.num_classes, value_range=TASK.value_range,
                    features=NETWORK.features, progress=False,
                    config=tnd.DLTNDConfig(
                        iterations=30, image_iterations=30, searches=2, score=score
                    ),
                )
                for m in range(2)
            ]
            for score in ("sparse", "similarity")
        }  # fmt: skip

        def never(*args, **options):
            raise AssertionError("solved again")

        monkeypatch.setattr(tnd, "dl_tnd", never)
        for score, verdicts in expected.items():
            for text in (f"dl_tnd_{score}", f"dl_tnd:score={score}"):
                found = examine(get_detector(text, defaults), given, targets)
                for each, verdict in zip(found, verdicts, strict=True):
                    np.testing.assert_allclose(
                        each.label_scores, verdict.label_scores, atol=1e-4
                    )
                    assert each.threshold == verdict.threshold
                    assert "similarities" in each.artefacts
        with pytest.raises(AssertionError, match="solved again"):
            examine(get_detector("dl_tnd:per_class=3", defaults), given, targets)

    def test_verdicts_follow_the_calibration_of_the_day(self, tmp_path, monkeypatch):
        given, targets = resources(directory=tmp_path), networks(1, np.array([1]))
        detector = get_detector("dl_tnd", DEFAULTS)
        (before,) = examine(detector, given, targets)
        assert before.conclusion == "inconclusive"
        from bdjax.detectors import perturbations

        low = by_threshold(-10.0, "a test"), []
        monkeypatch.setattr(perturbations, "calibration_for", lambda *_, **__: low)
        (after,) = examine(detector, given, targets)
        assert after.score == before.score
        assert after.threshold == -10
        assert after.reasons != before.reasons
        assert get_detector("dl_tnd:threshold=1.5", DEFAULTS).folder == detector.folder

    def test_other_settings_do_not_mix_with_solutions_on_disk(self, tmp_path):
        given, targets = resources(directory=tmp_path), networks(1, np.array([1]))
        get_detector("dl_tnd", DEFAULTS).check(given)
        other = dataclasses.replace(DEFAULTS, per_class=3)
        with pytest.raises(UserError, match="images"):
            get_detector("dl_tnd", other).check(given)
        examine(get_detector("dl_tnd", DEFAULTS), given, targets)
        changed = dataclasses.replace(targets, digest="another")
        with pytest.raises(UserError, match=r"provenance\.population"):
            list(get_detector("dl_tnd", DEFAULTS).examine(changed, given))

    def test_too_small_a_device_is_no_networks_fault(self, monkeypatch):
        def small(*args, **options):
            raise CapacityError("out of device memory")

        monkeypatch.setattr(solver, "solve_all", small)
        monkeypatch.setattr("bdjax.tnd.dltnd.solve_all", small)
        with pytest.raises(CapacityError):
            examine(get_detector("dl_tnd", DEFAULTS), resources(), networks(1, TRUTH))

    def test_too_few_images_are_told_before_anything_is_computed(self):
        with pytest.raises(UserError, match="hold 4 of class 0, fewer than 9 clean"):
            get_detector("dl_tnd:per_class=9").check(resources())

    def test_limits_reach_every_detector(self):
        for name in ("dl_tnd", "dl_tnd_paper", "df_tnd", "df_tnd_official"):
            config = get_detector(name, DEFAULTS).solving
            assert config.iterations == 4
        assert get_detector("dl_tnd:iterations=9", DEFAULTS).solving.iterations == 9
        assert get_detector("dl_tnd_paper", DEFAULTS).solving.searches == 2


def test_accuracy_is_the_share_of_errors():
    given, targets = resources(), networks(1, np.array([0, 1]))
    found = examine(get_detector("accuracy"), given, targets)
    for m, each in enumerate(found):
        layer = targets.one(m)["params"]["logits"]
        flat = given.test_x.reshape(len(given.test_x), -1)
        said = (flat @ layer["kernel"] + layer["bias"]).argmax(1)
        assert each.score == pytest.approx(np.mean(said != given.test_y))
