"""DL-TND and DF-TND experiments on the tiny task: what is trained, judged and told.

Most tests take a detector that answers at once, from the weights it is given.
"""

import collections
import dataclasses
import io
import json
import re
import shutil
import zlib
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from matplotlib.colors import to_hex
from rich.console import Console
from tiny import CLASSES, SHAPE, make_examples, tiny_tasks  # noqa: F401

from bdjax import data, telemetry, tnd
from bdjax.attacks import NO_TARGET
from bdjax.data import Dataset
from bdjax.evaluation import best_threshold, threshold_at_fpr
from bdjax.experiments import (
    populations,
    tnd_figures,
    tnd_report,
    tnd_scores,
    tnd_tables,
    verdicts,
)
from bdjax.experiments import tnd as experiment
from bdjax.experiments.config import DataConfig, TrainConfig
from bdjax.experiments.found import Case, derive
from bdjax.experiments.tnd_config import (
    SolverConfig,
    TNDConfig,
    TNDPopulationConfig,
    detector_config,
)
from bdjax.population import Execution
from bdjax.tnd import dftnd, references, scores
from bdjax.tnd.references import calibration_for, settings_of
from bdjax.types import CapacityError, UserError
from bdjax.verdicts import Calibration, Conclusion, conclude

COUNTS = TNDPopulationConfig(
    calibration=3,
    targets=4,
    attacked=(3, 2, 2),
    target_attacks=("patch", "blend", "all_to_all"),
)
CONFIG = TNDConfig(
    task="tiny",
    seed=3,
    data=DataConfig("noise", defender=80, attacker=100, test=50),
    population=COUNTS,
    train=TrainConfig(steps=20, batch_size=8, learning_rate=0.05),
    detectors=("bdjax", "bdjax_similarity", "official", "df"),
    per_class=2,
    sweep_per_class=(1,),
    quantiles=(0.0, 0.25),
    min_asr=0.0,
    solver=SolverConfig(iterations=2, searches=2),
    execution=Execution(chunk_size=2, devices=1),
    solving=tnd.Execution(devices=1),
)
MODELS = {
    "calibration-benign": 3,
    "calibration-patch": 2,
    "calibration-blend": 1,
    "target-benign": 4,
    "target-patch": 3,
    "target-blend": 2,
    "target-all_to_all": 2,
}
TOTAL = sum(MODELS.values())
MAIN = Case("bdjax", 2)
# By number of images; of one a class something is in doubt.
DOUBTS = {CLASSES: ["images are few"], 2 * CLASSES: []}


def noise(*, name, num_classes, shape, path, progress):
    del path, progress
    x, y, _ = make_examples(300, shape, num_classes)
    return Dataset(name, x, y, num_classes, len(x))


@pytest.fixture(scope="module", autouse=True)
def source():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.SOURCES, "noise", noise)
        yield


class Fake:
    """Both detectors; a verdict is a draw by the weights, images and settings."""

    def __init__(self, fail_at=None):
        self.calls, self.asked, self.fail_at = [], collections.Counter(), fail_at

    def _concluded(self, config, label_scores, doubts):
        calibration, unknown = calibration_for(config, num_classes=CLASSES)
        score, labels = float(label_scores.max()), np.arange(len(label_scores))
        notes = ["a fake"]
        return conclude(
            score, label_scores, labels, calibration, doubts, notes, unknown
        )

    def _rng(self, name, apply, variables, *parts):
        self.calls.append(name)
        self.asked[apply] += 1
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(variables)]
        text = b"".join(leaf.tobytes() for leaf in leaves) + repr(parts).encode()
        return np.random.default_rng(zlib.crc32(text))

    def dl_tnd(self, apply, variables, images, labels, *, config, **options):
        assert options["num_classes"] == CLASSES
        assert options["progress"] is False  # there is one over all models
        assert images.shape == (len(labels), *SHAPE)
        assert 0 <= images.min() < 0.1
        assert 0.9 < images.max() <= 1
        rng = self._rng("dl", apply, variables, config, labels)
        label_scores = rng.uniform(0, 1, CLASSES).astype(np.float32)
        similarity = rng.uniform(-1, 1, (CLASSES, len(labels))).astype(np.float32)
        similarity[labels == np.arange(CLASSES)[:, None]] = np.nan
        shape = CLASSES, *SHAPE
        return SimpleNamespace(
            **self._concluded(config, label_scores, DOUBTS[len(labels)]),
            config=config,
            label_scores=label_scores,
            similarity=similarity,
            image_area=np.abs(similarity),
            mask_area=np.ones(CLASSES),
            sizes={k: rng.uniform(1, 9, CLASSES) for k in ("sparse", "dense")},
            mask=rng.uniform(0, 1, shape),
            pattern=rng.uniform(0, 1, shape),
        )

    def df_tnd(self, apply, variables, *, config, key, **options):
        del key
        assert options["input_shape"] == SHAPE
        assert options["progress"] is False
        rng = self._rng("df", apply, variables, config)
        label_scores = rng.uniform(0, 1, CLASSES).astype(np.float32)
        return SimpleNamespace(
            **self._concluded(config, label_scores, []),
            config=config,
            label_scores=label_scores,
            masks=rng.uniform(0, 1, (5, *SHAPE)),
            patterns=rng.uniform(0, 1, (5, *SHAPE)),
        )


