"""Whole experiments on the tiny task: what is trained, asked and kept, and resumed.

MNTD and accuracy are asked in earnest, beside a detector that answers at once from the
weights that it is given. One run serves most tests.
"""

import csv
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
from rich.console import Console
from tiny import CLASSES, NETWORKS, SHAPE, TASK, make_examples

from bdjax import data, mntd, report, telemetry
from bdjax.data import Dataset
from bdjax.detectors import DETECTORS, Access, Detector, Entry, Finding, Needs, unjudged
from bdjax.experiments import (
    directory,
    judging,
    presets,
    runner,
    training,
    zoo,
)
from bdjax.experiments.config import DataConfig, Experiment, Group, Zoo
from bdjax.experiments.overrides import change
from bdjax.mntd import FitConfig
from bdjax.models import MODELS
from bdjax.population import Execution, Recipe, load_population
from bdjax.tasks import TASKS
from bdjax.types import UserError

BOTH = ("benign", "jumbo")
RECIPE = Recipe(steps=20, batch_size=8, learning_rate=0.05)
EXPERIMENT = Experiment(
    Zoo(
        "tiny",
        DataConfig("noise", defender=100, attacker=100, test=50),
        (
            Group("shadow", BOTH, (4,), (RECIPE,)),
            Group("validation", BOTH, (2,), (RECIPE,)),
            Group("calibration", ("benign", "patch"), (2,), (RECIPE,)),
            Group("target", ("benign", "patch", "all_to_all"), (3, 3, 2), (RECIPE,)),
        ),
    ),
    ("mntd", "fake", "fake:per_class=1", "slow_fake", "accuracy"),
    seed=3,
    per_class=2,
    min_asr=0.0,
    fit=FitConfig(epochs=2, repeats=2),
    execution=Execution(chunk_size=2, devices=1),
)
COUNTS = {
    "shadow-benign": 4, "shadow-jumbo": 4, "validation-benign": 2,
    "validation-jumbo": 2, "calibration-benign": 2, "calibration-patch": 2,
    "target-benign": 3, "target-patch": 3, "target-all_to_all": 2,
}  # fmt: skip
ASKED = [name for name in COUNTS if name.split("-")[0] in ("calibration", "target")]
MODELS_ASKED = sum(COUNTS[name] for name in ASKED)
CHUNKS = sum(-(-count // 2) for count in COUNTS.values())


def noise(request):
    if request.path:
        raise UserError("this source reads no files; leave data.path out")
    x, y, _ = make_examples(300, request.shape, request.num_classes)
    return Dataset(request.name, x, y, request.num_classes, len(x))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fake(Detector):
    """A draw by the weights and the images; of some populations it judges none."""

    per_class: int = 2

    access = Access.LOGITS
    calls = []  # noqa: RUF012
    failing = {}  # noqa: RUF012

    @property
    def needs(self):
        return Needs(images_per_class=self.per_class)

    def check(self, resources):
        resources.images(self.per_class)

    def examine(self, networks, resources):
        x, y = resources.images(self.per_class)
        assert x.shape == (CLASSES * self.per_class, *SHAPE)
        assert x.dtype == np.float32
        assert 0.9 < x.max() <= 1
        assert y.tolist() == np.repeat(range(CLASSES), self.per_class).tolist()
        for i, id_ in enumerate(networks.ids_M):
            self.calls.append((self.slug, networks.name, int(id_)))
            if int(id_) in self.failing.get(networks.name, ()):
                yield unjudged(id_, "the same logits for all images")
                continue
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(networks.one(i))]
            seed = zlib.crc32(b"".join(leaf.tobytes() for leaf in leaves))
            rng = np.random.default_rng([seed, self.per_class])
            label_scores = rng.uniform(0, 1, CLASSES).astype(np.float32)
            yield Finding(
                id=int(id_),
                score=float(label_scores.max()),
                conclusion="inconclusive",
                threshold=np.inf,
                labels=np.arange(CLASSES),
                label_scores=label_scores,
                artefacts={"mask": rng.uniform(0, 1, SHAPE)},
                reasons=("no references", "few images"),
                notes=("a fake",),
                seconds=0.5,
            )


@pytest.fixture(scope="module", autouse=True)
def world():
    """The tiny task with a source of data, and the fake detectors."""
    start = {"clipped": (0.5, 0.2), "official": (0.0, 1.0)}
    task = dataclasses.replace(TASK, query_init=start)
    fakes = {"fake": Entry(Fake, "a fake"), "slow_fake": Entry(Fake, "slow", {}, True)}
    with pytest.MonkeyPatch.context() as patch:
        for registry, entries in (
            (MODELS, NETWORKS), (TASKS, {"tiny": task}), (DETECTORS, fakes),
            (data.SOURCES, {"noise": noise}),
        ):  # fmt: skip
            for name, entry in entries.items():
                patch.setitem(registry, name, entry)
        yield


@pytest.fixture(autouse=True)
def asked():
    """What the fakes were asked in a test."""
    Fake.calls.clear()
    Fake.failing.clear()
    return Fake.calls


def run(experiment, workdir, **options):
    clock, said = telemetry.Clock(), io.StringIO()
    console = Console(file=said, width=300)
    path = runner.run(experiment, workdir, clock=clock, console=console, **options)
    assert path == workdir / "scores.csv"
    return SimpleNamespace(rows=read(path), said=said.getvalue(), clock=clock)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, world):
    """An uninterrupted experiment."""
    del world
    Fake.calls.clear()
    workdir = tmp_path_factory.mktemp("whole") / "run"
    found = run(EXPERIMENT, workdir)
    found.workdir, found.calls = workdir, list(Fake.calls)
    return found


