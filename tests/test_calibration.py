"""Calibrations: p-values and thresholds that keep their word, files, mismatches."""

import dataclasses
import json
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from test_dltnd import CLASSES, apply, images, network

from bdjax import tnd
from bdjax.mntd import detector
from bdjax.tnd.references import settings_of
from bdjax.types import UserError
from bdjax.verdicts import (
    Calibration,
    by_threshold,
    calibrate_scores,
    conclude,
    load_calibration,
)

settings = hypothesis.settings(derandomize=True, database=None, deadline=None)
few = st.integers(-3, 3).map(float)  # so that there are ties


def calibration(scores=(3.0, 1.0, 2.0), **changes):
    fields = {"threshold": 2.0, "grey": 1.5, "source": "three networks"}
    return Calibration(np.array(scores), **fields | changes)


class TestPValue:
    @settings
    @hypothesis.given(st.lists(few, min_size=1, max_size=30), few)
    def test_is_the_rank_among_references(self, scores, score):
        ranked = sorted([*scores, score], reverse=True)
        last = max(i for i, s in enumerate(ranked) if s == score)
        expected = (last + 1) / (len(scores) + 1)  # of equal ones the last
        found = calibration(scores).p_value(score)
        assert found == pytest.approx(expected)
        assert 1 / (len(scores) + 1) <= found <= 1

    @pytest.mark.parametrize("draw", ["normal", "exponential", "integers"])
    def test_holds_its_word_for_networks_alike_to_the_references(self, draw):
        rng = np.random.default_rng(0)
        found = []
        for _ in range(4000):
            if draw == "integers":
                some = rng.integers(0, 6, 20).astype(float)
            else:
                some = getattr(rng, draw)(size=20)
            found.append(calibration(some[1:]).p_value(some[0]))
        for share in (0.05, 0.1, 0.25, 0.5):
            within = np.mean(np.array(found) <= share + 1e-9)
            error = 4 * math.sqrt(share * (1 - share) / 4000)
            assert within <= share + error
            if draw != "integers":  # uniform, where there are no ties
                assert within >= share - error

    def test_without_references_there_is_none(self):
        assert math.isnan(by_threshold(1.0, "published").p_value(3.0))
        assert by_threshold(1.0, "published").references == 0

    def test_calibrations_are_equal_to_themselves_alone(self):
        one, other = calibration(), calibration()
        assert one != other  # and their scores are not compared
        assert len({one, other, one}) == 2

    def test_references_come_sorted_whatever_they_were(self):
        found = calibration(np.float32([[3, 1], [2, 0]]))
        assert found.benign_scores.tolist() == [0, 1, 2, 3]
        assert found.benign_scores.dtype == np.float64


class TestThreshold:
    def test_flags_as_many_as_it_promises(self):
        rng = np.random.default_rng(1)
        for count, wanted in [(19, 0.05), (40, 0.05), (12, 0.1), (9, 0.3)]:
            flagged = [
                calibrate_scores(some[1:], false_alarms=wanted).threshold < some[0]
                for some in rng.normal(size=(4000, count + 1))
            ]
            error = 3 * math.sqrt(wanted * (1 - wanted) / 4000)
            assert np.mean(flagged) <= wanted + error
            assert np.mean(flagged) >= wanted - 1 / (count + 1) - error

    def test_twelve_networks_cannot_state_five_percent(self):
        with pytest.raises(UserError, match="12 benign networks can state no") as error:
            calibrate_scores(np.arange(12.0))
        assert "give 19 or more, or false_alarms=0.077" in str(error.value)
        assert "\n" not in str(error.value)

    @settings
    @hypothesis.given(st.integers(1, 200), st.floats(0.004, 0.9))
    def test_either_remedy_helps(self, count, false_alarms):
        try:
            found = calibrate_scores(np.arange(float(count)), false_alarms=false_alarms)
        except UserError as error:
            assert 1 / (count + 1) > false_alarms
            words = str(error).split()
            needed = int(words[words.index("give") + 1])
            rate = float(words[-1].removeprefix("false_alarms="))
            assert needed > count
            calibrate_scores(np.arange(float(needed)), false_alarms=false_alarms)
            if needed > count + 1:
                with pytest.raises(UserError, match="benign networks can state no"):
                    calibrate_scores(np.arange(needed - 1.0), false_alarms=false_alarms)
            if rate < 1:  # of one network alone no rate is much
                calibrate_scores(np.arange(float(count)), false_alarms=rate)
        else:
            assert found.grey == found.threshold
            # In words: whom it flags has no greater p-value than was wanted.
            above = math.nextafter(found.threshold, math.inf)
            assert found.p_value(above) <= false_alarms + 1e-9

    def test_nonsense(self):
        for rate in (0.0, 1.0, -1, 5, math.nan):
            with pytest.raises(UserError, match="false_alarms is"):
                calibrate_scores(np.arange(50.0), false_alarms=rate)
        with pytest.raises(UserError, match="benign scores"):
            calibrate_scores(np.array([1, math.nan] * 20))
        with pytest.raises(UserError, match="both must be numbers"):
            calibration(threshold=math.nan)
        with pytest.raises(UserError, match="grey not above the threshold"):
            calibration(grey=3.0)

    def test_says_what_it_is_of(self):
        assert calibrate_scores(np.arange(19.0)).source == "19 benign networks"
        assert calibrate_scores(np.arange(19.0), source="mine").source == "mine"


