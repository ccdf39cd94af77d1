"""Fits on nested subsets of one population: what they are, resume and say."""

import dataclasses
import io
import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console
from tiny import EXAMPLES, TASK, tiny_tasks

from bdjax import mntd, prng, telemetry, tree
from bdjax.data import Dataset
from bdjax.evaluation import BootstrapConfig
from bdjax.experiments import mntd as experiment
from bdjax.experiments import rundir, sweep, sweep_report
from bdjax.experiments.config import (
    DataConfig,
    MNTDConfig,
    PopulationConfig,
    TrainConfig,
)
from bdjax.experiments.fits import fit_config, query_spec
from bdjax.experiments.sweep import SweepConfig, nested_rows
from bdjax.population import Execution
from bdjax.tasks import TASKS, get_task
from bdjax.types import UserError
from launch.sweep import options_of

__all__ = ["tiny_tasks"]

CONFIG = MNTDConfig(
    task="swept",
    seed=0,
    data=DataConfig("made", defender=30, attacker=30, test=17),
    population=PopulationConfig(shadows=6, validation=2, targets=3),
    shadow=TrainConfig(steps=12, batch_size=8, learning_rate=0.05),
    target=TrainConfig(steps=12, batch_size=8, learning_rate=0.05),
    fit=mntd.FitConfig(queries=3, hidden=4, epochs=2, repeats=2),
    bootstrap=BootstrapConfig(samples=50),
    # One program trains them all.
    execution=Execution(chunk_size=6, devices=1),
)
OPTIONS = SweepConfig(sizes=(4, 12, 8))


def made(*, name, num_classes, shape, path, progress):
    del shape, path, progress
    return Dataset(name, EXAMPLES.x, EXAMPLES.y, num_classes, len(EXAMPLES.y))


@pytest.fixture(scope="module", autouse=True)
def _task(tiny_tasks):
    start = {"official": (0.4, 0.3), "clipped": (0.4, 0.3)}
    task = dataclasses.replace(
        TASK, name="swept", query_init=start, sources={"made": made}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "swept", task)
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)


def run(workdir, options=OPTIONS, config=CONFIG):
    clock, console = telemetry.Clock(), Console(file=io.StringIO())
    found = sweep.run(config, options, workdir, clock=clock, console=console)
    return found, clock


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sweep") / "run"
    clock, console = telemetry.Clock(), Console(file=io.StringIO())
    experiment.train(CONFIG, ("jumbo",), workdir, clock=clock, console=console)
    found, clock = run(workdir)
    written = sweep_report.write(found, workdir, clock)
    return SimpleNamespace(workdir=workdir, found=found, written=written)


def epochs(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["event"] == "epoch"]
    return [(row["variant"], row["shadows"]) for row in rows if row["epoch"] == 0]


def plain_fit(found, variant, rows_K, **changes):
    """A fit to these shadows and nothing else."""
    shadows, labels_M = found.trained.shadows(CONFIG)
    options = dataclasses.replace(fit_config(CONFIG, variant), **changes)
    apply = get_task("swept").network().apply
    validation, validation_labels = found.trained.shadows(CONFIG, "validation")
    return mntd.fit(
        [mntd.Networks(apply, tree.index(shadows, rows_K))],
        labels_M[rows_K],
        [mntd.Networks(apply, validation)],
        validation_labels,
        spec=query_spec(CONFIG),
        config=options,
        key=prng.stream(prng.root(CONFIG.seed), "meta"),
    )


def assert_close(found, expected, atol=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=atol), found, expected
    )