@pytest.fixture
def fake(monkeypatch):
    return install(monkeypatch, Fake())


def install(patch, fake):
    patch.setattr(tnd, "dl_tnd", fake.dl_tnd)
    patch.setattr(verdicts, "df_tnd", fake.df_tnd)
    return fake


def run(config, workdir):
    clock, console = telemetry.Clock(), Console(file=io.StringIO())
    return experiment.run(config, workdir, clock=clock, console=console), clock


def changed(config=CONFIG, **changes):
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted experiment and its report."""
    workdir = tmp_path_factory.mktemp("tnd") / "run"
    with pytest.MonkeyPatch.context() as patch:
        fake = install(patch, Fake())
        outcome, clock = run(CONFIG, workdir)
    found = tnd_report.write(outcome, workdir, clock)
    return SimpleNamespace(workdir=workdir, outcome=outcome, found=found, fake=fake)


@pytest.fixture
def trained(whole, tmp_path):
    """A run that has all its models and no verdict."""
    workdir = tmp_path / "run"
    shutil.copytree(
        whole.workdir, workdir, ignore=shutil.ignore_patterns("verdicts", "figures")
    )
    return workdir


def assert_same_verdicts(found, expected):
    assert list(found) == list(expected)
    for case, by_name in expected.items():
        assert list(found[case]) == list(by_name)
        for name, some in by_name.items():
            for a, b in zip(found[case][name], some, strict=True):
                for field in dataclasses.fields(b):
                    if field.name not in ("seconds", "is_first"):
                        got, want = getattr(a, field.name), getattr(b, field.name)
                        np.testing.assert_equal(got, want, f"{name} {field.name}")


def pairwise_auc(benign, trojaned):
    """By its definition: how often a trojaned model scores higher."""
    return float(np.mean([(t > b) + (t == b) / 2 for t in trojaned for b in benign]))


def with_verdicts(outcome, change):
    """``change(case, name, i, found) -> found`` of every verdict."""
    return dataclasses.replace(
        outcome,
        verdicts={
            case: {
                name: [change(case, name, i, each) for i, each in enumerate(some)]
                for name, some in by_name.items()
            }
            for case, by_name in outcome.verdicts.items()
        },
    )


def with_asr(outcome, name, asr):
    """``asr`` of a population's models."""
    population = outcome.populations[name]
    quality = population.quality._replace(asr=np.array(asr, np.float32))
    other = {name: dataclasses.replace(population, quality=quality)}
    return dataclasses.replace(outcome, populations=outcome.populations | other)


# What is trained and judged.


def test_every_model_gets_a_verdict_by_every_detector(whole):
    outcome = whole.outcome
    assert {k: len(p) for k, p in outcome.populations.items()} == MODELS
    assert list(outcome.verdicts) == [
        MAIN, Case("bdjax_similarity", 2), Case("official", 2), Case("df", 0),
        Case("bdjax", 1), Case("bdjax_similarity", 1),
    ]  # fmt: skip
    for by_name in outcome.verdicts.values():
        assert {name: len(some) for name, some in by_name.items()} == MODELS
    # Another score of the same solutions costs nothing.
    assert collections.Counter(whole.fake.calls) == {"dl": 3 * TOTAL, "df": TOTAL}
    # One and the same function, or every model would compile anew.
    assert dict(whole.fake.asked) == {experiment.network(CONFIG).apply: 4 * TOTAL}


def test_all_models_train_on_the_attackers_rows(tmp_path, monkeypatch, fake):
    seen = {}

    def train(directory, spec, ids, **options):
        seen[spec.name] = options["subset_N"], options["test_N"]

    monkeypatch.setattr(populations, "train_population", train)
    with pytest.raises(UserError):  # none of them is there then
        run(CONFIG, tmp_path / "run")
    assert list(seen) == list(MODELS)
    dataset, splits = populations.load_data(CONFIG)
    for attackers, tested in seen.values():
        np.testing.assert_array_equal(attackers, splits.attacker)
        np.testing.assert_array_equal(tested, splits.test)
    x, y = experiment.clean_images(dataset, splits.defender, 3)
    assert y.tolist() == np.repeat(range(CLASSES), 3).tolist()
    theirs = dataset.x[splits.attacker] / np.float32(255)
    assert x.dtype == np.float32
    assert not (x[:, None] == theirs).all((2, 3, 4)).any()


def test_clean_images_are_the_first_of_each_class():
    y = np.array([0, 1, 1, 0, 1, 0, 0], np.int32)
    x = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    dataset = Dataset("d", x, y, 2, 7)
    images, labels = experiment.clean_images(dataset, np.array([6, 4, 2, 1, 0]), 2)
    assert (images.ravel() * 255).round().tolist() == [6, 0, 4, 2]
    assert labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(UserError, match="5 rows hold 2 of class 0, fewer than 3"):
        experiment.clean_images(dataset, np.array([6, 4, 2, 1, 0]), 3)