class TestFiles:
    def test_round_trip(self, tmp_path):
        rng = np.random.default_rng(0)
        given = calibration(
            rng.normal(size=30) / 3,
            settings={"a": [1, None, "x"]},
            regimes={"mlp": 20, "resnet": 10},
            found=(7, 12),
            command="bdjax calibrate networks",
        )
        given.save(tmp_path / "c.json")
        found = load_calibration(str(tmp_path / "c.json"))
        for name, value in vars(given).items():
            np.testing.assert_array_equal(getattr(found, name), value)
        assert found.p_value(0.1) == given.p_value(0.1)

    def test_a_real_configuration_comes_back_equal(self, tmp_path):
        for config in (tnd.DLTNDConfig(), tnd.DFTNDConfig()):
            given = calibration(settings=settings_of(config))
            given.save(tmp_path / "c.json")
            assert load_calibration(tmp_path / "c.json").settings == given.settings

    def test_files_of_old_know_less_of_their_references(self, tmp_path):
        calibration().save(tmp_path / "c.json")
        record = json.loads((tmp_path / "c.json").read_text())
        for name in ("regimes", "found", "command"):
            del record[name]
        (tmp_path / "c.json").write_text(json.dumps(record))
        found = load_calibration(tmp_path / "c.json")
        assert (found.regimes, found.found, found.command) == ({}, (0, 0), "")

    def test_the_basis_in_words(self):
        assert by_threshold(1.0, "published").basis == "no benign networks"
        words = "1 of 3 benign networks is above the threshold"
        assert calibration().basis == words
        words = "1 of 3 benign networks of 1 regime is above the threshold"
        assert calibration(regimes={"mlp": 3}).basis == words
        found = calibration(regimes={"a": 2, "b": 1}, found=(4, 5)).basis
        assert found == words.replace("1 regime", "2 regimes") + "; 4 of 5 Trojans are"
        with pytest.raises(UserError, match=r"found is \(5, 4\)"):
            calibration(found=(5, 4))

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda text: "", "is no JSON"),
            (lambda text: text[:40], "is no JSON"),
            (lambda text: "[1, 2]", "is no calibration"),
            (lambda text: "{}", "is no calibration"),
            (lambda text: text.replace("scores", "notes"), "damaged"),
            (lambda text: text.replace('"threshold": 2.0', '"t": 2.0'), "damaged"),
            (lambda text: text.replace("2.0", '"two"'), "damaged"),
            (lambda text: text.replace("2.0", "null"), "damaged"),
            (lambda text: text.replace("1.5", "7"), "damaged"),
            (lambda text: text.replace("3.0", "NaN"), "damaged"),
            (lambda text: text.replace("{}", "5"), "damaged"),
            (lambda text: text.replace('"found": [', '"found": [1,'), "damaged"),
        ],
    )
    def test_damaged(self, tmp_path, damage, message):
        path = tmp_path / "c.json"
        calibration().save(path)
        path.write_text(damage(path.read_text()))
        with pytest.raises(UserError, match=message) as error:
            load_calibration(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)

    def test_missing(self, tmp_path):
        with pytest.raises(UserError, match="cannot read"):
            load_calibration(tmp_path / "none.json")
        with pytest.raises(UserError, match="cannot write"):
            calibration().save(tmp_path / "no" / "c.json")

    def test_it_is_small_json(self, tmp_path):
        calibration().save(tmp_path / "c.json")
        found = json.loads((tmp_path / "c.json").read_text())
        assert found["scores"] == [1, 2, 3]


FIELDS = {
    "iterations": 40, "image_iterations": 2, "score": "sparse",
}  # fmt: skip


def judge(variables, calibration=None, **changes):
    x, y = images()
    return tnd.dl_tnd(
        apply, variables, x, y, num_classes=CLASSES, value_range=(0.0, 1.0),
        config=tnd.DLTNDConfig(**FIELDS | changes),
        execution=tnd.Execution(devices=1), calibration=calibration,
    )  # fmt: skip


def benign(seed):
    rng = np.random.default_rng(seed)
    kernel = network(trojaned=False)["kernel"]
    noise = rng.normal(0, 0.05, kernel.shape).astype(np.float32)
    return {"kernel": kernel + noise}