@pytest.fixture
def copy(whole, tmp_path):
    """The same run in a directory of a test's own."""
    return shutil.copytree(whole.workdir, tmp_path / "run")


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def of(rows, **cells):
    return [row for row in rows if all(row[k] == v for k, v in cells.items())]


def events(workdir, event):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == event]


def timeless(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def population(workdir, name):
    return load_population(workdir / "populations" / name)


# What a run leaves behind.


def test_every_model_has_its_rows(whole):
    shadows = [row for row in whole.rows if not row["detector"]]
    assert [row["population"] for row in shadows] == np.repeat(
        list(COUNTS)[:4], list(COUNTS.values())[:4]
    ).tolist()
    asked = [row for row in whole.rows if row["detector"]]
    assert list(dict.fromkeys(row["detector"] for row in asked)) == [
        "mntd", "fake", "fake-per_class=1", "slow_fake", "accuracy",
    ]  # fmt: skip
    for detector, repeats in (("mntd", ["-1", "0", "1"]), ("fake", ["-1"])):
        for name in ASKED:
            some = of(asked, detector=detector, population=name)
            ids = [str(i) for i in range(COUNTS[name])]
            assert sorted((row["id"], row["repeat"]) for row in some) == sorted(
                (i, r) for i in ids for r in repeats
            )
    assert [*whole.rows[0]] == list(judging.COLUMNS)


def test_rows_say_what_is_known_of_a_model(whole):
    models = population(whole.workdir, "target-patch")
    for record, row in zip(
        models.records(), of(whole.rows, detector="fake", population="target-patch"),
        strict=True,
    ):  # fmt: skip
        assert (row["role"], row["attack"], row["trojaned"]) == ("target", "patch", "1")
        assert (row["architecture"], row["recipe"], row["seed"]) == ("tiny", "", "3")
        assert int(row["target"]) == record["target"]
        for cell, name in (
            ("accuracy", "accuracy"), ("asr", "asr"), ("loss", "loss"),
            ("poisoning_rate", "rate"),
        ):  # fmt: skip
            assert float(row[cell]) == pytest.approx(record[name], rel=1e-6)
        assert row["trigger_kind"]
        assert int(row["trigger_size"]) >= 1
        assert row["holds"] == "1"
    (benign, *_) = of(whole.rows, detector="fake", population="target-benign")
    unknown = ("target", "trigger_kind", "trigger_size", "poisoning_rate", "asr")
    assert [benign[name] for name in unknown] == [""] * 5
    assert (benign["trojaned"], benign["holds"]) == ("0", "1")
    (shifted, *_) = of(whole.rows, detector="fake", population="target-all_to_all")
    assert (shifted["trojaned"], shifted["target"]) == ("1", "")


@pytest.mark.parametrize(
    ("label_scores", "top"),
    [
        ([-1, 2, 0], (1, 2)), ([np.nan, 2, 0], (1, 2)), ([-1, -1, -1], None),
        ([2, 2, 0], None), ([np.nan] * 3, None),
    ],
)  # fmt: skip
def test_a_tie_has_no_top_label(label_scores, top):
    detector = SimpleNamespace(slug="it", title="it")
    found = Finding(0, 1.0, label_scores=np.array(label_scores, float))
    row = judging.finding_row({}, detector, found)
    assert ("top_label" in row) == ("top_score" in row) == bool(top)
    assert (row.get("top_label"), row.get("top_score")) == (top or (None, None))
    assert row["label_scores"].count("=") == 3


def test_rows_say_what_was_found(whole):
    for row in of(whole.rows, detector="fake"):
        pairs = [pair.split("=") for pair in row["label_scores"].split(";")]
        assert [int(label) for label, _ in pairs] == [*range(CLASSES)]
        values = np.array([value for _, value in pairs], np.float32)
        assert int(row["top_label"]) == values.argmax()
        assert float(row["score"]) == np.float64(values.max())
        assert row["top_score"] == str(values.max())
        assert (row["conclusion"], row["threshold"]) == ("inconclusive", "inf")
        assert row["reasons"] == "no references | few images"
        assert (row["notes"], row["seconds"], row["title"]) == (
            "a fake", "0.5", "a fake",
        )  # fmt: skip
    (row, *_) = of(whole.rows, detector="fake-per_class=1")
    assert row["title"] == "a fake (per_class=1)"
    for row in of(whole.rows, detector="accuracy"):
        assert float(row["score"]) == pytest.approx(
            1 - float(row["accuracy"]), abs=1e-6
        )


def test_the_run_says_what_it_was(whole):
    found = directory.read(whole.workdir)
    assert found["experiment"] == EXPERIMENT.to_dict()
    assert found["versions"]["jax"] == jax.__version__
    assert {"python", "flax", "bdjax", "orbax-checkpoint"} <= set(found["versions"])
    assert list(found["wall_seconds"]) == ["data", "population", "detectors"]
    assert found["peak_memory_bytes"] > 1e8
    assert found["device"].startswith("4 x cpu (")
    assert found["notes"] == []
    assert found["test_examples"] == 50
    assert 1 / CLASSES <= found["chance"] < 0.5
    assert len(events(whole.workdir, "chunk")) == CHUNKS


def test_artefacts(whole):
    folder = whole.workdir / judging.FOLDER
    with np.load(folder / "fake" / "target-patch-1.npz") as found:
        assert found["mask"].shape == SHAPE
    with np.load(folder / "mntd" / "shown.npz") as shown:
        assert shown["queries"].shape[1:] == SHAPE
    with np.load(folder / "populations" / "target-patch.npz") as found:
        models = population(whole.workdir, "target-patch")
        assert found["ids"].tolist() == [0, 1, 2]
        assert found["x_clean"].shape == found["x_triggered"].shape == (3, *SHAPE)
        sizes = [r["description"].size for r in models.records()]
        assert found["mask"].sum((1, 2)).tolist() == sizes
        outside = ~found["mask"][..., None]
        np.testing.assert_array_equal(
            found["x_clean"] * outside, found["x_triggered"] * outside
        )
        assert len(found["text"]) == 3
    with np.load(folder / "populations" / "target-benign.npz") as found:
        np.testing.assert_array_equal(found["x_clean"], found["x_triggered"])
    assert not (folder / "accuracy").exists()


def test_models_differ_and_roles_share_nothing(whole):
    kernels = [
        leaf
        for name in COUNTS
        for leaf in population(whole.workdir, name).variables["params"]["logits"][
            "kernel"
        ]
    ]
    assert len({kernel.tobytes() for kernel in kernels}) == sum(COUNTS.values())


def test_who_trains_on_whose_rows(tmp_path, monkeypatch):
    seen = {}

    def train(directory, spec, ids, **options):
        del directory, ids
        seen[spec.name] = options["subset_N"], options["test_N"]

    monkeypatch.setattr(training, "train_population", train)
    with pytest.raises(UserError):  # none of them is there then
        run(EXPERIMENT, tmp_path / "run")
    assert list(seen) == list(COUNTS)
    dataset, splits = zoo.load_data(EXPERIMENT)
    for name, (rows, tested) in seen.items():
        theirs = name.startswith(("shadow", "validation"))
        holder = splits.defender if theirs else splits.attacker
        np.testing.assert_array_equal(rows, holder)
        np.testing.assert_array_equal(tested, splits.test)
    assert not {*splits.defender} & {*splits.attacker}
    assert len(dataset.x) == 300


# Detectors.


def test_the_saved_detector_scores_as_the_table_says(whole):
    (saved,) = (whole.workdir / "detectors" / "mntd").rglob("detector")
    detector = mntd.load(saved)
    network = zoo.specs(EXPERIMENT)[0].spec.network
    for name in ("target-benign", "target-patch"):
        models = population(whole.workdir, name)
        rows = of(whole.rows, detector="mntd", population=name, repeat="-1")
        for i, row in enumerate(rows):
            one = jax.tree.map(lambda leaf, i=i: leaf[i], models.variables)
            verdict = detector.score(lambda x, one=one: network.apply(one, x))
            assert float(row["score"]) == pytest.approx(verdict.score, abs=1e-4)
            assert float(row["threshold"]) == pytest.approx(detector.threshold)
            # And of the repeat that was saved.
            (repeat,) = of(
                whole.rows, detector="mntd", population=name, id=row["id"],
                repeat=str(detector.repeat),
            )  # fmt: skip
            assert float(repeat["score"]) == pytest.approx(verdict.score, abs=1e-4)


def test_more_detectors_can_be_asked_later(copy, asked):
    (copy / "metrics.jsonl").unlink()
    found = run(change(EXPERIMENT, {"detectors": ("slow_fake", "accuracy")}), copy)
    assert {row["detector"] for row in found.rows} == {"", "slow_fake", "accuracy"}
    assert len(asked) == MODELS_ASKED
    assert events(copy, "chunk") == []
    said = directory.read(copy)["experiment"]["detectors"]
    assert said == ["slow_fake", "accuracy"]


def test_slow_detectors_keep_to_the_first_models(copy, asked):
    found = run(change(EXPERIMENT, {"slow_models": 2}), copy)
    slow = of(found.rows, detector="slow_fake")
    assert [(row["population"], row["id"]) for row in slow] == [
        (name, str(i)) for name in ASKED for i in range(min(2, COUNTS[name]))
    ]
    assert len(of(found.rows, detector="fake")) == MODELS_ASKED
    assert len(asked) == 2 * MODELS_ASKED + len(slow)


def test_networks_that_cannot_be_judged_are_left_out_with_a_note(copy):
    Fake.failing.update({"target-benign": (1,), "target-all_to_all": (0, 1)})
    found = run(change(EXPERIMENT, {"detectors": ("fake", "accuracy")}), copy)
    notes = [
        "1 of 3 networks of target-benign could not be judged and are left out "
        "(target-benign 1, fake: not judged: the same logits for all images)",
        "2 of 2 networks of target-all_to_all could not be judged and are left out "
        "(target-all_to_all 0, fake: not judged: the same logits for all images)",
    ]
    assert directory.read(copy)["notes"] == notes
    assert all(note in found.said for note in notes)
    rows = of(found.rows, detector="fake", population="target-benign")
    assert [row["score"] == "" for row in rows] == [False, True, False]
    assert rows[1]["notes"] == "not judged: the same logits for all images"
    assert not of(found.rows, detector="accuracy", score="")


def test_a_detector_that_judges_no_benign_network_ends_nothing(copy):
    Fake.failing.update({"calibration-benign": range(2), "target-benign": range(3)})
    asked = ("fake", "accuracy")
    found = run(change(EXPERIMENT, {"detectors": asked, "min_asr": 0.0}), copy)
    assert "2 of 2 networks of calibration-benign could not be judged" in found.said
    assert "3 of 3 networks of target-benign could not be judged" in found.said
    assert len(of(found.rows, detector="accuracy")) == MODELS_ASKED
    report.write(copy)
    aucs = json.loads((copy / "results.json").read_text())["auc"]
    assert set(aucs["fake"].values()) == {None}
    assert None not in aucs["accuracy"].values()


def test_attacks_that_failed_do_not_hold(copy):
    rows = run(change(EXPERIMENT, {"min_asr": 1.0, "detectors": ("fake",)}), copy).rows
    for row in rows:
        failed = row["trojaned"] == "1" and float(row["asr"]) < 1
        assert row["holds"] == str(int(not failed))
    assert {row["holds"] for row in of(rows, attack="all_to_all")} == {"0"}
    counted = {"min_asr": 1.0, "failed_attacks": "counted", "detectors": ("fake",)}
    rows = run(change(EXPERIMENT, counted), copy).rows
    assert {row["holds"] for row in rows} == {"1"}


# Resuming.


def test_a_finished_run_goes_through_again_without_training(whole, copy):
    before = {event: len(events(copy, event)) for event in ("chunk", "epoch")}
    other = change(EXPERIMENT, {"execution.chunk_size": 5, "execution.width": 2})
    found = run(other, copy)
    assert {event: len(events(copy, event)) for event in before} == before
    assert timeless(found.rows) == timeless(whole.rows)


def test_what_is_missing_is_made_again_however_it_is_run(whole, copy):
    shutil.rmtree(copy / "populations" / "shadow-jumbo" / "chunks" / "1")
    (copy / "metrics.jsonl").unlink()
    ways = {"execution": Execution(3, 2, 1), "detectors": ("fake",)}
    found = run(change(EXPERIMENT, ways), copy)
    trained = [(row["population"], row["models"]) for row in events(copy, "chunk")]
    assert trained == [("shadow-jumbo", 2)]
    a, b = (population(d, "shadow-jumbo") for d in (copy, whole.workdir))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4),
        (a.ids_M, a.variables, a.triggers, a.quality),
        (b.ids_M, b.variables, b.triggers, b.quality),
    )
    expected = of(whole.rows, detector="fake")
    assert timeless(of(found.rows, detector="fake")) == timeless(expected)