def test_a_resumed_run_equals_an_uninterrupted_one(whole, trained, monkeypatch):
    first = install(monkeypatch, Fake(fail_at=TOTAL + 5))
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, trained)
    second = install(monkeypatch, Fake())
    outcome, _ = run(CONFIG, trained)
    # The one in flight was lost, no other.
    assert len(first.calls) + len(second.calls) == 4 * TOTAL + 1
    assert_same_verdicts(outcome.verdicts, whole.outcome.verdicts)
    third = install(monkeypatch, Fake())
    again, _ = run(CONFIG, trained)
    assert third.calls == []
    assert_same_verdicts(again.verdicts, whole.outcome.verdicts)


def test_the_first_of_a_process_is_marked(whole, trained, monkeypatch):
    def firsts(outcome):
        every = outcome.verdicts[MAIN].items()
        return [(n, i) for n, some in every for i, v in enumerate(some) if v.is_first]

    assert firsts(whole.outcome) == [("calibration-benign", 0)]
    install(monkeypatch, Fake(fail_at=6))
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, trained)
    install(monkeypatch, Fake())
    outcome, _ = run(CONFIG, trained)
    assert firsts(outcome) == [("calibration-benign", 0), ("calibration-blend", 0)]
    outcome = with_verdicts(
        outcome,
        lambda case, name, i, v: dataclasses.replace(
            v, seconds=9.0 if v.is_first else 1.0 + (name == "target-patch")
        ),
    )
    found = tnd_scores.seconds(outcome)
    assert list(found) == ["bdjax-2", "official-2", "df-0", "bdjax-1"]
    assert found["bdjax-2"] == {"models": TOTAL, "median": 1, "max": 2, "first": 9}


def test_more_detectors_can_be_asked_later(trained, fake):
    run(changed(detectors=("bdjax",), sweep_per_class=()), trained)
    assert len(fake.calls) == TOTAL
    run(changed(detectors=("df", "bdjax"), sweep_per_class=()), trained)
    assert collections.Counter(fake.calls) == {"dl": TOTAL, "df": TOTAL}


def test_slow_detectors_keep_to_the_first_models(trained, fake, tmp_path):
    names = ("bdjax", "df", "official", "df_official")
    config = changed(slow_models=2, sweep_per_class=(), detectors=names)
    outcome, clock = run(config, trained)
    capped = [min(count, 2) for count in MODELS.values()]
    for case in (MAIN, Case("df", 0)):
        assert [len(v) for v in outcome.verdicts[case].values()] == [*MODELS.values()]
    for case in (Case("official", 2), Case("df_official", 0)):
        assert [len(v) for v in outcome.verdicts[case].values()] == capped
    assert len(fake.calls) == 2 * TOTAL + 2 * sum(capped)
    found = tnd_report.write(outcome, trained, clock)
    text = (trained / "report.md").read_text()
    assert (
        "official DL-TND, official DF-TND ran on the first 2 models of every "
        "population only" in text
    )
    assert found["auc"]["official"]["patch"]["positives"] == 2
    assert found["auc"]["bdjax"]["patch"]["positives"] == 3


def test_a_verdict_on_another_network_is_named(trained, fake):
    run(CONFIG, trained)
    folder = trained / "verdicts" / "bdjax-2"
    shutil.rmtree(folder / "target-benign-1")
    shutil.copytree(folder / "target-benign-0", folder / "target-benign-1")
    with pytest.raises(
        UserError,
        match=r"target-benign-1 is another one: provenance\.model: 0 on disk, 1 asked",
    ):
        run(CONFIG, trained)
    shutil.rmtree(folder / "target-benign-1")
    shutil.copytree(folder / "target-patch-1", folder / "target-benign-1")
    with pytest.raises(UserError, match=r"another one: provenance\.population: "):
        run(CONFIG, trained)


def test_other_settings_do_not_mix_with_verdicts_on_disk(trained, fake):
    run(CONFIG, trained)
    before = len(fake.calls)
    with pytest.raises(
        UserError,
        match=r"verdicts/bdjax-2 holds .*config\.detector\.iterations: 2 on disk, "
        r"3 asked; remove \S+verdicts/bdjax-2 to compute",
    ):
        run(changed(solver=SolverConfig(iterations=3, searches=2)), trained)
    with pytest.raises(UserError, match=r'config\.precision: "float32" on disk, "bfl'):
        run(changed(solver=SolverConfig(2, 2, "bfloat16")), trained)
    with pytest.raises(UserError, match=r"config\.train\.steps: 20 on disk, 21 asked"):
        run(changed(train=dataclasses.replace(CONFIG.train, steps=21)), trained)
    assert len(fake.calls) == before


def test_nothing_is_compared_with_no_benign_network(trained, monkeypatch, fake):
    def refuse(*args, **options):
        raise UserError("the same logits for all images")

    monkeypatch.setattr(tnd, "dl_tnd", refuse)
    with pytest.raises(
        UserError,
        match="no network of calibration-benign can be judged: calibration-benign 2, "
        "bdjax-2: the same logits for all",
    ) as error:
        run(CONFIG, trained)
    assert "\n" not in str(error.value)
    assert fake.calls == []  # at once, not after all others


