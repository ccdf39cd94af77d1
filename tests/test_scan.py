"""One call on a network: what runs, what it comes to, and when it ends."""

import math
import threading
import time

import jax
import numpy as np
import pytest
import scanned

import bdjax
from bdjax import mntd, scanning
from bdjax.networks import no_features
from bdjax.scanning import calibrations, judge
from bdjax.types import UserError
from bdjax.verdicts import Conclusion

QUICK = "dl_tnd:iterations=60,image_iterations=40"
DATA_FREE = "df_tnd:iterations=10"
X, Y = scanned.images()


@pytest.fixture(scope="module")
def own():
    """Thresholds by eight clean networks."""
    clean = [scanned.opened(kept=scanned.variables(seed=i)) for i in range(1, 9)]
    return scanning.calibrate(
        clean, X, Y, detectors=(QUICK, DATA_FREE), false_alarms=0.12, progress=False
    )


def judged(report, name):
    (found,) = [j for j in report.judgements if j.name == name]
    return found


@pytest.fixture(scope="module")
def trojaned(own):
    network = scanned.opened(kept=scanned.variables(trojaned=True))
    told = []
    report = bdjax.scan(
        network, X, Y, detectors=(QUICK, DATA_FREE), calibration=own,
        watch=told.append, progress=False, classes=tuple("abcdefgh"),
    )  # fmt: skip
    return report, told


class TestAnswer:
    def test_a_trojan_is_found_and_its_target_named(self, trojaned):
        report, _ = trojaned
        assert report.conclusion is Conclusion.TROJANED
        assert report.target == scanned.TARGET
        assert report.label(report.target) == "3 (d)"
        mask = judged(report, "dl_tnd").finding.artefacts["mask"]
        assert mask.shape == (8, 8, 1)

    def test_what_was_asked_is_told(self, trojaned):
        report, _ = trojaned
        assert report.facts["input"] == "8 x 8 x 1"
        assert report.facts["classes"] == "8"
        assert report.facts["penultimate layer"] == "rows (input)"
        assert report.access[-1] == "weights"
        assert report.images.shape == (10, 8, 8, 1)
        assert report.images_given == len(X)
        assert report.asked >= len(X)
        assert 0 < report.seconds_to_first <= report.seconds
        assert {"bdjax", "jax"} <= set(report.versions)

    def test_it_is_told_after_the_preflight_and_every_detector(self, trojaned):
        report, told = trojaned
        ran = [sum(j.finding is not None for j in r.judgements) for r in told]
        assert ran == [0, 1, 2, 2, 2]  # and before every other draw of images
        assert told[0].conclusion is Conclusion.INCONCLUSIVE
        assert "it has not run yet" in " ".join(told[0].reasons)
        # The cheaper one first.
        assert [j.name for j in report.judgements] == ["df_tnd", "dl_tnd"]

    def test_a_clean_network_is_not_flagged(self, own):
        network = scanned.opened(kept=scanned.variables(seed=20))
        report = bdjax.scan(
            network, X, Y, detectors=(QUICK,), calibration=own, progress=False
        )
        assert report.conclusion is Conclusion.NOT_FLAGGED, report.reasons
        assert report.reasons == ()

    def test_thresholds_come_back_from_a_file(self, own, tmp_path):
        calibrations.save(own, tmp_path / "mine.json")
        network = scanned.opened(kept=scanned.variables(trojaned=True))
        report = bdjax.scan(
            network, X, Y, detectors=(QUICK,), calibration=tmp_path / "mine.json",
            progress=False,
        )  # fmt: skip
        assert report.conclusion is Conclusion.TROJANED
        assert judged(report, "dl_tnd").calibration.references == 8

    def test_thresholds_of_other_settings_are_refused(self, own):
        with pytest.raises(UserError, match=r"\(iterations 60, not 150\)"):
            bdjax.scan(scanned.opened(), X, Y, calibration=own)


class TestCalibrate:
    def test_too_few_are_refused_before_anything_runs(self):
        with pytest.raises(UserError, match="which takes 19"):
            scanning.calibrate([scanned.opened()], X, Y)

    def test_one_that_is_asked_wrongly_is_named(self):
        bad = scanned.opened(name="bad", kept=scanned.variables(scale=-1.0))
        with pytest.raises(UserError, match="bad is no reference: the network gets"):
            scanning.calibrate([bad], X, Y, detectors=(QUICK,), false_alarms=0.5)

    def test_a_directory_without_networks(self, tmp_path):
        with pytest.raises(UserError, match="holds no networks"):
            scanning.calibrate([tmp_path])