def test_a_resumed_run_equals_an_uninterrupted_one(whole, tmp_path, monkeypatch):
    train, done = training.train_population, []

    def interrupted(*args, **options):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(train(*args, **options))

    monkeypatch.setattr(training, "train_population", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(EXPERIMENT, tmp_path / "run")
    assert not (tmp_path / "run" / "scores.csv").exists()
    monkeypatch.undo()
    found = run(EXPERIMENT, tmp_path / "run")
    assert timeless(found.rows) == timeless(whole.rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed: 3 on disk, 1 asked"),
        (
            {"zoo.groups.target.recipes.steps": 6},
            "zoo.groups.target.recipes.steps: 20 on disk, 6 asked",
        ),
        ({"zoo.data.defender": 70}, "zoo.data.defender: 100 on disk, 70 asked"),
        (
            {"zoo.groups.shadow.models": (6,)},
            "zoo.groups.shadow.models: 4 on disk, 6 asked",
        ),
        ({"zoo.locations": "official"}, "zoo.locations"),
    ],
)
def test_another_zoo_is_refused_by_the_field_that_differs(whole, changes, message):
    before = {p: p.stat().st_mtime_ns for p in whole.workdir.rglob("*")}
    with pytest.raises(UserError, match=re.escape(message)) as error:
        run(change(EXPERIMENT, changes), whole.workdir)
    assert "\n" not in str(error.value)
    assert {p: p.stat().st_mtime_ns for p in whole.workdir.rglob("*")} == before