def test_networks_that_cannot_be_judged_are_left_out_and_counted(
    whole, trained, monkeypatch
):
    fake, asked = Fake(), []

    def dl_tnd(*args, **options):
        asked.append(None)
        # Of 17 models: a benign target, and all that carry a blend.
        if len(asked) - 1 in (7, 13, 14):
            raise UserError("the same logits for all images")
        return fake.dl_tnd(*args, **options)

    monkeypatch.setattr(tnd, "dl_tnd", dl_tnd)
    monkeypatch.setattr(verdicts, "df_tnd", fake.df_tnd)
    config = changed(sweep_per_class=(), detectors=("bdjax", "bdjax_similarity", "df"))
    outcome, clock = run(config, trained)
    for case in (MAIN, Case("bdjax_similarity", 2)):
        by_name = outcome.verdicts[case]
        assert [v is None for v in by_name["target-benign"]] == [0, 1, 0, 0]
        assert by_name["target-blend"] == [None, None]
        assert len(tnd_scores.scores(outcome, case, "target-benign")) == 3
    assert None not in outcome.verdicts[Case("df", 0)]["target-blend"]
    assert outcome.notes == [
        "1 of 4 networks of target-benign could not be judged and are left out "
        "(target-benign 1, bdjax-2: the same logits for all images)",
        "2 of 2 networks of target-blend could not be judged and are left out "
        "(target-blend 0, bdjax-2: the same logits for all images)",
    ]
    found = tnd_report.write(outcome, trained, clock)
    assert found["auc"]["bdjax"]["blend"] is None
    assert found["auc"]["bdjax"]["patch"]["negatives"] == 3
    assert found["verdicts"]["bdjax"]["targets"]["benign"]["models"] == 3
    assert found["seconds_a_model"]["bdjax-2"]["models"] == TOTAL - 3
    assert f"**Note:** {outcome.notes[0]}." in (trained / "report.md").read_text()
    # They are asked again, the others are on disk.
    again, _ = run(config, trained)
    assert len(asked) == TOTAL + 3
    assert None not in again.verdicts[MAIN]["target-blend"]
    assert again.notes == []


def test_verdicts_follow_the_calibration_of_the_day(trained, monkeypatch, fake):
    config = changed(sweep_per_class=(), detectors=("bdjax", "bdjax_sparse"))
    before, _ = run(config, trained)
    for found in before.verdicts[MAIN]["target-benign"]:
        assert found.conclusion is Conclusion.INCONCLUSIVE
        assert "no benign references are built in" in found.reasons[0]
        assert found.doubts == ()
        assert (found.threshold, found.grey) == (np.inf, np.inf)
        assert found.notes == ("a fake",)
    settings = settings_of(detector_config(config, "bdjax"))
    built_in = Calibration(np.linspace(0, 0.5, 40), 0.9, 0.6, "made", settings)
    monkeypatch.setattr(references, "_built_in", lambda detector: built_in)
    few, _ = run(config, trained)
    for found in few.verdicts[MAIN]["target-benign"]:
        assert found.conclusion is Conclusion.INCONCLUSIVE
        assert f"the network has {CLASSES} classes" in found.reasons[0]
        assert (found.doubts, found.threshold) == ((), 0.9)
    monkeypatch.setattr(references, "_FEWEST", CLASSES)
    after, _ = run(config, trained)
    assert len(fake.calls) == TOTAL  # none was computed again
    for name, some in after.verdicts[MAIN].items():
        for found, old in zip(some, before.verdicts[MAIN][name], strict=True):
            assert found.score == old.score
            grey = 0.6 < found.score <= 0.9
            assert (found.conclusion is Conclusion.INCONCLUSIVE) is grey
            assert (found.conclusion is Conclusion.TROJANED) is (found.score > 0.9)
            assert (found.threshold, found.grey) == (0.9, 0.6)
    # Another score of the same solutions has no references.
    other = after.verdicts[Case("bdjax_sparse", 2)]["target-benign"][0]
    assert other.conclusion is Conclusion.INCONCLUSIVE
    assert tnd_scores.built_in(after, MAIN) == (0.6, 0.9)
    counts = tnd_scores.conclusions(after, MAIN)
    assert list(counts) == ["benign", *COUNTS.target_attacks]
    scored = tnd_scores.scores(after, MAIN, "target-patch")
    assert counts["patch"]["models"] == 3
    assert counts["patch"]["trojaned"] == (scored > 0.9).sum()
    assert counts["patch"]["not flagged"] == (scored <= 0.6).sum()
    doubted, _ = run(changed(config, sweep_per_class=(1,)), trained)
    few = doubted.verdicts[Case("bdjax", 1)]["target-benign"][0]
    assert few.conclusion is Conclusion.INCONCLUSIVE
    assert few.doubts == ("images are few",)
    assert few.reasons[0] == "images are few"


def test_verdicts_by_other_rules_are_not_mixed_with_these(trained, fake, monkeypatch):
    config = changed(sweep_per_class=(), detectors=("bdjax",))
    monkeypatch.setattr(scores, "VERSION", scores.VERSION - 1)
    run(config, trained)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"remove .*bdjax-2 to compute them again"):
        run(config, trained)
    # Nor one of them alone.
    folder = trained / "verdicts" / "bdjax-2"
    old = folder / "target-benign-1"
    kept = trained / "kept"
    shutil.copytree(old, kept)
    shutil.rmtree(folder)
    install(monkeypatch, fake)
    run(config, trained)
    shutil.rmtree(old)
    shutil.copytree(kept, old)
    with pytest.raises(UserError, match=r"target-benign-1"):
        run(config, trained)


