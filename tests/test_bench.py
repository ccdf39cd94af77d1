import functools
import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from bdjax import mntd, prng, tree
from bdjax.benchmarks import meta, population, report, run, scaling
from bdjax.benchmarks.pytorch import jobs
from bdjax.benchmarks.run import Benchmark
from bdjax.benchmarks.timing import (
    ABSENT,
    NO_TIME,
    NO_TORCH,
    Absent,
    Measurement,
    Sample,
    Section,
)
from bdjax.population import Examples, Recipe, plan_one
from bdjax.population.batches import Batches
from bdjax.population.train import train_one
from bdjax.types import UserError

ROOT = Path(__file__).parents[1]


@functools.cache
def reference():
    """The PyTorch side, without which its tests are skipped."""
    pytest.importorskip("torch", reason=NO_TORCH)
    from bdjax.benchmarks.pytorch import reference

    return reference


@functools.cache
def digits():
    return population.load_digits()


@pytest.mark.parametrize("formulation", ["tile", "lax"])
def test_the_networks_give_the_same_logits(formulation):
    torch_reference = reference()
    model, _ = population.networks(formulation)
    variables = model.init(prng.root(3))
    net = torch_reference.network()
    net.load_state_dict(torch_reference.state_dict(jobs.torch_arrays(variables)))
    x = digits().x[::500].astype(np.float32) / 255

    ours = model.apply(variables, x)
    images = torch_reference.torch.from_numpy(jobs.torch_images(x))
    theirs = net(images).detach().numpy()

    assert np.abs(theirs).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)


def speech_arrays(variables):
    """A state dict of bdjax's variables, but for what the network keeps besides."""
    params, arrays = variables["params"], {}
    for layer in ("attention", "logits"):
        arrays[f"{layer}.weight"] = np.array(params[layer]["kernel"]).T.copy()
        arrays[f"{layer}.bias"] = np.array(params[layer]["bias"])
    names = {"kernel": "weight_ih", "recurrent": "weight_hh"}
    names |= {"bias": "bias_ih", "recurrent_bias": "bias_hh"}
    for i, layer in enumerate(("lstm1", "lstm2")):
        for ours, theirs in names.items():
            array = np.array(params[layer][ours]).T.copy()
            arrays[f"lstm.{theirs}_l{i}"] = array
    return arrays


def test_the_speech_networks_give_the_same_logits():
    torch_reference = reference()
    model, _ = population.networks(task="speech")
    variables = jax.jit(model.init)(prng.root(3))
    net = torch_reference.network("speech")
    arrays = speech_arrays(variables) | jobs.CONSTANTS["speech"]()
    net.load_state_dict(torch_reference.state_dict(arrays))
    x, _ = jobs.poisoned_arrays(population.load_images("speech"))
    assert (x.shape[1:], x.dtype) == ((16_000,), np.float32)
    assert 0.9 < np.abs(x).max() <= 1

    ours = jax.jit(model.apply)(variables, x[:3])
    theirs = net(torch_reference.torch.from_numpy(x[:3])).detach().numpy()

    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow
