"""What a plan predicts, held against hand counts and against what training leaves."""

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from bdjax import prng
from bdjax.attacks import get_attack
from bdjax.benchmarks.population import step_flop
from bdjax.experiments import configurations, costs, devices, plan
from bdjax.experiments.devices import DEVICES, Device, get_device
from bdjax.mntd import FitConfig
from bdjax.models import MODELS, get_model
from bdjax.models.layers import dense
from bdjax.population import (
    Examples,
    Execution,
    PopulationSpec,
    Recipe,
    cost,
    plan_one,
    train_population,
)
from bdjax.population.flops import Work, count_work, tree_bytes
from bdjax.tasks import TASKS, Task, get_task
from bdjax.types import UserError

ROOT = Path(__file__).parents[1]
SHAPE, CLASSES = (6, 6, 1), 4
PIXELS = math.prod(SHAPE)
WEIGHTS = (PIXELS + 1) * CLASSES
RECIPE = Recipe(steps=5, batch_size=8)


class Linear(nn.Module):
    num_classes: int
    formulation: str
    precision: str = "float32"

    @nn.compact
    def __call__(self, x, *, train=False):
        del train
        x = x.reshape(len(x), -1)
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, fan_in=x.shape[-1], name="logits")(x)


@pytest.fixture(scope="module", autouse=True)
def tiny_task():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", Linear)
        task = Task("tiny", SHAPE, CLASSES, (0, 1), "tiny", {})
        patch.setitem(TASKS, "tiny", task)
        yield


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def tiny():
    model = get_model("tiny", input_shape=SHAPE, num_classes=CLASSES)
    return model, get_attack("M", task=get_task("tiny"))


def mnist(formulation):
    task = get_task("mnist")
    shape = {"input_shape": task.shape, "num_classes": task.num_classes}
    model = get_model(task.model, formulation=formulation, **shape)
    return (
        model,
        get_attack("jumbo", task=get_task("mnist")),
        cost.example_shapes(task, 50),
    )


# Work.


def test_dense_layers_count_as_by_hand():
    x, w, v = floats(7, 3), floats(3, 5), floats(5, 2)
    forward = 2 * 7 * (3 * 5 + 5 * 2)
    assert count_work(lambda x, w, v: x @ w @ v, x, w, v) == Work(
        forward, 4 * (7 * 3 + 3 * 5 + 7 * 5 + 7 * 5 + 5 * 2 + 7 * 2)
    )
    # Both weights' gradients, and that of the activation between, not of the input.
    backward = 2 * 7 * (3 * 5 + 2 * 5 * 2)
    loss = jax.grad(lambda ws, x: (x @ ws[0] @ ws[1]).sum())
    # The last product's result is not needed for its sum's gradient.
    unused = 2 * 7 * 5 * 2
    assert count_work(loss, (w, v), x).flops == forward + backward - unused


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "SAME"},
        {"window_strides": (2, 3), "padding": ((1, 2), (0, 3))},
        {"lhs_dilation": (2, 1), "rhs_dilation": (1, 2), "padding": ((3, 3), (2, 2))},
        {"padding": ((-1, 0), (2, -2))},
        {"feature_group_count": 2},
        {"batch_group_count": 3},
    ],
)
def test_a_convolution_counts_the_products_that_are_not_with_zeros(options):
    options = {"window_strides": (1, 1), "padding": "VALID"} | options
    kernel = (6, 2, 3, 2) if "feature_group_count" in options else (6, 4, 3, 2)
    conv = functools.partial(lax.conv_general_dilated, **options)
    x, w = jnp.ones((3, 4, 9, 8)), jnp.ones(kernel)
    # Every product of ones adds one.
    assert count_work(conv, x, w).flops == 2 * int(conv(x, w).sum())


def test_loops_count_as_often_as_they_run_and_dead_code_never():
    square, one = floats(4, 4), 2 * 4**3

    def flops(function, *shapes):
        return count_work(function, *(shapes or [square])).flops

    def multiply(_, a):
        return a @ a

    assert flops(lambda a: lax.fori_loop(0, 3, multiply, a)) == 3 * one
    bound = jax.ShapeDtypeStruct((), jnp.int32)
    assert flops(lambda a, n: lax.fori_loop(0, n, multiply, a), square, bound) == one
    assert flops(lambda a: lax.map(lambda r: r @ a, a)) == one
    assert flops(jax.jit(lambda a: (a @ a, a + 1)[1])) == 0
    assert flops(lambda a: jax.jit(lambda a: (a @ a, a + 1))(a)[1]) == 0
    branch = functools.partial(lax.cond, True, lambda a: a @ a @ a, lambda a: a @ a)
    assert flops(branch) == 2 * one
    assert flops(jax.checkpoint(lambda a: a @ a)) == one
    assert flops(jax.vmap(lambda a: a @ a), floats(5, 4, 4)) == 5 * one