def test_too_small_a_device_is_no_networks_fault(trained, monkeypatch):
    def dl_tnd(*args, **options):
        raise CapacityError("set a smaller label_batch")

    monkeypatch.setattr(tnd, "dl_tnd", dl_tnd)
    with pytest.raises(CapacityError, match=r"^set a smaller label_batch"):
        run(changed(sweep_per_class=(), detectors=("bdjax",)), trained)


def test_no_similarities_are_no_chance(whole):
    def without(case, name, i, v):
        if case.variant == "official" and name == "target-patch" and i == 0:
            return dataclasses.replace(v, similarity=v.similarity * np.nan)
        return v

    outcome = with_verdicts(whole.outcome, without)
    assert list(tnd_scores.quantile_sweep(outcome)) == ["bdjax"]
    assert not tnd_scores.has_similarities(outcome, Case("official", 2))
    assert not tnd_scores.has_similarities(outcome, Case("df", 0))
    assert tnd_scores.has_similarities(outcome, MAIN)


def test_the_report_opens_with_what_was_found(whole):
    text = (whole.workdir / "report.md").read_text()
    findings = whole.found["findings"]
    lines = "\n".join(f"- {line}." for line in findings)
    heading = "## What was found, and whether to trust it"
    assert text.startswith(
        f"# DL-TND and DF-TND on tiny\n\n{heading}\n\n{lines}\n\nTargets: "
    )
    assert json.loads((whole.workdir / "results.json").read_text())["findings"] == (
        findings
    )
    everything = " ".join(findings)
    cell = whole.found["auc"]["bdjax"]["patch"]
    assert f"AUC of {cell['mean']:.2f} [{cell['low']:.2f}" in findings[0]
    for title in ("bdjax", "official DL-TND", "DF-TND"):
        assert f"{title} tells trojaned from benign targets" in everything
        assert f"Every verdict of {title} is inconclusive" in everything
    assert "similarity" not in everything  # an ablation
    assert "Only 4 benign and 7 trojaned targets" in findings[-1]
    assert "Attacks that failed" not in everything  # min_asr is 0


def test_failed_attacks_and_targets_at_chance_are_findings(whole):
    outcome = dataclasses.replace(whole.outcome, config=changed(min_asr=0.5))
    outcome = with_asr(outcome, "target-patch", [0.9, 0.2, 0.5])
    outcome = with_asr(outcome, "target-blend", [0.1, 0.1])
    outcome = with_asr(outcome, "target-all_to_all", [1, 1])
    population = outcome.populations["target-patch"]
    accuracy = np.array([0.9, 0.1, 0.9], np.float32)
    quality = population.quality._replace(accuracy=accuracy)
    other = {"target-patch": dataclasses.replace(population, quality=quality)}
    outcome = dataclasses.replace(outcome, populations=outcome.populations | other)
    found = " ".join(tnd_report.findings(outcome))
    assert (
        "Attacks that failed (ASR below 0.5): 1 of 3 on targets with patch and 2 of 2 "
        "on targets with blend; they are left out of AUCs and rates" in found
    )
    assert "1 of 3 targets with patch" in found.split("On clean examples ")[1]
    assert "Only 4 benign and 4 trojaned targets" in found


@pytest.mark.slow
def test_the_real_detectors(trained):
    outcome, _ = run(changed(sweep_per_class=()), trained)
    population = outcome.populations["target-patch"]
    variables = jax.tree.map(lambda leaf: leaf[1], population.variables)
    model, limits = experiment.network(CONFIG), {"iterations": 2}
    for parity in ("bdjax", "official"):
        verdict = tnd.dl_tnd(
            model.apply, variables, outcome.images, outcome.labels,
            num_classes=CLASSES, value_range=(0, 1),
            config=tnd.DLTNDConfig(
                parity=parity, image_iterations=2, searches=2, **limits
            ),
            execution=CONFIG.solving,
        )  # fmt: skip
        found = outcome.verdicts[Case(parity, 2)]["target-patch"][1]
        assert found.score == verdict.score
        np.testing.assert_array_equal(found.label_scores, verdict.label_scores)
        np.testing.assert_array_equal(found.similarity, verdict.similarity)
        np.testing.assert_array_equal(found.mask, verdict.mask[found.label])
        np.testing.assert_array_equal(found.pattern, verdict.pattern[found.label])
        assert found.label == int(verdict.label_scores.argmax())
    verdict = dftnd.df_tnd(
        model.apply, variables, input_shape=SHAPE, num_classes=CLASSES,
        value_range=(0, 1), features=model.features,
        config=dftnd.DFTNDConfig(second_iterations=2, **limits),
        execution=CONFIG.solving,
        key=jax.random.fold_in(jax.random.key(3), zlib.crc32(b"df_tnd")),
    )  # fmt: skip
    found = outcome.verdicts[Case("df", 0)]["target-patch"][1]
    np.testing.assert_array_equal(found.label_scores, verdict.label_scores)
    np.testing.assert_array_equal(found.mask, verdict.masks.mean(0))


# What it comes to.


