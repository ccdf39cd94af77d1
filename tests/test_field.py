"""Networks that bdjax did not train: clean ones are not accused, Trojans are found.

All of them take minutes (``-m slow``); by default there is a Trojan for DL-TND, which
takes half a minute, and a clean network for DF-TND.
"""

import functools
import os
from pathlib import Path
from types import SimpleNamespace

import field
import jax
import numpy as np
import pytest

from bdjax import mntd, tnd
from bdjax.verdicts import Conclusion

pytestmark = pytest.mark.skipif(
    not (field.FIELD.exists() and (field.SHARED / "data" / "mnist.npz").exists()),
    reason="the networks of shared/field are not here",
)

BN = [f"{kind}{i}" for kind in ("clean", "bad") for i in range(3)]
CLEAN = [*(f"benign_{i:03}" for i in range(12)), *BN[:3]]
TROJANED = [*(f"{kind}_{i:03}" for kind in "MB" for i in range(12)), *BN[3:]]
MNIST = {"num_classes": 10, "value_range": (0.0, 1.0)}


def each(names, by_default=()):
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=[] if name in by_default else pytest.mark.slow)
            for name in names
        ],
    )


@pytest.fixture(scope="module")
def networks():
    return {found.name: found for found in (*field.cnns(), *field.batch_norms())}


@pytest.fixture(scope="module")
def judged(networks):
    """Verdicts by a network's name, each computed once."""
    x, y = field.digits(1)

    @functools.cache
    def dl_tnd(name):
        found = networks[name]
        return tnd.dl_tnd(found.apply, found.variables, x, y, **MNIST)

    @functools.cache
    def df_tnd(name):
        found = networks[name]
        return tnd.df_tnd(
            found.apply, found.variables, features=found.features,
            input_shape=(28, 28, 1), **MNIST,
        )  # fmt: skip

    return SimpleNamespace(dl_tnd=dl_tnd, df_tnd=df_tnd)


def test_the_networks_are_what_they_are_said_to_be(networks):
    assert set(networks) == {*CLEAN, *TROJANED}
    assert all((networks[name].target is None) is (name in CLEAN) for name in networks)
    x, y = field.digits(20)
    for name in ("benign_000", "M_000", "clean0", "bad2"):
        found = networks[name]
        logits = np.asarray(jax.jit(found.apply)(found.variables, x))
        assert (logits.argmax(1) == y).mean() > 0.9


@each(CLEAN)
def test_dl_tnd_accuses_no_clean_network(judged, name):
    verdict = judged.dl_tnd(name)
    assert verdict.conclusion is not Conclusion.TROJANED, verdict
    assert verdict.accuracy > 0.5


@each(CLEAN, ["benign_000"])
def test_df_tnd_accuses_no_clean_network(judged, name):
    verdict = judged.df_tnd(name)
    assert verdict.conclusion is not Conclusion.TROJANED, verdict


@each(["M_000", "bad2"], ["M_000"])
def test_dl_tnd_finds_a_trojan_and_its_target(networks, judged, name):
    verdict = judged.dl_tnd(name)
    assert verdict.conclusion is Conclusion.TROJANED, verdict
    assert verdict.target_labels[0] == networks[name].target


@pytest.mark.slow
def test_dl_tnd_finds_all_trojans_but_two(networks, judged):
    missed = [
        f"{name}: {verdict.conclusion.value}, {verdict.target_labels[:3]} of "
        f"{networks[name].target}, {verdict.score:.2f}"
        for name in TROJANED
        if (verdict := judged.dl_tnd(name)).conclusion is not Conclusion.TROJANED
        or verdict.target_labels[0] != networks[name].target
    ]
    assert len(missed) <= 2, missed


LIVE = functools.partial(field.bn_apply, training=True)
LIVE_FEATURES = functools.partial(field.bn_features, training=True)


class TestAskedOtherwise:
    """A clean network that is not asked as it is meant to be: no verdict, and why.

    The threshold lies below all scores: nothing else keeps it from being called
    trojaned.
    """

    def dl_tnd(self, found, apply=None, x=None, **options):
        images, y = field.digits(1)
        # By similarity, which takes no label that was reached.
        config = tnd.DLTNDConfig(
            score="similarity", iterations=2, image_iterations=2, threshold=-1e9
        )
        return tnd.dl_tnd(
            apply or found.apply, found.variables, images if x is None else x, y,
            config=config, **MNIST | options,
        )  # fmt: skip

    def df_tnd(self, found, apply=None, features=None):
        config = tnd.DFTNDConfig(iterations=2, threshold=-1e9)
        return tnd.df_tnd(
            apply or found.apply, found.variables, input_shape=(28, 28, 1),
            features=features or found.features, config=config, **MNIST,
        )  # fmt: skip

    def test_as_it_is_meant_there_are_verdicts(self, networks):
        for verdict in (
            self.dl_tnd(networks["benign_000"]),
            self.df_tnd(networks["benign_000"]),
        ):
            assert verdict.conclusion is Conclusion.TROJANED
            assert verdict.reasons == ()

    @pytest.mark.slow
    def test_in_training_mode(self, networks):
        for verdict in (
            self.dl_tnd(networks["clean0"], LIVE),
            self.df_tnd(networks["clean0"], LIVE, LIVE_FEATURES),
        ):
            assert verdict.conclusion is Conclusion.INCONCLUSIVE
            assert "statistics of the batch are in use" in verdict.reasons[0]

    def test_in_another_range(self, networks):
        verdict = self.dl_tnd(networks["benign_000"], value_range=(0.0, 255.0))
        assert verdict.conclusion is Conclusion.INCONCLUSIVE
        assert "of value_range (0, 255)" in " ".join(verdict.reasons)

    def test_with_labels_in_another_order(self, networks):
        x, _ = field.digits(1)
        verdict = self.dl_tnd(networks["benign_000"], x=x[::-1])
        assert verdict.conclusion is Conclusion.INCONCLUSIVE
        assert "check labels, their order" in verdict.reasons[0]

    @pytest.mark.slow
    def test_for_probabilities(self, networks):
        def sure(variables, x):
            return jax.nn.softmax(field.cnn_apply(variables, x))

        verdict = self.dl_tnd(networks["benign_000"], sure)
        assert verdict.conclusion is Conclusion.INCONCLUSIVE
        assert "apply seems to give probabilities" in verdict.reasons[0]

    @pytest.mark.slow
    def test_with_the_features_of_another_layer(self, networks):
        def pixels(variables, x):
            return x.reshape(len(x), -1)[:, 300:400]

        verdict = self.df_tnd(networks["benign_000"], features=pixels)
        assert verdict.conclusion is Conclusion.INCONCLUSIVE
        assert "must be the penultimate layer" in verdict.reasons[0]


@pytest.mark.slow
def test_the_black_box_accuses_no_clean_network(networks):
    """Of a run in ``BDJAX_RUN``, whose detector asks images of MNIST."""
    run = os.environ.get("BDJAX_RUN")
    if not run:
        pytest.skip("BDJAX_RUN names no run of launch.mntd")
    detector = mntd.load(Path(run) / "detector")
    assert detector.queries.shape[1:] == (28, 28, 1)
    accused = []
    for name in CLEAN:
        found = networks[name]
        verdict = detector.score(
            functools.partial(jax.jit(found.apply), found.variables)
        )
        if verdict.conclusion is Conclusion.TROJANED:
            accused.append(f"{name}: {verdict}")
    assert not accused, "\n".join(accused)