@pytest.mark.parametrize("labels", [[0] * 9 + [1] * 7, [1, 0, 1, 1, 0, 0, 1, 0] * 2])
def test_subsets_are_nested_and_half_benign(labels):
    labels = np.array(labels)
    largest = set()
    for size in (2, 4, 6, 14):
        rows = nested_rows(labels, size)
        assert len(set(rows)) == size
        assert labels[rows].sum() == size // 2
        assert largest < set(rows)
        for label in (0, 1):
            chosen = rows[labels[rows] == label]
            np.testing.assert_array_equal(
                chosen, np.flatnonzero(labels == label)[: size // 2]
            )
        largest = set(rows)


def test_a_fit_is_the_plain_one_to_its_subset(swept):
    found = swept.found
    assert found.sizes == (4, 8, 12)
    subsets = {4: [0, 1, 6, 7], 8: [0, 1, 2, 3, 6, 7, 8, 9], 12: [*range(12)]}
    for variant, by_size in found.fitted.items():
        for size, fitted in by_size.items():
            expected = plain_fit(found, variant, np.array(subsets[size]))
            assert_close(fitted.fit, expected)
            assert fitted.steps == 2 * size
            targets = found.trained.populations["target-B"].variables
            scores = mntd.score_models(
                get_task("swept").network().apply,
                fit_config(CONFIG, variant),
                expected.meta,
                targets,
            )
            assert_close(fitted.scores["B"], scores)
    queries = [f.fit.meta.queries for f in found.fitted["jumbo"].values()]
    assert np.abs(queries[0] - queries[1]).max() > 1e-3


def test_finished_fits_are_kept_and_missing_ones_made_again(swept, tmp_path):
    workdir = shutil.copytree(swept.workdir, tmp_path / "run")
    made = epochs(workdir)
    assert made == [(v, s) for v in ("jumbo", "no_tuning") for s in (4, 8, 12)]
    shutil.rmtree(workdir / "sweep" / "jumbo-8")
    again, clock = run(workdir)
    assert epochs(workdir)[len(made) :] == [("jumbo", 8)]
    assert_close(again.fitted["jumbo"][8].fit, swept.found.fitted["jumbo"][8].fit)
    assert sweep_report.results(again, clock)["auc"] == json.loads(
        json.dumps(swept.written["auc"]), object_hook=_numbered
    )
    # Other sizes need only themselves.
    run(workdir, SweepConfig(sizes=(6, 8), variants=("jumbo",)))
    assert epochs(workdir)[len(made) + 1 :] == [("jumbo", 6)]


def _numbered(fields):
    return {int(k) if k.isdecimal() else k: v for k, v in fields.items()}


def test_an_experiment_and_its_sweep_share_the_fits_to_all(swept, tmp_path):
    workdir = shutil.copytree(swept.workdir, tmp_path / "run")
    before = len(epochs(workdir))
    clock, console = telemetry.Clock(), Console(file=io.StringIO())
    config = dataclasses.replace(CONFIG, variants=("jumbo", "one_class"))
    outcome = experiment.run(config, workdir, clock=clock, console=console)
    assert epochs(workdir)[before:] == [("one_class", 12)]
    full = swept.found.fitted["jumbo"][12]
    assert_close(outcome.scores["jumbo"], full.scores)
    found, _ = run(workdir, SweepConfig(variants=("one_class",)))
    assert found.sizes == (8, 12)
    assert epochs(workdir)[before + 1 :] == [("one_class", 8)]
    assert found.fitted["one_class"][8].steps == 2 * 4  # benign ones alone


def test_equal_steps_make_more_passes_over_fewer(swept, tmp_path):
    workdir = shutil.copytree(swept.workdir, tmp_path / "run")
    options = SweepConfig(sizes=(4, 12), variants=("jumbo",), equal_steps=True)
    found, clock = run(workdir, options)
    few, every = found.fitted["jumbo"].values()
    assert (few.steps, every.steps) == (24, 24)
    assert epochs(workdir)[6:] == [("jumbo", 4)]  # that to all is the same
    expected = plain_fit(found, "jumbo", np.array([0, 1, 6, 7]), epochs=6)
    np.testing.assert_allclose(
        few.fit.validation_auc_RxE, expected.validation_auc_RxE[:, 2::3]
    )
    # The paper's is still there.
    stored = rundir.load_fit(workdir / "sweep" / "jumbo-4")
    assert_close(stored, swept.found.fitted["jumbo"][4].fit)
    sweep_report.write(found, workdir, clock)
    assert "as many Adam steps" in (workdir / "sweep-equal_steps.md").read_text()
    assert "equal_steps" in (workdir / "sweep.md").read_text()


def test_the_report_says_what_the_scores_say(swept):
    written = json.loads((swept.workdir / "sweep.json").read_text())
    assert written["sizes"] == [4, 8, 12]
    assert list(written["auc"]) == ["M", "B"]
    for attack, curves in written["auc"].items():
        for variant, points in curves.items():
            for size, point in points.items():
                scores = swept.found.fitted[variant][int(size)].scores
                wins = [
                    np.mean(t[:, None] > b) + np.mean(t[:, None] == b) / 2
                    for t, b in zip(scores[attack], scores["benign"], strict=True)
                ]
                assert point["mean"] == pytest.approx(np.mean(wins))
                assert point["std"] == pytest.approx(np.std(wins, ddof=1))
        for size, gain in written["gain_of_tuning"][attack].items():
            tuned, untuned = (curves[v][size]["mean"] for v in ("jumbo", "no_tuning"))
            assert gain["mean"] == pytest.approx(tuned - untuned)
            assert gain["low"] <= gain["high"]
    text = (swept.workdir / "sweep.md").read_text()
    assert "![AUC by number of shadow models" in text
    figure = swept.workdir / "figures" / "sweep.png"
    assert "(figures/sweep.png)" in text
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "passes over its shadows, as in the paper" in text
    for line in written["findings"]:
        assert f"- {line}." in text
    assert "| 4 | 8 | " in text
    assert "paper |" not in text  # which has no such task


def ranked(auc, size=100):
    """Scores of one repeat with this AUC, of as many benign and trojaned targets."""
    benign = np.arange(size, dtype=float)
    return {
        "benign": np.tile(benign, (2, 1)),
        "M": np.tile(benign * 0 + round(auc * size) - 0.5, (2, 1)),
    }


@pytest.mark.parametrize(
    ("tuned", "untuned", "words"),
    [
        ((0.5, 0.8, 0.9), (0.5, 0.5, 0.6), ("it rises", "(up to 30 %) shows")),
        ((0.6, 0.9, 0.9), (0.6, 0.9, 0.8), ("above 4", "by less than the paper's")),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), ("at its ceiling", "does not show")),
        ((0.7, 0.8, 0.7), (0.8, 0.9, 0.9), ("rise does not", "does not show")),
    ],
)
def test_findings_in_words(swept, tuned, untuned, words):
    old = swept.found
    fitted = {
        variant: {
            size: dataclasses.replace(old.fitted[variant][size], scores=ranked(auc))
            for size, auc in zip(old.sizes, aucs, strict=True)
        }
        for variant, aucs in (("jumbo", tuned), ("no_tuning", untuned))
    }
    population = dataclasses.replace(CONFIG.population, target_attacks=("M",))
    config = dataclasses.replace(CONFIG, population=population, task="mnist")
    found = dataclasses.replace(old, fitted=fitted, config=config)
    rise, loss = sweep_report.findings(found)
    assert words[0] in rise
    assert words[1] in loss
    gain = max(np.subtract(tuned, untuned))
    assert f"at most {gain:.3f} AUC is lost" in loss
    # And the paper's own, where it has any for these numbers.
    (table,) = sweep_report.tables(dataclasses.replace(found, sizes=(4, 8, 12)))
    assert table.columns[-1] == "paper"
    assert sweep_report.published(found)["M"][64] == 0.915