def test_training_is_the_same_work():
    torch_reference = reference()
    model, attack = population.networks()
    recipe = Recipe(steps=12, batch_size=50)
    key = prng.root(7)
    examples = Examples(digits().x, digits().y)
    trigger = attack.sample(key)
    subset = jnp.arange(0, 5000, 20)
    plan = plan_one(
        key, subset, trigger.rate, steps=recipe.steps, batch_size=recipe.batch_size
    )
    batches = Batches(attack, recipe, key, trigger, plan, examples, model)
    _, loss, _ = jax.jit(lambda: train_one(model, recipe, key, batches))()

    batches = [batches.batch(i, ()) for i in range(recipe.steps)]
    x, y = (np.concatenate([np.asarray(b[i]) for b in batches]) for i in (0, 1))
    net = torch_reference.network()
    start = jobs.torch_arrays(model.init(prng.stream(key, "init")))
    net.load_state_dict(torch_reference.state_dict(start))
    torch = torch_reference.torch
    losses = torch_reference.train(
        net,
        torch.from_numpy(jobs.torch_images(x)),
        torch.from_numpy(y.astype(np.int64)),
        torch.arange(len(x)).reshape(recipe.steps, -1),
        learning_rate=recipe.learning_rate,
        parameters=list(net.parameters()),
    )

    assert losses[-1] < losses[0]
    np.testing.assert_allclose(loss, losses[-1], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("on_disk", [False, True])
def test_meta_training_is_the_same_work(on_disk, tmp_path):
    torch_reference = reference()
    shadows, labels = meta.random_shadows(2), meta.labels(2)
    key, config = prng.root(5), meta.config(epochs=1, repeats=1)
    model, _ = population.networks()
    groups = [mntd.Networks(model.apply, shadows)]
    fitted = mntd.fit(
        groups, labels, groups, labels,
        spec=meta.query_spec(), config=config, key=key,
    )  # fmt: skip

    begin = jobs.meta_start(config, jax.random.fold_in(key, 0))
    arguments = jobs.meta_job(config, begin)
    arguments["directory"] = str(tmp_path) if on_disk else ""
    arrays = [jobs.torch_arrays(tree.index(shadows, i)) for i in range(2)]
    ends = []
    for order in ([0, 1], [1, 0]):
        job = torch_reference.Meta(arrays, labels, passes=1, **arguments)
        before = [job.score(i).item() for i in range(2)]
        job.steps(order)
        ends.append([job.score(i).item() for i in range(2)])

    scores = fitted.validation_scores_RxV[0]
    assert np.abs(np.subtract(before, scores)).max() > 1e-3
    assert min(np.abs(np.subtract(end, scores)).max() for end in ends) < 1e-4


def test_training_flop_are_those_of_the_paper_network():
    # 1,316,864 multiply-adds forward; facts on MNTD, section 11.
    assert population.step_flop(1) == 6 * 1_316_864
    # 4.36 million of the LSTM, which the front end is no part of.
    assert population.step_flop(1, "speech") == pytest.approx(6 * 4.36e6, rel=0.01)


class Clock:
    """Seconds that pass where a contender works."""

    now = 0.0

    def __call__(self):
        return self.now


class Fake:
    device = "1 x fake"

    def __init__(self, name, log, *, fail_at=None, clock=None, first=1.0, seconds=1.0):
        self.name, self._log, self._fail_at = name, log, fail_at
        self._clock, self._first, self._seconds = clock or Clock(), first, seconds
        self._runs = 0

    def run(self, seconds):
        self._log.append(self.name)
        self._clock.now += self._seconds if self._runs else self._first
        self._runs += 1
        if self._runs == self._fail_at:
            raise RuntimeError("too hot\nand a long story")
        return Sample(seconds=self._runs / 1000, units=2)


def measured(*contenders, seconds=100.0, clock=None, **options):
    """Rows of a section of these, and how often it told."""
    told = []
    options = {"repeats": 3} | options
    measurement = Measurement(Section("s", "S", "step", contenders, **options))
    clock = clock or Clock()
    measurement.run(seconds, lambda: told.append(clock()), clock)
    return measurement.rows, told


def test_contenders_take_turns():
    log = []
    rows, told = measured(Fake("a", log), Fake("b", log))
    # The first run of each, which compiles, and one that counts; then by turns.
    assert log == ["a", "a", "b", "b", "a", "b", "a", "b"]
    assert len(told) == 6
    np.testing.assert_allclose(rows[0].ms, (1.0, 1.5, 2.0))  # without the first run
    assert rows[0].median == pytest.approx(1.5)


def test_the_time_is_used_and_not_exceeded():
    clock, log = Clock(), []
    fast = Fake("fast", log, clock=clock, first=2.0)
    slow = Fake("slow", log, clock=clock, first=8.0, seconds=6.0)
    rows, _ = measured(fast, slow, seconds=40.0, clock=clock, repeats=0)
    assert 39 <= clock.now <= 40
    few, many = (len(row.ms) for row in reversed(rows))
    assert few >= 2
    assert many > 2 * few


def test_what_there_was_no_time_for_is_said():
    clock, log = Clock(), []
    contenders = [Fake(name, log, clock=clock, first=9.0) for name in "abc"]
    rows, _ = measured(*contenders, seconds=15.0, clock=clock)
    assert [len(row.ms) for row in rows] == [1, 1, 0]
    assert rows[2].reason == NO_TIME
    assert clock.now <= 20  # one run more than there was time for


def test_a_contender_that_fails_says_why_and_stops_nobody():
    log = []
    failing = Fake("PyTorch a", log, fail_at=3)
    absent = Absent("PyTorch b", "not here")
    rows, _ = measured(failing, absent, Fake("ours", log), repeats=2)
    assert rows[0].reason == "did not run: RuntimeError: too hot"
    assert rows[1].reason == "not here"
    assert rows[0].ms == rows[1].ms == []
    assert len(rows[2].ms) == 2
    assert log == ["PyTorch a"] * 2 + ["ours"] * 2 + ["PyTorch a", "ours"]
    assert report.notes(rows) == [f"(1) {rows[0].reason}", "(2) not here"]
    section = Section("s", "S", "step", [])
    assert [row[3] for row in report.table(section, rows).rows[:2]] == [
        "see (1)",
        "see (2)",
    ]


def test_rates_and_ratios_follow_from_the_times():
    section = Section("s", "S", "step", [], flop=10**9, rate=("models/s", 10))
    rows, _ = measured(Fake("ours", []), Fake("PyTorch", []), repeats=1)
    ours, _ = report.figures(section, rows)
    assert ours["ms_median"] == pytest.approx(1.0)
    assert ours["gflop_per_s"] == pytest.approx(1000)
    assert ours["models/s"] == pytest.approx(100)
    assert ours["best_torch_ratio"] == pytest.approx(1)


def test_without_torch_a_row_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    with run._rivals() as rivals:
        assert rivals is None
    rows, _ = measured(*ABSENT)
    assert "pip install -e '.[bench]'" in rows[0].reason


def bench(*argv):
    command = [sys.executable, "-m", "bdjax", "bench", *argv]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_quick_measures_every_row(tmp_path):
    out = tmp_path / "new" / "bench.json"
    done = bench("--quick", f"--out={out}")
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["complete"]
    torch = importlib.util.find_spec("torch")
    assert {k: len(rows) for k, rows in found["sections"].items()} == {
        "matmul": 4 if torch else 3,
        "training_mnist": 9 if torch else 4,
        "meta-training": 5 if torch else 3,
    }
    for rows in found["sections"].values():
        assert rows[0]["name"] in done.stdout
        for row in rows:
            if row["reason"]:
                assert "left out" in row["reason"] or NO_TORCH in str(row)
            else:
                assert 0 < row["ms_min"] <= row["ms_median"] <= row["ms_max"]
        assert rows[0]["reason"] is None


@pytest.mark.slow
def test_it_ends_within_its_budget_and_says_what_is_left(tmp_path):
    out = tmp_path / "bench.json"
    done = bench("--budget=25", f"--out={out}")
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["seconds"] < 25 + 10 + 3  # its grace, and to tell
    assert found["sections"]["matmul"][0]["ms_median"] > 0
    assert "XLA, one device" in done.stdout
    # A second of work a second: what is left is known from the start.
    for line in done.stderr.splitlines():
        if left := re.search(r"benchmark (\d+)/25 s, .* (\d+)(?:\.\d)? s left", line):
            assert sum(map(int, left.groups())) == pytest.approx(25, abs=4)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_what_was_measured_is_kept_when_it_is_stopped(tmp_path, signum):
    out = tmp_path / "bench.json"
    code = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
        "os.execv(sys.executable, [sys.executable, '-m', 'bdjax', 'bench',"
        " '--quick', '--out=' + sys.argv[1]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, out],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def rows():
        sections = json.loads(out.read_text())["sections"] if out.exists() else {}
        return sections.get("matmul", [])

    while not any(row["ms"] for row in rows()):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signum)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    word = "interrupted" if signum == signal.SIGINT else "terminated"
    assert errors.splitlines()[-1] == word
    found = json.loads(out.read_text())
    assert not found["complete"]
    assert found["sections"]["matmul"][0]["ms"]
    assert "XLA, one device" in said
    assert f"Figures: {out}" in said