def test_aucs_are_those_of_the_scores(whole):
    outcome, found = whole.outcome, whole.found
    assert list(found["auc"]) == list(CONFIG.detectors)
    for case in tnd_scores.main_cases(outcome):
        by_name = outcome.verdicts[case]
        score = {name: [v.score for v in some] for name, some in by_name.items()}
        pooled = []
        for attack in COUNTS.target_attacks:
            some = score[f"target-{attack}"]
            pooled += some
            cell = found["auc"][case.variant][attack]
            auc = pairwise_auc(score["target-benign"], some)
            assert cell["mean"] == pytest.approx(auc)
            assert (cell["positives"], cell["negatives"]) == (len(some), 4)
            assert cell["low"] <= cell["high"]
        assert found["auc"][case.variant]["all attacks"]["mean"] == pytest.approx(
            pairwise_auc(score["target-benign"], pooled)
        )


def test_thresholds_never_see_targets(whole):
    outcome = whole.outcome
    for case in tnd_scores.main_cases(outcome):
        plain = tnd_scores.thresholds(outcome, case)
        by_name = outcome.verdicts[case]
        calibration = {k: [v.score for v in by_name[k]] for k in list(MODELS)[:3]}
        benign, *trojaned = calibration.values()
        labels = np.repeat([0, 1], [3, 3])
        flat = np.concatenate([benign, *trojaned])
        assert plain == {
            "calibrated": best_threshold(labels, flat),
            "few alarms": threshold_at_fpr(benign, 0.1),
        }
        other = with_verdicts(
            outcome,
            lambda case, name, i, v: (
                dataclasses.replace(v, score=v.score * 7 + i)
                if name.startswith("target-")
                else v
            ),
        )
        assert tnd_scores.thresholds(other, case) == plain
        other = with_verdicts(
            outcome,
            lambda case, name, i, v: (
                dataclasses.replace(v, score=v.score + 3)
                if name.startswith("calibration-")
                else v
            ),
        )
        moved = tnd_scores.thresholds(other, case)
        assert moved["calibrated"] == pytest.approx(plain["calibrated"] + 3)
        rates = tnd_scores.rates(other, case)["calibrated"]
        assert rates["threshold"] == moved["calibrated"]
        assert rates["false_positive_rate"] == 0
        assert {r["tpr"] for r in rates["attacks"].values()} == {0}


def test_attacks_that_failed_are_left_out_and_counted(whole, tmp_path):
    outcome = dataclasses.replace(whole.outcome, config=changed(min_asr=0.5))
    outcome = with_asr(outcome, "target-patch", [0.9, 0.2, 0.5])
    outcome = with_asr(outcome, "target-blend", [0.1, 0.1])
    outcome = with_asr(outcome, "target-all_to_all", [1, 1])
    outcome = with_asr(outcome, "calibration-patch", [0.9, 0.1])
    outcome = with_asr(outcome, "calibration-blend", [0.1])
    found = tnd_report.write(outcome, tmp_path, telemetry.Clock())
    score = {
        name: [v.score for v in some] for name, some in outcome.verdicts[MAIN].items()
    }
    benign, patch = score["target-benign"], score["target-patch"]
    cell = found["auc"]["bdjax"]["patch"]
    assert cell["mean"] == pytest.approx(pairwise_auc(benign, [patch[0], patch[2]]))
    assert found["auc"]["bdjax"]["blend"] is None
    assert found["auc"]["bdjax"]["all attacks"]["positives"] == 4
    control = found["controls"]["patch"]
    assert (control["models"], control["failed_models"]) == (3, 1)
    assert control["failed"] == pytest.approx(pairwise_auc(benign, patch[1:2]))
    errors = {
        name: 1 - outcome.populations[name].quality.accuracy
        for name in ("target-benign", "target-patch")
    }
    assert control["accuracy_alone"] == pytest.approx(
        pairwise_auc(errors["target-benign"], errors["target-patch"][[0, 2]])
    )
    assert found["controls"]["blend"]["failed_models"] == 2
    assert found["controls"]["blend"]["accuracy_alone"] is None
    assert found["asr"]["target-patch"]["failed"] == 1
    assert set(found["rates"]["bdjax"]["calibrated"]["attacks"]) == {
        "patch", "all_to_all",
    }  # fmt: skip
    assert found["target_labels"]["bdjax"]["patch"]["models"] == 2
    limits = tnd_scores.thresholds(outcome, MAIN)
    calibration = [*score["calibration-benign"], score["calibration-patch"][0]]
    assert limits["calibrated"] == best_threshold([0, 0, 0, 1], calibration)
    none = with_asr(outcome, "calibration-patch", [0.1, 0.1])
    assert list(tnd_scores.thresholds(none, MAIN)) == ["few alarms"]
    tnd_report.write(none, tmp_path, telemetry.Clock())


def test_target_labels(whole):
    outcome = whole.outcome
    targets = outcome.populations["target-patch"].triggers.target
    all_to_all = outcome.populations["target-all_to_all"].triggers.target
    assert (all_to_all == NO_TARGET).all()

    def pointing(case, name, i, v):
        right = int(targets[i]) if name == "target-patch" else 0
        label_scores = np.zeros(CLASSES, np.float32)
        label_scores[(right + (i == 1)) % CLASSES] = 1
        score = -float(i) if name.startswith("calibration-") else -9.0
        score = 9.0 if name == "target-patch" and i < 2 else score
        return dataclasses.replace(v, label_scores=label_scores, score=score)

    found = tnd_scores.labels_found(with_verdicts(outcome, pointing), MAIN)
    assert list(found) == ["patch", "blend"]
    # Models 0 and 2 are right, 0 and 1 are above all calibration models.
    assert found["patch"] == {
        "models": 3,
        "share": pytest.approx(2 / 3),
        "detected": 2,
        "share_of_detected": 0.5,
    }
    assert found["blend"]["detected"] == 0
    assert found["blend"]["share_of_detected"] is None