def test_copies_move_what_they_touch():
    def copy(a, i):
        return lax.dynamic_update_slice(a, lax.dynamic_slice(a, (i,), (5,)), (0,))

    moved = count_work(copy, floats(100), jax.ShapeDtypeStruct((), jnp.int32))
    assert moved == Work(0, 2 * 5 * 4)
    added = count_work(lambda a: a.at[jnp.array([1, 2])].add(1.0), floats(100))
    assert 0 < added.bytes <= 8


def test_useful_arithmetic_of_the_mnist_network():
    model, attack, examples = mnist("lax")
    work = cost.step_work(model, attack, Recipe(steps=9), examples)
    whole = step_flop(1)
    # Nobody needs the gradient toward the images.
    first = 2 * 25 * 16 * 24**2
    assert work.flops == 100 * (whole - first)
    judge = cost.judge_work(model, attack, Recipe(steps=9), examples, 250)
    assert judge.flops == 2 * 300 * whole / 3  # full batches, clean and triggered


def test_the_tile_formulation_executes_more():
    (lax_model, attack, examples), (model, *_) = mnist("lax"), mnist("tile")
    recipe = Recipe(steps=9)
    useful = cost.step_work(lax_model, attack, recipe, examples).flops
    executed = cost.step_work(model, attack, recipe, examples).flops
    products = 2 * 3 * 100 * (512 * 512 + 512 * 10)
    assert executed - products == pytest.approx(1.44 * (useful - products), rel=1e-6)


def test_a_step_of_the_tiny_network():
    model, attack = tiny()
    examples = cost.example_shapes(get_task("tiny"), 80)
    found = cost.step_cost(model, attack, RECIPE, examples)
    assert found.variables_bytes == 4 * WEIGHTS
    assert found.flops == 2 * 2 * 8 * PIXELS * CLASSES
    operands = 4 * 2 * (8 * PIXELS + PIXELS * CLASSES + 8 * CLASSES)
    adam = 7 * 4 * WEIGHTS
    assert operands + adam <= found.bytes <= operands + adam + 8 * PIXELS + 1000
    # Weights and both moments at the least.
    assert found.memory_bytes > 3 * found.variables_bytes


def test_bfloat16_moves_less():
    model, attack, examples = mnist("tile")
    wide, narrow = (
        cost.step_work(model, attack, Recipe(steps=9, precision=p), examples)
        for p in ("float32", "bfloat16")
    )
    assert narrow.flops == wide.flops
    assert 0.4 * wide.bytes < narrow.bytes < 0.9 * wide.bytes


# Memory.


def test_the_footprint_grows_with_batch_and_length_and_hardly_with_width():
    model, attack = tiny()
    examples = cost.example_shapes(get_task("tiny"), 10_000)

    def footprint(width=0, **changes):
        recipe = dataclasses.replace(RECIPE, **changes)
        return cost.model_footprint(model, attack, recipe, examples, width=width)

    least = footprint()
    assert footprint(batch_size=800) > least + 800 * PIXELS * 4
    assert footprint(steps=1005) >= least + 1000 * 8 * 5  # its plan of batches
    assert footprint(width=4) == pytest.approx(footprint(width=8), rel=0.1)
    assert footprint() < tree_bytes(examples)  # which models share


# Disk and length.


def test_disk_bytes_are_those_of_a_trained_population(tmp_path):
    model, attack = tiny()
    rng = np.random.default_rng(0)
    examples = Examples(
        rng.integers(0, 255, (80, *SHAPE), dtype=np.uint8),
        rng.integers(0, CLASSES, 80, dtype=np.int32),
    )
    spec = PopulationSpec("shadow", get_task("tiny"), attack, model, RECIPE)
    train_population(
        tmp_path, spec, range(10),
        examples=examples, subset_N=np.arange(40), test_N=np.arange(40, 60),
        provenance={"data": "tiny"}, execution=Execution(chunk_size=8, devices=1),
    )  # fmt: skip
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    actual = sum(f.stat().st_size for f in files)
    assert cost.population_bytes(model, attack, 10, 8) == pytest.approx(
        actual, rel=0.15
    )