class TestWhatRuns:
    def skipped(self, network, *args, **options):
        report = bdjax.scan(network, *args, budget=1e-3, progress=False, **options)
        return {j.name: j.skipped for j in report.judgements}, report

    def test_by_default_what_fits_and_is_calibrated(self):
        why, _ = self.skipped(scanned.opened(), X, Y)
        assert list(why)[:2] == ["df_tnd", "dl_tnd"]
        assert "budget" in why["dl_tnd"]
        assert "budget" in why["df_tnd"]
        assert "no benign networks are built in" in why["mm_bd"]
        assert "fitted" in why["mntd"]
        assert not {"dl_tnd_paper", "accuracy"} & set(why)

    def test_variants_run_if_they_are_named(self):
        why, _ = self.skipped(
            scanned.opened(), X, Y, detectors=["dl_tnd_sparse", "mm_bd"]
        )
        assert all("budget" in text for text in why.values()), why

    def test_without_images_no_detector_that_needs_them(self):
        why, _ = self.skipped(scanned.opened(), shape=(8, 8, 1), preprocess="0..1")
        assert "needs clean images" in why["dl_tnd"]
        assert "budget" in why["df_tnd"]

    def test_without_gradients_none_that_looks_inside(self):
        ask = scanned.opened().ask
        why, report = self.skipped(scanned.answers_only(ask), X, Y)
        assert report.access == ("labels", "probabilities", "logits")
        assert "it needs gradients" in why["dl_tnd"]
        assert report.conclusion is Conclusion.INCONCLUSIVE

    def test_without_features_the_reason_is_the_formats(self):
        network = scanned.opened(
            find_features=lambda shape, layer: no_features("it ends in two layers")
        )
        why, _ = self.skipped(network, X, Y)
        assert "it ends in two layers" in why["df_tnd"]
        assert "budget" in why["dl_tnd"]

    def test_no_more_is_used_than_access_says(self):
        why, report = self.skipped(scanned.opened(), X, Y, access="gradients")
        assert report.access[-1] == "gradients"
        assert "access is bounded to gradients" in why["df_tnd"]
        with pytest.raises(UserError, match="no more than logits can be had"):
            bdjax.scan(
                scanned.answers_only(scanned.opened().ask), X, Y, access="features"
            )

    def test_a_layer_is_handed_on(self):
        layers = []

        def find(shape, layer):
            layers.append((shape, layer))
            return no_features("no such layer")

        self.skipped(scanned.opened(find_features=find), X, Y, layer="fc7")
        assert layers == [((8, 8, 1), "fc7")]


class TestEnd:
    def test_what_is_done_is_kept_when_the_budget_is_spent(self, own):
        def slow(variables, x):
            return scanned.apply(variables, x)

        start = time.perf_counter()
        report = bdjax.scan(
            scanned.opened(slow), X, Y, budget=6.0, progress=False,
            detectors=(DATA_FREE, "dl_tnd:iterations=1000000,early_exit=false"),
            calibration={"df_tnd": own["df_tnd"]},
        )  # fmt: skip
        assert time.perf_counter() - start < 9
        assert judged(report, "df_tnd").finding is not None
        cut = judged(report, "dl_tnd")
        assert cut.finding is None
        assert "the budget of 6 s was spent at" in cut.skipped
        assert report.conclusion is Conclusion.INCONCLUSIVE
        assert "DL-TND" in report.reasons[0]

    def test_it_can_be_stopped_from_outside(self):
        timer = threading.Timer(3.0, scanning.stop)
        timer.start()
        start = time.perf_counter()
        report = bdjax.scan(
            scanned.opened(), X, Y, progress=False,
            detectors=("dl_tnd:iterations=1000000,early_exit=false",),
        )  # fmt: skip
        timer.cancel()
        assert time.perf_counter() - start < 10
        assert "the scan was stopped" in judged(report, "dl_tnd").skipped

    def test_an_interrupt_keeps_what_is_done(self, monkeypatch):
        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(judge.Clock, "tick", interrupt)
        report = bdjax.scan(scanned.opened(), X, Y, progress=False)
        assert "it was interrupted" in judged(report, "df_tnd").skipped
        assert report.conclusion is Conclusion.INCONCLUSIVE

    def test_a_detector_that_fails_is_a_reason(self):
        def fails(variables, x):
            raise RuntimeError("no kernel\nfor this")

        network = scanned.opened(found=fails)
        report = bdjax.scan(
            network, X, Y, detectors=("df_tnd",), progress=False, seed=3
        )
        found = judged(report, "df_tnd")
        text = found.skipped or " ".join(found.finding.notes)
        assert "no kernel for this" in text
        assert report.conclusion is Conclusion.INCONCLUSIVE

    @pytest.mark.parametrize("budget", [0, -1.0, math.nan])
    def test_a_budget_is_above_0(self, budget):
        with pytest.raises(UserError, match="it must be above 0"):
            bdjax.scan(scanned.opened(), X, Y, budget=budget)


