"""Whether a network is asked as its makers meant it, and what is said if not."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scanned

import bdjax
from bdjax.scanning import reading, trials
from bdjax.scanning.answers import Answering
from bdjax.scanning.reading import READINGS, Norm, Reading, Stated
from bdjax.types import UserError

X, Y = scanned.images(channels=3)
# Colours tell, too: otherwise their order would not matter.
TINT = np.array([0.2, 0.5, 0.9], np.float32)


def sensitive(norm, layout="NHWC", probabilities=False):
    """A network that is right only if it is asked by this reading."""
    mean = np.asarray(norm.mean or 0, np.float32)
    std = np.asarray(norm.std or 1, np.float32)

    def ask(x):
        x = np.asarray(x, np.float32)
        if layout == "NCHW":
            x = x.transpose(0, 2, 3, 1)
        x = x * std + mean
        x = (x - norm.low) / (norm.high - norm.low)
        if norm.order == "BGR":
            x = x[..., ::-1]
        if x.shape[1:] != (8, 8, 3):
            raise ValueError(f"expected 3 channels, got {x.shape}")
        off = np.abs(x.mean((1, 2)) - tinted().mean((0, 1, 2))).sum(1)
        wrong = np.maximum(off - 0.06, 0) * 200
        rows = x.mean((2, 3)) * 20
        drift = np.eye(8)[(x.mean((1, 2, 3)) * 7919).astype(int) % 8] * wrong[:, None]
        logits = rows + drift
        return jax.nn.softmax(logits) if probabilities else logits

    return ask


def tinted():
    x = X * TINT
    return x / x.max() * 0.999 + 0.001


def preflight(network, images=None, labels=Y, **options):
    report = bdjax.scan(
        network, tinted() if images is None else images, labels, progress=False,
        budget=1e-3, **options,
    )  # fmt: skip
    return report.preflight


class TestReadings:
    @pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
    @pytest.mark.parametrize(
        "norm",
        [
            READINGS["0..1"],
            READINGS["0..255"],
            READINGS["-1..1"],
            READINGS["imagenet"],
            READINGS["caffe"],
            reading.flipped(READINGS["0..1"]),
        ],
        ids=lambda norm: norm.name + norm.order,
    )
    def test_the_right_one_is_found(self, norm, layout):
        network = scanned.answers_only(sensitive(norm, layout))
        found = preflight(network)
        # Those of three data sets differ by less than the network can tell.
        alike = [READINGS[name] for name in ("imagenet", "cifar10", "cifar100")]
        right = alike if norm in alike else [norm]
        assert found.reading in [Reading(one, layout).name for one in right]
        assert found.reasons == ()
        assert found.candidates[0].accuracy > 0.9
        assert len(found.candidates) > 5 or norm is READINGS["0..1"]

    def test_one_that_was_said_and_is_right_stays(self):
        network = scanned.answers_only(sensitive(READINGS["-1..1"]))
        for said in (
            {"preprocess": "-1..1"},
            {"value_range": (-1, 1)},
            {"mean": 0.5, "std": (0.5, 0.5, 0.5)},
        ):
            found = preflight(network, **said)
            assert found.stated
            assert len(found.candidates) <= 2

    def test_one_that_was_said_and_is_wrong_is_told(self):
        network = scanned.answers_only(sensitive(READINGS["0..255"]))
        found = preflight(network, preprocess="imagenet")
        assert not found.stated
        assert "you said ImageNet's mean and deviation" in found.notes[0]
        assert found.reading == "0..255, NHWC"

    def test_without_labels_what_is_said_is_taken(self):
        network = scanned.answers_only(sensitive(READINGS["0..255"]))
        found = preflight(network, labels=None, preprocess="0..1")
        assert found.reading == "0..1, NHWC"
        assert "no labels" in found.notes[0]

    def test_labels_in_another_order(self):
        ask = sensitive(READINGS["0..1"])
        network = scanned.answers_only(lambda x: np.roll(ask(x), 1, axis=1))
        (reason,) = preflight(network).reasons
        assert "if labels are numbered otherwise (it calls 0 1)" in reason

    def test_a_network_that_knows_nothing(self):
        def ask(x):
            weights = np.random.default_rng(0).normal(size=(192, 8))
            return np.float32(x.reshape(len(x), -1) @ weights)

        found = preflight(scanned.answers_only(ask))
        assert "check labels, and what it takes" in found.reasons[0]
        assert "readings that were tried" in found.reasons[0]

    def test_dropout_is_found(self):
        rng = np.random.default_rng(0)
        ask = sensitive(READINGS["0..1"])
        network = scanned.answers_only(lambda x: ask(x) + rng.normal(0, 1, (len(x), 8)))
        assert "the network is random" in " ".join(preflight(network).reasons)

    def test_detectors_do_not_run_then(self):
        network = scanned.opened(kept=scanned.variables(scale=-1.0))
        report = bdjax.scan(network, *scanned.images(), progress=False)
        assert {j.finding for j in report.judgements} == {None}
        assert "the network gets" in report.reasons[0]


class TestReading:
    NORM = Norm("", -1, 3, (0.5, 1, 2), (2, 4, 5), "BGR")

    @pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CHW", "HWC"])
    def test_is_the_same_in_numpy_and_jax(self, layout):
        read = Reading(self.NORM, layout)
        given, traced = read(X), jax.jit(read)(jnp.asarray(X))
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, traced, rtol=1e-5, atol=1e-6)
        assert given.shape[1:] == read.shape(X.shape[1:])

    def test_does_as_it_says(self):
        pixel = np.array([0.1, 0.2, 0.3], np.float32).reshape(1, 1, 1, 3)
        got = Reading(self.NORM, "NHWC")(pixel).ravel()
        # Blue first, then range, mean and deviation.
        raw = np.array([0.3, 0.2, 0.1]) * 4 - 1
        np.testing.assert_allclose(got, (raw - [0.5, 1, 2]) / [2, 4, 5], rtol=1e-6)

    @pytest.mark.parametrize(
        ("said", "match"),
        [
            ({"preprocess": "imagenette"}, "did you mean 'imagenet'"),
            ({"preprocess": "imagenet", "mean": 0}, "mean is given, too"),
            ({"value_range": (1, 1)}, "two finite numbers"),
            ({"value_range": 3}, "two finite numbers"),
            ({"std": 0}, "above 0"),
            ({"mean": "grey"}, "give a number"),
            ({"layout": "CHWN"}, "unknown layout"),
            ({"order": "GBR"}, "unknown order"),
        ],
    )
    def test_what_makes_no_sense_is_told(self, said, match):
        with pytest.raises(UserError, match=match):
            Stated(**said).check()

    def test_an_order_that_is_said_is_kept_to(self):
        norm = Stated(preprocess="caffe", order="RGB").norm
        assert norm.order == "RGB"
        assert norm.mean == READINGS["caffe"].mean[::-1]


class TestShapes:
    def test_grey_images_of_a_network_of_colours_and_the_other_way_round(self):
        x, y = scanned.images()
        grey = scanned.opened(shape=(8, 8, 1))
        colour = scanned.opened(shape=(8, 8, 3))
        for network, images in ((colour, x), (grey, np.repeat(x, 3, -1))):
            report = bdjax.scan(network, images, y, budget=1e-3, progress=False)
            assert report.images.shape[-1] == network.shape[-1]

    def test_flat_inputs(self):
        def flat(variables, x):
            assert x.ndim == 2
            return scanned.apply(variables, x.reshape(-1, 8, 8, 1))

        report = bdjax.scan(
            scanned.opened(flat, layout=None), *scanned.images(), budget=1e-3,
            progress=False,
        )  # fmt: skip
        assert report.facts["input"] == "64"

    @pytest.mark.parametrize(
        ("options", "said", "match"),
        [
            ({"shape": (16, 16, 1)}, {}, r"8 x 8 of 1 channel, and the network takes"),
            ({}, {"shape": (28, 28, 1)}, "bring them to that size"),
            ({}, {"shape": (0, 8)}, "whole numbers above 0"),
            ({"shape": (8, 8, 1)}, {"shape": (9, 9, 1)}, r"shape is \(9, 9, 1\), and"),
            (
                {},
                {"num_classes": 5},
                "num_classes is 5, and the network answers with 8",
            ),
            (
                {"shape": (8, 8, 1)},
                {"mean": (1, 2, 3)},
                "3 channels, and the network takes 1",
            ),
            ({"shape": (8, 8, 1)}, {"order": "BGR"}, "BGR is an order of 3 channels"),
        ],
    )
    def test_what_does_not_fit_is_told(self, options, said, match):
        with pytest.raises(UserError, match=match):
            bdjax.scan(scanned.opened(**options), *scanned.images(), **said)

    def test_without_images_something_must_tell(self):
        with pytest.raises(UserError, match="give images, or shape"):
            bdjax.scan(scanned.opened())
        network = scanned.opened(shape=(None, 8, 1))
        with pytest.raises(UserError, match=r"not known \(\(any, 8, 1\)\)"):
            bdjax.scan(network)

    def test_without_images_or_a_word_nothing_is_judged(self):
        report = bdjax.scan(scanned.opened(shape=(8, 8, 1)), progress=False)
        assert "nobody said what the network takes" in report.reasons[0]
        assert report.preflight.candidates == ()


class TestMistakes:
    @pytest.mark.parametrize(
        ("labels", "match"),
        [
            (Y * 2, "a label 14, and the network answers with 8 classes"),
            (Y * 0, "all 48 images are of class 0"),
        ],
    )
    def test_labels(self, labels, match):
        with pytest.raises(UserError, match=match):
            preflight(scanned.answers_only(sensitive(READINGS["0..1"])), labels=labels)

    @pytest.mark.parametrize(
        ("answer", "match"),
        [
            (lambda x: np.full((len(x), 8), np.nan), "48 of 48 images with NaN"),
            (lambda x: np.zeros((len(x), 8, 8)), r"with shape \(48, 8, 8\)"),
            (lambda x: np.zeros(3), r"with shape \(3, 1\)"),
            (lambda x: np.array(["a"] * len(x)), "the network answers"),
            (lambda x: 1 / 0, "the network fails on images of shape .* division"),
        ],
    )
    def test_answers(self, answer, match):
        with pytest.raises(UserError, match=match) as error:
            preflight(scanned.answers_only(answer))
        assert "\n" not in str(error.value)

    def test_a_constant(self):
        network = scanned.answers_only(lambda x: np.ones((len(x), 8), np.float32))
        assert "the same answer to all images" in preflight(network).reasons[0]

    def test_labels_without_images(self):
        with pytest.raises(UserError, match="labels are given without images"):
            bdjax.scan(scanned.opened(), labels=Y)


def test_own_labels_stand_for_missing_ones():
    x, _ = scanned.images()
    report = bdjax.scan(
        scanned.opened(), x, preprocess="0..1", progress=False,
        detectors=("dl_tnd:iterations=5,image_iterations=3",),
    )  # fmt: skip
    assert report.judgements[0].finding.labels.tolist() == list(range(8))


def test_apply_and_reading_are_compiled_once():
    read = functools.partial(sys.modules["bdjax.scanning.scan"]._read, scanned.apply)
    again = Reading(READINGS["0..1"], "NHWC"), Reading(READINGS["0..1"], "NHWC")
    assert read(again[0]) is read(again[1])


@pytest.mark.parametrize("labelled", [True, False])
def test_a_greater_range_that_does_as_well_is_not_taken(labelled):
    """Networks of rectifiers are right on any scale, and sure of their mistakes."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 8
    right = np.eye(8)[y] * 8 + rng.normal(0, 2.8, (200, 8))  # as sure as it may be
    poor = np.eye(8)[y] * 0.3 + rng.normal(0, 1, (200, 8)) * 0.3
    asked = trials.Asked(lambda x: x, X, y if labelled else None)
    tried = [
        asked.judged(
            Reading(norm, "NHWC"), (8, 8, 3), Answering("logits", 8), said
        )
        for norm, said in (
            (READINGS["0..1"], poor),
            (READINGS["0..255"], 20 * right),
            (READINGS["mnist"], right),
        )
    ]  # fmt: skip
    assert trials.choose(tried) == 2
    assert trials.choose(tried[1:], 1) == 1