@pytest.mark.slow
def test_scaling_times_populations_and_draws_them(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "QUICK", (2, 4))
    monkeypatch.setattr(scaling, "STEPS", 1)
    monkeypatch.setattr(scaling, "WARM_UP", 2)
    monkeypatch.setattr(run, "_rivals", lambda: nullcontext(None))
    out = tmp_path / "bench.json"
    benchmark = Benchmark(out, chosen="scaling", quick=True)
    benchmark.run()
    benchmark.tell(Console(quiet=True), complete=True)
    points = json.loads(out.read_text())["sections"]["scaling"]
    assert [(p["name"], p["models"]) for p in points] == [("bdjax", 2), ("bdjax", 4)]
    assert all(p["seconds"] > 0 < p["peak_bytes"] for p in points)
    assert out.with_suffix(".png").stat().st_size > 10_000
    # What would take longer than there is time for is left out.
    points = []
    scaling.measure((2, 4), None, points, lambda: 0.0)
    assert [p.models for p in points] == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chosen": "gpu"}, "needs an accelerator"),
        ({"budget": 9}, "--budget is 9 seconds; it must be at least 10"),
    ],
)
def test_a_mistake_is_said(tmp_path, options, message):
    options = {"chosen": "default", "quick": True} | options
    with pytest.raises(UserError, match=message):
        Benchmark(tmp_path / "b.json", **options)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = bench(f"--out={tmp_path}/file/b.json")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