def test_sizes_are_doubled_up_to_all_there_are(swept):
    assert sweep._sizes(SweepConfig(), np.repeat([0, 1], 64)) == (8, 16, 32, 64, 128)
    assert sweep._sizes(SweepConfig(), np.repeat([0, 1], [51, 50])) == (
        8, 16, 32, 64, 100,
    )  # fmt: skip
    assert sweep._sizes(SweepConfig(), np.repeat([0, 1], 3)) == (6,)


def refused(workdir, message, config=CONFIG):
    with pytest.raises(UserError, match=message) as error:
        run(workdir, config=config)
    assert "\n" not in str(error.value)


def test_what_is_no_finished_run_is_said_and_nothing_trained(
    swept, tmp_path, monkeypatch
):
    def train(*args, **options):
        raise AssertionError("trains")

    monkeypatch.setattr("bdjax.population.run.train_shared", train)
    first = "run launch.mntd with the same --config and --workdir first"
    refused(tmp_path / "none", rf"none is no run: it has no config\.json; .*{first}")
    assert not (tmp_path / "none").exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    refused(tmp_path / "notes", r"notes is no run: it has no config\.json")
    workdir = shutil.copytree(swept.workdir, tmp_path / "run")
    other = dataclasses.replace(CONFIG, seed=1)
    refused(workdir, r"holds another run: config\.seed: 0 on disk, 1 asked", other)
    shutil.rmtree(workdir / "populations" / "validation-jumbo" / "chunks" / "0")
    refused(
        workdir, f"run is no finished run: validation-jumbo lacks chunk 0; .*{first}"
    )
    shutil.rmtree(workdir / "populations" / "shadow-benign")
    refused(workdir, f"run is no finished run: it lacks shadow-benign; .*{first}")


@pytest.mark.parametrize(
    ("sizes", "variants", "message"),
    [
        (["8", "7"], ["jumbo"], "size 7 is not half benign"),
        (["0"], ["jumbo"], "size 0 is not half"),
        (["8", "8"], ["jumbo"], r"sizes are \[8, 8\]; name each once"),
        (["8", "x"], ["jumbo"], "size 'x' is no number"),
        (["-8"], ["jumbo"], "size '-8' is no number"),
        ([], [], "no variant"),
        ([], ["jumbo", "jumbo"], "name each once"),
        (["14"], ["jumbo"], "size 14 is more than the 12 shadow models"),
        ([], ["magic"], "unknown variant 'magic'"),
    ],
)
def test_mistakes_are_one_line_and_bind_nothing(tmp_path, sizes, variants, message):
    with pytest.raises(UserError, match=message) as error:
        run(tmp_path / "run", options_of(sizes, variants, False))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