@pytest.mark.parametrize("diversity", [0.0, 0.5])
@pytest.mark.parametrize("poisoned_length", ["equal", "official"])
def test_steps_are_those_that_plans_draw(diversity, poisoned_length):
    recipe = Recipe(
        steps=40, batch_size=8, diversity=diversity, poisoned_length=poisoned_length
    )
    attack = get_attack("M", task=get_task("mnist"))

    def draw(key):
        plan = plan_one(
            prng.stream(key, "batches"), jnp.arange(80), attack.sample(key).rate,
            steps=40, batch_size=8, diversity=diversity,
            official=poisoned_length == "official",
        )  # fmt: skip
        return plan.steps

    drawn = jax.jit(jax.vmap(draw))(prng.model_keys(prng.root(1), jnp.arange(200)))
    mean = cost.mean_steps(recipe, attack, 80, together=False)
    assert mean == pytest.approx(float(drawn.mean()), rel=0.06)
    together = cost.mean_steps(recipe, attack, 80, together=True)
    # The longest that may come, which diversity makes rare.
    longest = int(drawn.max())
    assert longest - 1 <= together <= longest * (1.3 if diversity else 1.05)


# Meta-training.


def test_meta_training_of_the_tiny_network():
    model, _ = tiny()
    fit = FitConfig(queries=3, hidden=7, batch_size=2)
    step, ask = costs.fit_work(model, get_task("tiny"), fit)
    queries, hidden, score = 3 * PIXELS * CLASSES, 3 * CLASSES * 7, 7
    assert ask.flops == 2 * (queries + hidden + score)
    # Forward but for the score itself, then gradients: toward queries, not weights.
    least = 2 * (2 * queries + 3 * hidden + 2 * score)
    assert least <= step.flops / 2 <= least + 2 * score
    still = dataclasses.replace(fit, query_tuning=False)
    assert costs.fit_work(model, get_task("tiny"), still)[0].flops < step.flops / 2


def test_answers_under_dropout_are_asked_for_in_every_epoch():
    plain = config()
    fit = dataclasses.replace(plain.fit, query_tuning=False)
    noisy = dataclasses.replace(fit, query_dropout=True)
    once, anew = (
        costs.fit_row(plain, "a", each, 8, device=H100).flops for each in (fit, noisy)
    )
    model = costs.networks_of(plain)[0]
    ask = costs.fit_work(model, get_task(plain.zoo.task), fit)[1].flops
    again = fit.epochs - 1
    assert again
    assert anew - once == ask * 8 * again * fit.repeats


# Plans.


@functools.cache
def config(**execution):
    smoke = configurations.load("mntd_mnist5k:smoke")
    ways = Execution(**({"chunk_size": 4} | execution))
    return dataclasses.replace(smoke, execution=ways)


H100 = DEVICES["h100"]
FREE = Execution(chunk_size=0)


def test_a_plan_adds_up():
    found = plan.make_plan(config(), H100)
    assert [row.name for row in found.rows] == [
        "shadow-benign", "shadow-jumbo", "validation-benign", "validation-jumbo",
        "target-benign", "target-M", "target-B",
        "fit mntd", "fit mntd_no_tuning", "fit mntd_one_class",
    ]  # fmt: skip
    shadow, validation = found.rows[0], found.rows[2]
    assert (shadow.models, shadow.steps, shadow.model_steps) == (4, 5, 20)
    # Two models are asked for; the chunk is of four.
    assert (validation.models, validation.model_steps) == (2, 20)
    judged = 2 * 100 * step_flop(1) / 3
    assert shadow.flops == pytest.approx(20 * found.useful_flops + 4 * judged)
    assert found.total("seconds") == sum(row.seconds for row in found.rows)
    assert found.width == 4
    assert (found.rows[7].steps, found.rows[9].steps) == (2 * 8, 2 * 4)
    text = " ".join(found.notes)
    assert "assumed, not measured" in text
    assert "not modelled" in text
    assert "only fill a last chunk" in text
    assert "keeps it to 4 a device" in text
    as_json = json.loads(json.dumps(found.to_dict()))
    assert as_json["total"]["bound"] == found.bound


