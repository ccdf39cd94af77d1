import functools
import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from tiny import fit_one, poisoned_batch

from bdjax import mntd, prng, tree
from bdjax.benchmarks import layout, meta, population, report, scaling, torch_worker
from bdjax.benchmarks.timing import Absent, DidNotRunError, Sample, Section, measure
from bdjax.benchmarks.torch_worker import Pools
from bdjax.population import Examples, Recipe, plan_one
from bdjax.types import UserError
from launch import bench

ROOT = Path(__file__).parents[1]


@functools.cache
def reference():
    """The PyTorch side, without which its tests are skipped."""
    pytest.importorskip("torch", reason=torch_worker.MISSING)
    from bdjax.benchmarks import torch_reference

    return torch_reference


@functools.cache
def digits():
    return population.load_digits()


@pytest.mark.parametrize("formulation", ["tile", "lax"])
def test_the_networks_give_the_same_logits(formulation):
    torch_reference = reference()
    model, _ = population.networks(formulation)
    variables = model.init(prng.root(3))
    net = torch_reference.network()
    net.load_state_dict(torch_reference.state_dict(layout.torch_arrays(variables)))
    x = digits().x[::500].astype(np.float32) / 255

    ours = model.apply(variables, x)
    images = torch_reference.torch.from_numpy(layout.torch_images(x))
    theirs = net(images).detach().numpy()

    assert np.abs(theirs).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_speech_networks_give_the_same_logits():
    torch_reference = reference()
    model, _ = population.networks(task="speech")
    variables = jax.jit(model.init)(prng.root(3))
    net = torch_reference.network("speech")
    arrays = layout.torch_speech_arrays(variables) | population.CONSTANTS["speech"]()
    net.load_state_dict(torch_reference.state_dict(arrays))
    x, _ = population.poisoned_arrays(population.load_images("speech"))
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
    _, loss = jax.jit(fit_one, static_argnums=(0, 1, 2))(
        model, attack, recipe, key, trigger, plan, examples
    )

    batches = [
        poisoned_batch(attack, trigger, examples, row_B, poisoned_B)
        for row_B, poisoned_B in zip(plan.row, plan.role == 1, strict=True)
    ]
    x, y = (np.concatenate([np.asarray(b[i]) for b in batches]) for i in (0, 1))
    net = torch_reference.network()
    start = layout.torch_arrays(model.init(prng.stream(key, "init")))
    net.load_state_dict(torch_reference.state_dict(start))
    torch = torch_reference.torch
    losses = torch_reference.train(
        net,
        torch.from_numpy(layout.torch_images(x)),
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

    begin = meta.start(config, jax.random.fold_in(key, 0))
    arguments = meta.torch_job(config, begin)
    arguments["directory"] = str(tmp_path) if on_disk else ""
    arrays = [layout.torch_arrays(tree.index(shadows, i)) for i in range(2)]
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


class Fake:
    device = "1 x fake"

    def __init__(self, name, log, fail_at=None):
        self.name, self._log, self._fail_at = name, log, fail_at
        self._runs = 0

    def run(self):
        self._log.append(self.name)
        self._runs += 1
        if self._runs == self._fail_at:
            raise RuntimeError("too hot\nand a long story")
        return Sample(seconds=self._runs / 1000, units=2)


def test_contenders_take_turns():
    log, turns = [], []
    section = Section("s", "S", "step", [Fake("a", log), Fake("b", log)], repeats=3)
    rows = measure(section, lambda: turns.append(1))
    assert log == ["a", "b"] * 4
    assert len(turns) == section.turns
    np.testing.assert_allclose(rows[0].ms, (1.0, 1.5, 2.0))  # without the first run
    assert rows[0].median == pytest.approx(1.5)


def test_a_slow_machine_gets_fewer_turns():
    log = []
    section = Section("s", "S", "step", [Fake("a", log)], repeats=9, patience=0)
    turns = []
    (row,) = measure(section, lambda: turns.append(1))
    assert len(row.ms) == 3
    assert len(turns) == section.turns


def test_a_contender_that_fails_says_why_and_stops_nobody():
    log = []
    failing = Fake("PyTorch a", log, fail_at=2)
    absent = Absent("PyTorch b", "not here")
    section = Section("s", "S", "step", [failing, absent, Fake("ours", log)], repeats=2)
    rows = measure(section)
    assert rows[0].reason == "did not run: RuntimeError: too hot"
    assert rows[1].reason == "not here"
    assert rows[0].ms == rows[1].ms == ()
    assert len(rows[2].ms) == 2
    assert log == ["PyTorch a", "ours", "PyTorch a", "ours", "ours"]
    assert report.notes(rows) == [f"(1) {rows[0].reason}", "(2) not here"]
    assert [row[3] for row in report.table(section, rows).rows[:2]] == [
        "see (1)",
        "see (2)",
    ]


def test_rates_and_ratios_follow_from_the_times():
    log = []
    section = Section(
        "s", "S", "step", [Fake("ours", log), Fake("PyTorch", log)],
        repeats=1, flop=10**9, rate=("models/s", 10),
    )  # fmt: skip
    ours, _ = report.figures(section, measure(section))
    assert ours["ms_median"] == pytest.approx(1.0)
    assert ours["gflop_per_s"] == pytest.approx(1000)
    assert ours["models/s"] == pytest.approx(100)
    assert ours["best_torch_ratio"] == pytest.approx(1)


def test_without_torch_its_rows_say_how_to_install_it(monkeypatch):
    monkeypatch.setattr(torch_worker.importlib.util, "find_spec", lambda name: None)
    with torch_worker.pools(2) as pools:
        contender = pools.contender("eager", "train", steps=1)
    with pytest.raises(DidNotRunError, match=r"pip install 'bdjax\[bench\]'"):
        contender.run()


@pytest.mark.slow
def test_quick_measures_every_row(tmp_path):
    out = tmp_path / "new" / "bench.json"
    command = [sys.executable, "-m", "launch.bench", "--quick", f"--out={out}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["complete"]
    assert {k: len(rows) for k, rows in found["sections"].items()} == {
        "matmul": 4,
        "training_mnist": 9,
        "meta-training": 5,
    }
    for rows in found["sections"].values():
        assert rows[0]["name"] in done.stdout
        for row in rows:
            if row["reason"]:
                assert "left out" in row["reason"] or torch_worker.MISSING in str(row)
            else:
                assert len(row["ms"]) >= 3
                assert 0 < row["ms_min"] <= row["ms_median"] <= row["ms_max"]
        assert rows[0]["reason"] is None


@pytest.mark.slow
def test_scaling_times_populations_and_draws_them(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "QUICK", scaling.Size(populations=(2, 4), steps=1))
    monkeypatch.setattr(scaling, "WARM_UP", 2)
    monkeypatch.setattr(torch_worker, "pools", lambda cores: nullcontext(Pools()))
    out = tmp_path / "bench.json"
    bench.bench(out, chosen="scaling", quick=True, console=Console(quiet=True))
    points = json.loads(out.read_text())["sections"]["scaling"]
    assert [(p["name"], p["models"]) for p in points] == [("bdjax", 2), ("bdjax", 4)]
    assert all(p["seconds"] > 0 < p["peak_bytes"] for p in points)
    assert out.with_suffix(".png").stat().st_size > 10_000


def test_the_gpu_set_needs_one(tmp_path):
    with pytest.raises(UserError, match="needs an accelerator"):
        bench.bench(
            tmp_path / "b.json", chosen="gpu", quick=True, console=Console(quiet=True)
        )


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "launch.bench", f"--out={tmp_path}/file/b.json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