class TestAnswers:
    """Probabilities, single logits and labels are read as what they are."""

    def scan(self, ask, *args, **options):
        return bdjax.scan(scanned.answers_only(ask), *args, progress=False, **options)

    def test_labels(self):
        ask = scanned.opened().ask
        report = self.scan(lambda x: ask(x).argmax(1), X, Y)
        assert report.access == ("labels",)
        assert report.facts["answers"] == "labels"
        assert math.isnan(report.preflight.candidates[0].confidence)
        assert report.preflight.candidates[0].accuracy > 0.9

    def test_probabilities_give_gradients_by_their_logarithm(self, own):
        def softmax(variables, x):
            return jax.nn.softmax(scanned.apply(variables, x))

        kept = scanned.variables(trojaned=True)
        report = bdjax.scan(
            scanned.opened(softmax, kept=kept), X, Y, detectors=(QUICK,),
            calibration=own, progress=False,
        )  # fmt: skip
        assert report.facts["answers"] == "probabilities"
        assert report.conclusion is Conclusion.TROJANED, report.reasons

    def test_rounded_probabilities_are_inconclusive(self):
        ask = scanned.opened().ask
        report = self.scan(
            lambda x: np.round(np.asarray(jax.nn.softmax(ask(x))), 2), X, Y
        )
        assert "some of them rounded to 0" in report.reasons[0]

    def test_one_logit_is_two_classes(self):
        ask = scanned.opened().ask
        y = (Y > 3).astype(int)

        def single(x):
            logits = ask(x)
            return logits[:, 4:].max(1) - logits[:, :4].max(1)

        report = self.scan(single, X, y)
        assert report.facts["classes"] == "2"
        assert report.preflight.candidates[0].accuracy > 0.9


@pytest.mark.slow
def test_classes_without_images_are_no_candidates(own):
    kept = Y < 6
    network = scanned.opened(kept=scanned.variables(trojaned=True))
    report = bdjax.scan(
        network, X[kept], Y[kept], detectors=(QUICK,), calibration=own, progress=False
    )
    finding = judged(report, "dl_tnd").finding
    assert finding.labels.tolist() == list(range(6))
    assert "2 of 8 classes have no images" in " ".join(finding.notes)
    assert report.conclusion is Conclusion.TROJANED


def test_most_classes_without_images_leave_the_answer_open(own):
    kept = Y < 4
    report = bdjax.scan(
        scanned.opened(kept=scanned.variables(seed=20)), X[kept], Y[kept],
        detectors=(QUICK,), calibration=own, progress=False,
    )  # fmt: skip
    assert report.conclusion is Conclusion.INCONCLUSIVE
    assert "4 of 8 classes have no images" in " ".join(report.reasons)


def test_a_scan_repeats():
    scores = [
        judged(
            bdjax.scan(
                scanned.opened(), X, Y, detectors=(DATA_FREE,), seed=seed,
                progress=False,
            ),
            "df_tnd",
        ).finding.score
        for seed in (5, 5)
    ]  # fmt: skip
    assert scores[0] == scores[1]


class TestFitted:
    """A detector that was fitted to networks of the task asks one that only answers."""

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls):
        def networks(first):
            each = [scanned.variables(i % 2 == 1, first + i) for i in range(12)]
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
            return [mntd.Networks(scanned.apply, stacked)]

        spec = mntd.QuerySpec((8, 8, 1), (0.0, 1.0), mean=0.4, std=0.5)
        config = mntd.FitConfig(queries=4, hidden=5, epochs=3, repeats=2)
        labels, shadows, validation = np.arange(12) % 2, networks(50), networks(80)
        fit = mntd.fit(
            shadows, labels, validation, labels,
            spec=spec, config=config, key=jax.random.key(0),
        )  # fmt: skip
        return mntd.from_fit(
            fit, validation, labels, task="mnist", num_classes=8, spec=spec,
            config=config,
        )  # fmt: skip

    def test_it_says_what_it_says_alone(self, fitted, tmp_path):
        fitted.save(tmp_path / "detector")
        ask = scanned.opened().ask
        network = scanned.answers_only(
            lambda x: ask(x.transpose(0, 2, 3, 1)), layout="NCHW"
        )
        report = bdjax.scan(network, detector=tmp_path, progress=False)
        alone = fitted.score(ask)
        found = judged(report, "mntd")
        assert report.judgements[0] is found
        assert found.finding.score == pytest.approx(alone.score, rel=1e-5)
        assert found.finding.reasons == alone.reasons
        assert found.calibration.references == fitted.calibration.references
        assert report.preflight.reasons == ()

    def test_labels_are_too_little(self, fitted):
        ask = scanned.opened().ask
        network = scanned.answers_only(lambda x: ask(x).argmax(1), layout="NHWC")
        report = bdjax.scan(network, detector=fitted, progress=False)
        assert "this one gives labels" in judged(report, "mntd").skipped

    def test_of_another_task(self, fitted):
        report = bdjax.scan(
            scanned.answers_only(lambda x: np.asarray(x).mean((1, 2)) @ np.eye(1, 3)),
            X, Y % 3, detector=fitted, progress=False, detectors=("mntd",),
        )  # fmt: skip
        assert "the model answered with shape" in judged(report, "mntd").skipped