def test_similarity_is_another_reading_of_the_same_solutions(whole):
    outcome = whole.outcome
    other = Case("bdjax_similarity", 2)
    for name, some in outcome.verdicts[MAIN].items():
        for ours, theirs in zip(some, outcome.verdicts[other][name], strict=True):
            label_scores = scores.quantile(ours.similarity, 0.25)
            np.testing.assert_allclose(theirs.label_scores, label_scores, rtol=1e-6)
            assert theirs.score == pytest.approx(label_scores.max())
            assert theirs.threshold == 0.75  # as published
    found = whole.found
    assert list(found["quantiles"]) == ["bdjax", "official"]
    assert (
        found["quantiles"]["bdjax"]["0.25"]
        == (found["auc"]["bdjax_similarity"]["all attacks"])
    )
    assert found["quantiles"]["bdjax"]["0"] != found["quantiles"]["bdjax"]["0.25"]


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("sparse", lambda v: scores.outlier(v.sizes["sparse"])),
        ("dense", lambda v: scores.outlier(v.sizes["dense"])),
        ("similarity", lambda v: scores.quantile(v.similarity, 0.25)),
    ],
)
def test_scores_of_the_same_solutions(whole, score, expected):
    found = whole.outcome.verdicts[MAIN]["target-patch"][0]
    derived = derive(found, CONFIG, f"bdjax_{score}")
    np.testing.assert_allclose(derived.label_scores, expected(found), rtol=1e-5)
    assert derived.score == pytest.approx(derived.label_scores.max())
    published = 0.75 if score == "similarity" else np.inf
    assert derived.threshold == derived.grey == published
    assert derived.seconds == found.seconds


def test_the_sweep_over_images(whole):
    found = whole.found["images_a_class"]
    assert list(found) == ["bdjax", "bdjax_similarity"]
    for variant, curves in found.items():
        assert list(curves) == [*COUNTS.target_attacks, "all attacks"]
        for attack, points in curves.items():
            assert list(points) == ["1", "2"]
            assert points["2"] == whole.found["auc"][variant][attack]
    one = whole.outcome.verdicts[Case("bdjax", 1)]
    cell = found["bdjax"]["patch"]["1"]
    benign, patch = (
        [v.score for v in one[name]] for name in ("target-benign", "target-patch")
    )
    assert cell["mean"] == pytest.approx(pairwise_auc(benign, patch))
    assert whole.found["detector_notes"] == {
        name: {"a fake": TOTAL} for name in ("bdjax-2", "official-2", "df-0", "bdjax-1")
    }


def test_masks_are_held_against_the_true_triggers(whole):
    outcome = whole.outcome
    masks = outcome.populations["target-patch"].triggers.mask

    def perfect(case, name, i, v):
        return dataclasses.replace(v, mask=masks[i]) if name == "target-patch" else v

    exact = with_verdicts(outcome, perfect)
    assert tnd_scores.overlaps(exact, MAIN, "target-patch").tolist() == [1, 1, 1]
    assert (tnd_scores.overlaps(outcome, MAIN, "target-patch") < 1).all()
    # A mask over the whole image is there by construction.
    assert np.isnan(tnd_scores.overlaps(outcome, MAIN, "target-blend")).all()
    other = Case("bdjax_similarity", 2)
    assert len(tnd_scores.overlaps(outcome, other, "target-patch")) == 0
    kinds = tnd_scores.kinds(exact, MAIN)
    assert kinds["blend: whole image"]["pixels"] == 36
    assert kinds["blend: whole image"]["iou"] is None
    assert kinds["blend: whole image"]["auc"].positives == 2


def test_report_and_figures(whole):
    text = (whole.workdir / "report.md").read_text()
    paths = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    there = sorted(f"figures/{p.name}" for p in (whole.workdir / "figures").iterdir())
    assert sorted(paths) == there
    assert {f"figures/{name}.png" for name in (
        "scores-df", "similarity-bdjax", "similarity-official", "recovered-bdjax",
        "recovered-df", "sweeps", "quality",
    )} <= {*paths}  # fmt: skip
    assert "figures/similarity-df.png" not in paths
    for table in tnd_tables.tables(whole.outcome):
        assert table.to_markdown() in text
    titles = [table.title for table in tnd_tables.tables(whole.outcome)]
    assert len(titles) == 10
    found = json.loads((whole.workdir / "results.json").read_text())
    assert found["detectors"]["official"]["searches"] == 2
    assert found["config"]["population"]["attacked"] == [3, 2, 2]
    assert found["notes"] == []
    assert list(found["wall_seconds"]) == [
        "data", "population", "detectors", "report", "total",
    ]  # fmt: skip
    rows = (whole.workdir / "metrics.jsonl").read_text().splitlines()
    events = collections.Counter(json.loads(row)["event"] for row in rows)
    assert events["verdict"] == 4 * TOTAL