@pytest.fixture(scope="module")
def verdicts():
    return [judge(benign(seed)) for seed in range(4)]


class TestCalibrateWhiteBox:
    def test_from_own_networks_to_a_verdict(self, verdicts, tmp_path):
        assert all(v.is_trojaned is None for v in verdicts)
        own = tnd.calibrate(verdicts, false_alarms=0.2, source="four of ours")
        own.save(tmp_path / "c.json")
        own = tnd.load_calibration(tmp_path / "c.json")
        assert own.threshold == max(v.score for v in verdicts)
        found = judge(network(trojaned=True), own)
        assert found.is_trojaned is True
        assert found.p_value == 0.2
        assert found.references == 4
        assert found.reasons == ()
        assert "four of ours" in str(found)
        # One of the references is no more suspicious than itself.
        again = judge(benign(0), own)
        assert again.is_trojaned is False
        assert again.score == pytest.approx(verdicts[0].score, abs=1e-5)

    def test_a_threshold_of_the_configuration_stands_alone(self, verdicts):
        own = tnd.calibrate(verdicts, false_alarms=0.2)
        with pytest.raises(UserError, match=r"threshold is -9 and a .* leave one out"):
            judge(benign(0), own, threshold=-9.0)
        found = judge(benign(0), threshold=-9.0)
        assert (found.threshold, found.references) == (-9, 0)
        assert found.is_trojaned is True

    def test_what_is_no_reference_is_refused(self, verdicts):
        doubtful = dataclasses.replace(verdicts[1], doubts=("it rained",))
        with pytest.raises(UserError, match="verdict 4 is no reference: it rained"):
            tnd.calibrate([*verdicts, doubtful], false_alarms=0.2)
        calibration = by_threshold(0.0, "a test")
        none = np.zeros(0)
        fields = conclude(1.0, none, none, calibration, [], [])
        black_box = detector.Verdict(**fields, answers=np.zeros((2, 2)))
        for odd in (black_box, 1.5, "trojaned"):
            with pytest.raises(
                UserError, match=rf"verdict 0 is a {type(odd).__name__};.*of MNTD, call"
            ):
                tnd.calibrate([odd, *verdicts])
        # What a calibration lacks is no doubt in the networks.
        assert all(v.reasons and not v.doubts for v in verdicts)
        with pytest.raises(UserError, match=r"is a str; .* with tnd\.load_calibration"):
            judge(benign(0), "c.json")

    def test_too_few(self, verdicts):
        with pytest.raises(UserError, match="4 benign networks can state no"):
            tnd.calibrate(verdicts)
        with pytest.raises(UserError, match="no verdicts were given"):
            tnd.calibrate([])

    def test_other_settings_are_refused_and_named(self, verdicts):
        assert verdicts[0].settings["num_classes"] == CLASSES
        odd = judge(benign(1), iterations=41)
        with pytest.raises(UserError, match="iterations 41, not 40") as error:
            tnd.calibrate([*verdicts, odd], false_alarms=0.2)
        assert "with one configuration" in str(error.value)
        own = tnd.calibrate(verdicts, false_alarms=0.2)
        with pytest.raises(UserError, match=r"success 0\.9, not 0\.8.*calibrate"):
            judge(benign(0), own, success=0.8)
        classes = own.settings | {"num_classes": 9}
        with pytest.raises(UserError, match="num_classes 9, not 4"):
            judge(benign(0), dataclasses.replace(own, settings=classes))
        with pytest.raises(UserError, match="detector 'dl_tnd', not 'df_tnd'"):
            tnd.df_tnd(
                apply, benign(0), input_shape=images()[0].shape[1:],
                num_classes=CLASSES, value_range=(0.0, 1.0), calibration=own,
            )  # fmt: skip

    def test_what_no_score_depends_on_may_differ(self, verdicts):
        odd = judge(
            benign(1), threshold=1.0, min_accuracy=0.1, missing="skip",
            image_iterations=7,
        )  # fmt: skip
        assert odd.config != verdicts[1].config
        own = tnd.calibrate([verdicts[0], odd, *verdicts[2:]], false_alarms=0.2)
        assert own.references == 4


@settings
@hypothesis.given(
    st.sampled_from(["size", "sparse", "dense", "images", "similarity"]),
    st.sampled_from(["image_iterations", "quantile", "restarts", "threshold"]),
)
def test_settings_are_what_a_score_depends_on(score, name):
    one = tnd.DLTNDConfig(score=score)
    values = {"image_iterations": 7, "quantile": 0.5, "restarts": 3, "threshold": 1.0}
    two = dataclasses.replace(one, **{name: values[name]})
    used = {
        "image_iterations": score in ("size", "images", "similarity"),
        "quantile": score == "similarity",
        "restarts": True,
        "threshold": False,
    }
    assert (settings_of(one) != settings_of(two)) is used[name]
