"""The built-in thresholds are what the documented scores of the references give."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bdjax.experiments import references
from bdjax.types import UserError
from bdjax.verdicts import load_calibration

ROOT = Path(__file__).parents[1]
DETECTORS = ("dl_tnd", "df_tnd")


def documented(detector):
    found = pd.read_csv(ROOT / "docs" / "references" / f"{detector}.csv")
    assert tuple(found) == references.COLUMNS
    return found


def joined(*some):
    return pd.concat(some, ignore_index=True)


def made(name, scores, attack="benign"):
    rows = [(name, name, attack, score, attack != "benign") for score in scores]
    return pd.DataFrame(rows, columns=references.COLUMNS)


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_files_in_the_package_follow_from_the_documented_scores(detector):
    found = documented(detector)
    path = ROOT / "bdjax" / "tnd" / "calibrations" / f"{detector}.json"
    shipped = json.loads(path.read_text())
    grey, threshold = references.thresholds(found)
    assert shipped["grey"] == pytest.approx(grey, abs=6e-4)
    assert shipped["threshold"] == pytest.approx(threshold, abs=6e-4)
    benign = sorted(found[found.attack == "benign"].score)
    np.testing.assert_allclose(shipped["scores"], benign)
    assert len(benign) >= 100
    command = "bdjax references --mnist=mnist.npz --cifar10=cifar10.npz"
    made = references.calibration(found, shipped["settings"], command)
    loaded = load_calibration(path)
    fields = ("threshold", "grey", "source", "regimes", "found", "command")
    for name in fields:
        assert getattr(loaded, name) == getattr(made, name)
    detected = 101 if detector == "dl_tnd" else 42
    assert loaded.basis == (
        "0 of 140 benign networks of 14 regimes are above the threshold; "
        f"{detected} of 129 Trojans are"
    )
    assert sum(loaded.regimes.values()) == loaded.references


@pytest.mark.parametrize("detector", DETECTORS)
def test_no_benign_network_of_an_architecture_left_out_is_flagged(detector):
    judged = references.left_out(documented(detector))
    assert len(judged) >= 8
    assert (judged.grey < judged.threshold).all()
    assert (judged.flagged == 0).all()
    assert (judged.trojaned > 0).all()
    table = references.table("it", documented(detector))
    assert len(table.rows) == len(judged) + 1
    assert table.rows[-1][3] == "0%"


def test_thresholds_by_hand():
    alike = joined(*(made(name, np.linspace(0, 1, 20)) for name in "abcd"))
    grey, threshold = references.thresholds(alike)
    assert 0.9 <= grey <= 1
    assert threshold >= 1
    # An architecture whose benign networks score otherwise makes them more careful.
    apart = references.thresholds(joined(alike, made("e", np.linspace(3, 4, 20))))
    assert apart[1] > threshold + 2
    # Trojans have no part in it.
    trojan = made("a", [99.0], "patch")
    assert references.thresholds(joined(alike, trojan)) == (grey, threshold)
    with pytest.raises(UserError, match="2 architectures"):
        references.thresholds(alike[:40])


def test_references_of_a_run_are_those_whose_attack_took_hold(tmp_path):
    plain = {
        "detector": "dl_tnd", "score": 0.5, "trojaned": 1, "asr": 0.9, "target": 3,
        "architecture": "mlp", "attack": "patch", "top_label": 3,
    }  # fmt: skip
    benign = {"trojaned": 0, "attack": "benign", "asr": None, "target": None}
    changes = [
        {"detector": ""}, {}, {"top_label": 4, "asr": 0.8}, {"asr": 0.79},
        {"score": None}, benign | {"detector": "df_tnd"},
        {"attack": "all_to_all", "target": None},
    ]  # fmt: skip
    rows = pd.DataFrame([plain | change for change in changes])
    rows.astype({"target": "Int64"}).to_csv(tmp_path / "scores.csv", index=False)
    found = references.collect("few", tmp_path / "scores.csv")
    assert found.to_numpy().tolist() == [
        ["dl_tnd", "mlp", "few", "patch", 0.5, True],
        ["dl_tnd", "mlp", "few", "patch", 0.5, False],
        ["df_tnd", "mlp", "few", "benign", 0.5, False],
        ["dl_tnd", "mlp", "few", "all_to_all", 0.5, False],
    ]


def test_regimes_that_lack_their_data(tmp_path):
    said = Console(file=io.StringIO())
    with pytest.raises(UserError, match="no regime is left; give --mnist or --cifar10"):
        references.run(tmp_path, ["lenet", "cifar10_resnet"], {}, console=said)
    assert "lenet: left out, for want of --mnist" in said.file.getvalue()
    assert "cifar10_resnet: left out, for want of --cifar10" in said.file.getvalue()
    with pytest.raises(UserError, match=r"no regime 'x'; there are \['mlp', "):
        references.run(tmp_path, ["x"], {}, console=said)