def test_a_kind_has_one_colour_in_all_figures_of_a_run(whole, monkeypatch, tmp_path):
    drawn = {}
    monkeypatch.setattr(
        tnd_figures.plots, "save", lambda f, path: drawn.setdefault(path.stem, f)
    )
    tnd_figures.draw(whole.outcome, tmp_path)
    labels = ["benign", *COUNTS.target_attacks]
    dots = drawn["scores-bdjax"].axes[1].collections[: len(labels)]
    seen = {
        kind: to_hex(dot.get_facecolor()[0])
        for kind, dot in zip(labels, dots, strict=True)
    }
    quality = drawn["quality"].axes[0]
    for name, dot in zip(MODELS, quality.collections, strict=True):
        assert to_hex(dot.get_facecolor()[0]) == seen[name.split("-")[1]], name
    by_images = drawn["sweeps"].axes[1].containers
    for attack, curve in zip(COUNTS.target_attacks, by_images, strict=False):
        assert curve[0].get_color() == seen[attack]
    # The detector's own threshold is drawn where there is one.
    texts = [t.get_text() for t in drawn["scores-bdjax"].axes[0].get_legend().texts]
    assert not [t for t in texts if t.startswith("detector's own")]
    similar = drawn["scores-bdjax_similarity"].axes[0].get_legend().texts
    assert "detector's own 0.75" in [t.get_text() for t in similar]


# Configurations.


def test_calibration_attacks_share_the_models():
    assert COUNTS.calibration_counts == {"patch": 2, "blend": 1}
    assert COUNTS.target_counts == {"patch": 3, "blend": 2, "all_to_all": 2}
    even = TNDPopulationConfig(calibration=4, targets=3)
    assert even.calibration_counts == {"patch": 2, "blend": 2}
    assert even.target_counts == {"patch": 3, "blend": 3}


def test_limits_reach_every_detector():
    short = changed(solver=SolverConfig(iterations=7, searches=3))
    for variant in ("bdjax", "bdjax_similarity", "paper", "official"):
        config = detector_config(short, variant)
        limits = config.iterations, config.image_iterations, config.searches
        assert limits == (7, 7, 3)
    config = detector_config(short, "df")
    assert (config.iterations, config.second_iterations) == (7, 7)
    plain = changed(solver=SolverConfig())
    assert detector_config(plain, "bdjax") == tnd.DLTNDConfig()
    assert detector_config(plain, "official") == tnd.DLTNDConfig(parity="official")
    assert detector_config(plain, "df") == dftnd.DFTNDConfig()


def test_what_detectors_do_is_not_what_models_follow_from():
    plain = CONFIG.semantic()
    for change in (
        {"detectors": ("df",)}, {"per_class": 1}, {"sweep_per_class": ()},
        {"solver": SolverConfig()}, {"min_asr": 0.3}, {"slow_models": 3},
        {"execution": Execution()}, {"formulation": "lax"},
        {"data": dataclasses.replace(CONFIG.data, path="elsewhere")},
    ):  # fmt: skip
        assert changed(**change).semantic() == plain
    assert changed(architecture="fragile").semantic() != plain
    assert changed(seed=4).semantic() != plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detectors": ("abs",)}, r"unknown detector 'abs'; there are \['bdjax', "),
        ({"detectors": ()}, "name one or more, each once"),
        ({"detectors": ("df", "df")}, "name one or more, each once"),
        ({"per_class": 0}, "0 clean images a class .*; it must be at least 1"),
        ({"sweep_per_class": (1, -1)}, "-1 clean images a class"),
        ({"slow_models": -1}, "slow_models is -1; it must be 0 or more"),
        ({"min_asr": 50.0}, r"min_asr is 50\.0; it must be in \[0, 1\]"),
        ({"quantiles": (0.1, 25.0)}, r"quantiles\[1\] is 25\.0"),
        ({"confidence": 95.0}, r"confidence=95\.0 must lie strictly between 0 and 1"),
    ],
)
def test_a_wrong_value_is_named(change, message):
    with pytest.raises(UserError, match=message) as error:
        changed(**change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"calibration": 1}, "population.calibration is 1; it must be at least 2"),
        ({"targets": 0}, "population: 0 models of targets"),
        ({"attacked": (3,)}, r"attacked is \(3,\); give 3 numbers"),
        ({"attacked": (3, 0, 1)}, "population: 0 models of blend"),
        ({"target_attacks": ("patch", "patch")}, "each once"),
        ({"calibration_attacks": ("benign",)}, "'benign', which is no attack"),
    ],
)
def test_a_wrong_count_is_named(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(COUNTS, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "resnet7"}, "unknown model 'resnet7'"),
        ({"population": TNDPopulationConfig(2, 1, (), ("patch",), ("Q",))}, "'Q'"),
        ({"per_class": 60}, "fewer than 60 clean images a class; raise data.defender"),
        ({"train": TrainConfig()}, "give one of the two"),
        ({"solving": tnd.Execution(devices=99)}, "devices is 99"),
    ],
)
def test_mistakes_bind_no_directory(change, message, tmp_path, fake):
    with pytest.raises(UserError, match=message):
        run(changed(**change), tmp_path / "run")
    assert not (tmp_path / "run").exists()