def test_a_fit_of_other_settings_is_refused(whole):
    with pytest.raises(UserError, match=r"epochs: 2 on disk, 3 asked") as error:
        run(change(EXPERIMENT, {"fit.epochs": 3}), whole.workdir)
    assert "\n" not in str(error.value)


def test_a_directory_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"is not empty and has no experiment\.json"):
        run(EXPERIMENT, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(UserError, match="is a file"):
        run(EXPERIMENT, tmp_path / "letter.txt")
    with pytest.raises(UserError, match=r"letter\.txt"):
        run(EXPERIMENT, tmp_path / "letter.txt" / "a" / "run")
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_an_older_run_is_refused_in_one_line(tmp_path, copy):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"a run of an older bdjax \(config\.json\)"):
        run(EXPERIMENT, tmp_path / "old")
    said = json.loads((copy / "experiment.json").read_text())
    (copy / "experiment.json").write_text(json.dumps(said | {"schema": 9}))
    with pytest.raises(UserError, match="schema 9 comes from a newer bdjax"):
        run(EXPERIMENT, copy)
    with pytest.raises(UserError, match="is no run"):
        directory.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zoo.task": "chess"}, "unknown task 'chess'"),
        ({"zoo.data.source": "web"}, "no data source 'web'"),
        ({"zoo.data.path": "x.npz"}, "reads no files"),
        ({"zoo.data.attacker": 5000}, "300 training rows"),
        ({"zoo.data.split": "fair"}, "unknown split mode 'fair'"),
        ({"zoo.groups.2.attacks": ("benign", "Q")}, "unknown attack 'Q'"),
        ({"zoo.groups.networks": ("resnet7",)}, "unknown model 'resnet7'"),
        ({"detectors": ("abs",)}, "unknown detector 'abs'"),
        ({"detectors": ("fake", "fake: ")}, "detectors name 'fake: ' twice"),
        ({"detectors": ("fake:per_class=60",)}, "fewer than 60 clean images a class"),
        ({"zoo.groups.0.role": "target"}, "two populations are called 'target-benign'"),
        ({"execution.devices": 99}, "devices is 99"),
        ({"solving.devices": 99}, "devices is 99"),
    ],
)
def test_mistakes_bind_no_directory(changes, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        run(change(EXPERIMENT, changes), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_detector_without_its_shadows_is_named(tmp_path):
    targets = EXPERIMENT.zoo.groups[2:]
    with pytest.raises(UserError, match="mntd learns from shadow models, and the zoo"):
        run(change(EXPERIMENT, {"zoo.groups": targets}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_augmentation_is_for_images(tmp_path):
    experiment = presets.mntd(
        "breast_cancer", DataConfig("sklearn", defender=100, attacker=200, test=50),
        shadows=2, validation=2, targets=2, shadow=RECIPE,
        target=dataclasses.replace(RECIPE, augment="crop_flip"),
    )  # fmt: skip
    with pytest.raises(UserError, match="augment 'crop_flip' is not for tables"):
        run(experiment, tmp_path / "run")


# Zoos of several kinds, and sweeps.


def test_groups_are_populations_of_every_network_and_recipe():
    short = dataclasses.replace(RECIPE, steps=10, name="short")
    mixed = {
        "zoo.groups.shadow.networks": ("", "fragile"),
        "zoo.groups.shadow.recipes": (RECIPE, short),
    }
    specs = [spec for spec, _ in zoo.specs(change(EXPERIMENT, mixed))]
    assert [spec.name for spec in specs][:8] == [
        f"shadow-{attack}{suffix}"
        for suffix in ("", "-short", "-fragile", "-fragile-short")
        for attack in BOTH
    ]
    assert (specs[7].network.name, specs[7].recipe) == ("fragile", short)
    two = {"zoo.groups.shadow.recipes": (RECIPE, dataclasses.replace(short, name=""))}
    with pytest.raises(UserError, match="two populations are called 'shadow-benign'"):
        zoo.specs(change(EXPERIMENT, two))


def test_shadows_of_mixed_architectures(tmp_path):
    mixed = {"zoo.groups.shadow.networks": ("", "other"), "detectors": ("mntd",)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "other", NETWORKS["tiny"])
        found = run(change(EXPERIMENT, mixed), tmp_path)
    rows = of(found.rows, population="shadow-jumbo-other")
    assert {row["architecture"] for row in rows} == {"other"}
    assert len(of(found.rows, detector="mntd", repeat="-1")) == MODELS_ASKED


def test_a_sweep_fits_to_fewer_shadows_and_trains_none(copy, whole, tmp_path):
    small = change(EXPERIMENT, {"detectors": ("mntd",)})
    swept = presets.sweep(small, (4, 8), ("mntd",))
    assert swept.detectors == ("mntd", "mntd:shadows=4")
    (copy / "metrics.jsonl").unlink()
    found = run(swept, copy, train=False)
    assert events(copy, "chunk") == []
    fitted = {row.get("detector") for row in events(copy, "epoch")}
    assert len(fitted) <= 1
    assert len(of(found.rows, detector="mntd-shadows=4")) == 3 * MODELS_ASKED
    assert timeless(of(found.rows, detector="mntd")) == timeless(
        of(whole.rows, detector="mntd")
    )
    shutil.rmtree(copy / "populations" / "target-patch" / "chunks" / "1")
    with pytest.raises(UserError, match=r"target-patch is incomplete: it lacks chunks"):
        run(swept, copy, train=False)
    shutil.rmtree(copy / "populations" / "target-patch")
    with pytest.raises(UserError, match="target-patch"):
        run(swept, copy, train=False)
    with pytest.raises(UserError, match=r"is no run: it has no experiment\.json"):
        run(swept, tmp_path / "none", train=False)
    assert not (tmp_path / "none").exists()


# Models that training broke.


def broken(whole, monkeypatch, **diverged):
    """In place of training: the run's populations, some models of them not finite."""

    def load(directory, ids, **way):
        del way
        models = population(whole.workdir, directory.name)
        assert range(len(models)) == ids
        ids = diverged.get(directory.name.replace("-", "_"), [])
        variables = jax.tree.map(np.copy, models.variables)
        loss = np.copy(models.quality.loss)
        loss[ids] = np.nan
        for leaf in jax.tree.leaves(variables):
            leaf[ids] = np.nan
        quality = models.quality._replace(loss=loss)
        return dataclasses.replace(models, variables=variables, quality=quality)

    monkeypatch.setattr(training, "train_population", lambda *_, **__: None)
    monkeypatch.setattr(zoo, "load_population", load)


def test_diverged_models_are_left_out_with_a_note(whole, tmp_path, monkeypatch):
    broken(whole, monkeypatch, shadow_benign=[2], target_patch=[1])
    found = run(change(EXPERIMENT, {"detectors": ("mntd", "fake")}), tmp_path)
    notes = [
        "shadow-benign: training diverged (NaN) for models [2]; they are left out",
        "target-patch: training diverged (NaN) for models [1]; they are left out",
    ]
    assert directory.read(tmp_path)["notes"] == notes
    assert all(note in found.said for note in notes)
    rows = of(found.rows, population="shadow-benign")
    assert [row["id"] for row in rows] == ["0", "1", "3"]
    rows = of(found.rows, population="target-patch", detector="mntd", repeat="0")
    assert [row["id"] for row in rows] == ["0", "2"]
    assert all(np.isfinite(float(row["score"])) for row in rows)


def test_a_population_that_diverged_as_a_whole_is_an_error(
    whole, tmp_path, monkeypatch
):
    broken(whole, monkeypatch, target_all_to_all=[0, 1])
    with pytest.raises(UserError, match="every model of target-all_to_all diverged"):
        run(EXPERIMENT, tmp_path)