def test_more_devices_share_the_work():
    def shadows(count):
        many = dataclasses.replace(H100, count=count, disk=1e18)
        return plan.make_plan(config(width=1), many).rows[0]

    assert shadows(4).seconds == pytest.approx(shadows(1).seconds / 4)
    three = shadows(3)
    assert three.model_steps == 6 * three.steps  # two each


def test_memory_grows_with_width():
    narrow, wide = (
        plan.make_plan(config(width=w, chunk_size=64), H100) for w in (8, 64)
    )
    assert (narrow.width, wide.width) == (8, 64)
    assert wide.memory_bytes - narrow.memory_bytes == 56 * wide.step.memory_bytes
    small = dataclasses.replace(H100, memory_bytes=20 * wide.step.memory_bytes)
    auto = plan.make_plan(config(chunk_size=64), small)
    assert 1 < auto.width < 20
    assert 64 % auto.width == 0
    assert auto.memory_bytes <= small.memory_bytes
    forced = plan.make_plan(config(width=64, chunk_size=64), small)
    assert any("does not fit" in note for note in forced.notes)
    cpu = dataclasses.replace(H100, is_cpu=True)
    assert plan.make_plan(config(), cpu).width == 1


def test_the_bound_is_what_is_scarce():
    rich = {"bandwidth": 1e18, "disk": 1e18, "peak": {"float32": 1e18}}

    def bound(**scarce: Any):
        return plan.make_plan(config(), dataclasses.replace(H100, **rich | scarce))

    assert bound(peak={"float32": 1e6}).bound == "arithmetic"
    assert bound(bandwidth=1e6).bound == "bandwidth"
    assert bound(disk=1e3).bound == "disk"
    slow, slower = bound(bandwidth=1e6), bound(bandwidth=5e5)
    ratio = slower.total("seconds") / slow.total("seconds")
    assert ratio == pytest.approx(2)


def test_chunks_are_chosen_where_they_are_not_given():
    cpu = dataclasses.replace(H100, is_cpu=True, count=2)
    chosen = dataclasses.replace(config(), execution=FREE)
    assert costs.chunk_size(chosen, 100, cpu) == 8
    assert costs.chunk_size(chosen, 3, cpu) == 3
    assert costs.chunk_size(chosen, 1000, H100) == 256
    assert costs.chunk_size(config(), 100, cpu) == 4


def test_what_is_not_modelled_is_said():
    changed = dataclasses.replace(config(), detectors=("mntd", "accuracy", "dl_tnd"))
    found = plan.make_plan(changed, H100)
    assert [row.name for row in found.rows][7:] == ["fit mntd"]
    assert any(
        note.startswith("not modelled: accuracy alone, ") for note in found.notes
    )
    wrong = dataclasses.replace(config(), detectors=("mntd", "x"))
    with pytest.raises(UserError, match="unknown detector 'x'; there are"):
        plan.make_plan(wrong, H100)
    with pytest.raises(UserError, match=r"unknown device 'x'"):
        plan.predict(config(), "x")
    assert plan.predict(config(), "h100") == plan.make_plan(config(), H100)


# Devices.


def get(name, count=0, precision="float32", directory=ROOT):
    return get_device(
        name, count=count, precision=precision, working_set=2**20, directory=directory
    )


def test_data_sheets():
    assert get("h100") == H100
    assert get("a100", 8).count == 8
    assert get("tpu-v5e").peak_in("bfloat16") == 197e12
    for device in DEVICES.values():
        peaks = [device.peak_in(p) for p in ("float32", "tf32", "bfloat16")]
        assert peaks == sorted(peaks)
        assert not device.is_measured


def test_a_mistake_is_one_line_with_the_choices():
    with pytest.raises(UserError, match=r"unknown device 'x'.*'here', 'a100'") as error:
        get("x")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="devices is -1; it must be at least 1"):
        get("h100", -1)
    with pytest.raises(UserError, match="devices is 99; this machine has"):
        get("here", 99)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_this_machine_is_measured(precision, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "PATIENCE", 0.02)
    here = get("here", 2, precision, tmp_path / "not" / "yet")
    assert isinstance(here, Device)
    assert (here.count, here.is_cpu) == (2, True)
    assert here.is_measured is (precision == "float32")
    assert 1e8 < here.peak_in(precision) < 1e14
    assert 1e8 < here.bandwidth < 1e13
    assert here.disk > 1e5
    assert 2**28 < here.memory_bytes < 2**46
    assert list(tmp_path.iterdir()) == []
