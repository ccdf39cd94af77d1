import dataclasses
import functools
import math
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from bdjax import prng, tree
from bdjax.attacks import Trigger, all_to_one, blend, get_attack
from bdjax.attacks.base import Attack
from bdjax.models import MODELS, get_model
from bdjax.models.layers import dense
from bdjax.population import (
    Examples,
    Execution,
    PopulationSpec,
    Recipe,
    load_population,
    plan_one,
    run,
    train,
    train_models,
    train_population,
)
from bdjax.tasks import TASKS, Task
from bdjax.types import UserError

# A single dense layer on 6x6 images of 4 classes: it compiles in no time.
SHAPE, CLASSES = (6, 6, 1), 4
STREAMS = ["init", "trigger", "batches"]
RECIPE = Recipe(steps=63, batch_size=8, learning_rate=0.05)
VARIED = dataclasses.replace(RECIPE, poisoned_length="official", diversity=0.5)


class Linear(nn.Module):
    num_classes: int
    formulation: str

    @nn.compact
    def __call__(self, x, *, train=False):
        del train
        x = x.reshape(len(x), -1)
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, fan_in=x.shape[-1], name="logits")(x)


class Fragile(Linear):
    """Half of its starts are broken, in a weight that no logit and no loss shows."""

    @nn.compact
    def __call__(self, x, *, train=False):
        def coin(key, shape):
            return jnp.where(jax.random.bernoulli(key, 0.5, shape), jnp.nan, 1.0)

        self.param("unused", coin, ())
        return super().__call__(x, train=train)


@pytest.fixture(scope="module", autouse=True)
def tiny_tasks():
    with pytest.MonkeyPatch.context() as patch:
        for name, module in (("tiny", Linear), ("fragile", Fragile)):
            patch.setitem(MODELS, name, module)
        patch.setitem(TASKS, "tiny", Task("tiny", SHAPE, CLASSES, (0, 1), "tiny", {}))
        yield


def tiny_model():
    return get_model("tiny", input_shape=SHAPE, num_classes=CLASSES)


def make_examples(count, shape, classes, seed=0):
    """Noise in bytes, with a bright row that tells the class."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 160, (count, *shape), dtype=np.uint8)
    y = rng.integers(0, classes, count, dtype=np.int32)
    x[np.arange(count), y] += 90
    return Examples(x, y)


EXAMPLES = make_examples(80, SHAPE, CLASSES)
SUBSET = np.arange(1, 60, 2)  # 30 rows
TEST = np.arange(60, 77)  # 17 rows: the last batch of 8 is short


def models(attack, ids, **execution):
    """Stacked variables, triggers and quality, as NumPy."""
    keys = prng.model_keys(prng.root(0), jnp.asarray(ids))
    out = train_models(
        tiny_model(),
        get_attack(attack, task="tiny", locations="all"),
        VARIED,
        keys,
        jnp.asarray(SUBSET),
        jnp.asarray(TEST),
        EXAMPLES,
        execution=Execution(**execution),
    )
    return jax.device_get(out)


def assert_close(got, expected, rtol=1e-5, atol=1e-6):
    close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    jax.tree.map(close, got, expected)


def assert_same(got, expected):
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def make_trigger(shape=SHAPE, opacity=0.6, target=1, rate=0.2):
    rng = np.random.default_rng(6)
    return Trigger(
        mask=rng.integers(0, 2, (*shape[:2], 1)).astype(np.float32),
        pattern=rng.uniform(size=shape).astype(np.float32),
        opacity=np.float32(opacity),
        target=np.int32(target),
        rate=np.float32(rate),
    )


# What training and judging need of an attack: not where its triggers come from.
ATTACK = Attack("", None, blend, all_to_one)
fit = jax.jit(train.train_one, static_argnums=(0, 1, 2))
judge = jax.jit(train.judge_one, static_argnums=(0, 1), static_argnames="batch_size")


# Batch plans.


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.07, 0.283, 0.5])
def test_every_epoch_holds_each_clean_row_once_and_the_same_poison(rate, official):
    subset = np.arange(100, 146, 2)
    n, poisoned_count = 23, int(np.float32(rate) * 23)
    total = n + poisoned_count
    plan = plan_one(
        jax.random.key(4),
        jnp.asarray(subset),
        jnp.float32(rate),
        steps=20,
        batch_size=7,
        official=official,
    )
    assert plan.row.dtype == jnp.int32
    row, poisoned = np.ravel(plan.row), np.ravel(plan.poisoned)
    assert len(row) == len(plan.row) * 7
    orders, poison = [], []
    for start in range(0, len(row) - total + 1, total):
        epoch = slice(start, start + total)
        clean = row[epoch][~poisoned[epoch]]
        np.testing.assert_array_equal(np.sort(clean), subset)
        orders.append(tuple(clean))
        poison.append(np.sort(row[epoch][poisoned[epoch]]))
        assert len(np.unique(poison[-1])) == len(poison[-1]) == poisoned_count
        assert set(poison[-1]) <= set(subset)
        np.testing.assert_array_equal(poison[-1], poison[0])
    assert len(set(orders)) == len(orders) >= 4


@functools.partial(
    jax.jit, static_argnames=("size", "steps", "batch_size", "official", "diversity")
)
def plans(rates, size, **options):
    """Plans of one model for every rate, on the rows ``0 .. size - 1``."""
    keys = jax.random.split(jax.random.key(0), len(rates))
    plan = functools.partial(plan_one, **options)
    return jax.vmap(plan, in_axes=(0, None, 0))(keys, jnp.arange(size), rates)


def test_number_of_poisoned_copies_is_the_rate_rounded_down():
    rates = np.random.default_rng(0).uniform(0.05, 0.5, 400).astype(np.float32)
    drawn = plans(rates, 37, steps=8, batch_size=7)
    flat = np.asarray(drawn.poisoned).reshape(len(rates), -1)
    expected = [int(rate * 37) for rate in rates]
    counts = [int(p[: 37 + e].sum()) for p, e in zip(flat, expected, strict=True)]
    assert counts == expected
    assert len(set(counts)) > 10


def test_every_row_may_be_poisoned_and_models_differ():
    drawn = plans(np.full(400, 0.25, np.float32), 37, steps=8, batch_size=7)
    row, poisoned = (np.asarray(a).reshape(400, -1)[:, : 37 + 9] for a in drawn[:2])
    poison = np.zeros((400, 37))
    for model in range(400):
        poison[model, row[model][poisoned[model]]] = 1
    assert (poison.sum(1) == 9).all()
    assert np.abs(poison.mean(0) - 9 / 37).max() < 0.1
    assert np.abs(poisoned.mean(0) - 9 / 46).max() < 0.1  # shuffled among the clean


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.31, 0.5])
def test_length_of_training(rate):
    n, batch, steps = 30, 8, 23
    epochs = round(steps * batch / n)
    make = functools.partial(
        plan_one,
        jax.random.key(0),
        jnp.arange(n),
        jnp.float32(rate),
        steps=steps,
        batch_size=batch,
    )
    equal = make()
    assert len(equal.row) == int(equal.steps) == steps
    official = make(official=True)
    expected = epochs * math.ceil((n + int(rate * n)) / batch)
    assert int(official.steps) == expected <= len(official.row)
    if rate == 0.5:
        assert expected == len(official.row)
    # Whatever the attack, plans stack.
    assert official.row.shape == (epochs * math.ceil(1.5 * n / batch), batch)


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_diverse_models_differ_in_data_and_length_alone(rate, official):
    n, batch, steps = 40, 10, 30
    rates = np.full(300, rate, np.float32)
    options = {"steps": steps, "batch_size": batch, "official": official}
    drawn = jax.device_get(plans(rates, n, **options, diversity=0.6))
    sizes, shares = [], []
    for row, poisoned, count in zip(*drawn, strict=True):
        rows, counts = np.unique(row[~poisoned], return_counts=True)
        assert np.ptp(counts) <= 1  # whole epochs, and the last one begun
        poison = np.unique(row[poisoned])
        assert set(poison) <= set(rows)
        assert len(poison) == int(np.float32(rate) * len(rows))
        whole = steps
        if official:
            total = len(rows) + len(poison)
            whole = round(steps * batch / n) * math.ceil(total / batch)
        assert count <= len(row)
        sizes.append(len(rows))
        shares.append(count / whole)
    assert min(sizes) == 16
    assert max(sizes) in (38, 39, 40)
    assert 0.4 - 1 / steps <= min(shares) < 0.43
    assert 0.93 < max(shares) <= 1
    assert abs(np.corrcoef(sizes, shares)[0, 1]) < 0.2
    seen = np.stack([np.isin(np.arange(n), row) for row in drawn.row])
    assert np.abs(seen.mean(0) - np.mean(sizes) / n).max() < 0.12


@pytest.mark.parametrize("options", [{}, {"official": True, "diversity": 0.5}])
def test_no_key_is_used_for_two_draws(options):
    plan = functools.partial(plan_one, steps=4, batch_size=3, **options)
    with jax.debug_key_reuse(True):
        jax.make_jaxpr(plan)(jax.random.key(0), jnp.arange(9), jnp.float32(0.2))


def test_a_diverse_model_is_never_left_without_data():
    rates = np.zeros(50, np.float32)
    drawn = jax.device_get(plans(rates, 3, steps=4, batch_size=2, diversity=0.95))
    assert not drawn.poisoned.any()
    assert {len(np.unique(row)) for row in drawn.row} == {1, 2}
    assert drawn.steps.min() == 1


# Training and judging one model.


def manual_plan(rows, count):
    """Batches and poison at random, so that no help comes from `plan_one`."""
    rng = np.random.default_rng(5)
    row = rng.choice(rows, (count, 8))
    poisoned = rng.random((count, 8)) < 0.3
    return train.BatchPlan(row, poisoned, np.int32(count))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_batch_is_poisoned_where_the_plan_says(dtype):
    examples = EXAMPLES
    if dtype == np.float32:
        examples = Examples(np.float32(EXAMPLES.x) / 255, EXAMPLES.y)
    plan, trigger = manual_plan(SUBSET, 1), make_trigger()
    args = plan.row[0], plan.poisoned[0]
    x, y = train.poisoned_batch(ATTACK, trigger, examples, *args)
    expected_x, expected_y = oracles.batch(examples, trigger, *args)
    np.testing.assert_allclose(x, expected_x, atol=1e-6)
    np.testing.assert_array_equal(y, expected_y)
    assert 0 < plan.poisoned.sum() < 8


def test_train_one_equals_training_by_hand():
    plan, trigger = manual_plan(SUBSET, RECIPE.steps), make_trigger()
    key = jax.random.key(11)
    weights, loss = fit(tiny_model(), ATTACK, RECIPE, key, trigger, plan, EXAMPLES)
    start = tiny_model().init(prng.stream(key, "init"))
    expected, losses = oracles.train(
        oracles.linear_grad, start, EXAMPLES, trigger, plan, RECIPE.learning_rate
    )
    assert_close(weights, expected, atol=1e-5)
    # The loss on record is that of the last tenth: 6 steps of 63.
    np.testing.assert_allclose(loss, np.mean(losses[-6:]), rtol=1e-5)
    assert loss < 0.8 * losses[0]


def test_train_one_on_the_published_network_equals_training_by_hand():
    shape, steps = (28, 28, 1), 4
    examples = make_examples(20, shape, 10)
    plan, trigger = manual_plan(np.arange(20), steps), make_trigger(shape)
    key, recipe = jax.random.key(2), Recipe(steps=steps, batch_size=8)
    network = functools.partial(
        get_model, "mntd_mnist_cnn", input_shape=shape, num_classes=10
    )
    rng = np.random.default_rng(0)

    def draw(leaf):
        bound = max(400, math.prod(leaf.shape[:-1])) ** -0.5
        return rng.uniform(-bound, bound, leaf.shape).astype(np.float32)

    start = jax.tree.map(draw, jax.eval_shape(network().init, key))
    model = dataclasses.replace(network(), init=lambda key: start)
    weights, loss = fit(model, ATTACK, recipe, key, trigger, plan, examples)
    grad_fn = oracles.autodiff_grad(network(formulation="lax"))
    expected, losses = oracles.train(grad_fn, start, examples, trigger, plan, 1e-3)
    np.testing.assert_allclose(loss, losses[-1], rtol=1e-5)
    # Adam divides a gradient by its size, so a few tiny ones are mostly rounding.
    for got, right in zip(*map(jax.tree.leaves, (weights, expected)), strict=True):
        assert np.isclose(got, right, rtol=0, atol=1e-5).mean() > 0.9995
        np.testing.assert_allclose(got, right, atol=1e-3)


def test_steps_beyond_a_plan_s_own_are_not_taken():
    key, trigger, long = jax.random.key(8), make_trigger(), manual_plan(SUBSET, 75)
    short = long._replace(steps=np.int32(63))
    cut = train.BatchPlan(long.row[:63], long.poisoned[:63], np.int32(63))

    def run(plan, recipe=RECIPE):
        return fit(tiny_model(), ATTACK, recipe, key, trigger, plan, EXAMPLES)

    expected = [run(cut), run(long)]
    assert_close(run(short), expected[0])
    kernels = [out[0]["params"]["logits"]["kernel"] for out in expected]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-2
    # Side by side, the one that is done waits for the other.
    train_one = functools.partial(
        train.train_one, tiny_model(), ATTACK, VARIED, key, trigger,
        examples=EXAMPLES, one_by_one=False,
    )  # fmt: skip
    plans = jax.tree.map(lambda *leaves: np.stack(leaves), short, long)
    pair = jax.jit(jax.vmap(lambda plan: train_one(plan=plan)))(plans)
    for m in range(2):
        assert_close(tree.index(pair, m), expected[m])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [TEST, TEST[:16]], ids=len)
def test_judge_one_equals_counting_one_by_one(rows, seed):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(36, CLASSES))
    kernel -= kernel.mean(0)
    layer = {"kernel": np.float32(kernel), "bias": np.zeros(CLASSES, np.float32)}
    variables = {"params": {"logits": layer}}
    trigger = make_trigger(target=seed)

    def predict(x):
        return (x.reshape(len(x), -1) @ kernel).argmax(1)

    def run(trigger):
        return judge(
            tiny_model(), ATTACK, variables, trigger, rows, EXAMPLES, batch_size=8
        )

    expected = oracles.judge(predict, EXAMPLES, trigger, rows)
    np.testing.assert_allclose(run(trigger), expected, rtol=1e-6)
    accuracy, asr = run(trigger._replace(rate=np.float32(0)))
    np.testing.assert_allclose(accuracy, expected[0], rtol=1e-6)
    assert np.isnan(asr)


# Model 17 is the same model, however it was made.


@pytest.fixture(scope="module")
def seven():
    return models("jumbo", range(7), devices=1, width=1)


# Seven are no multiple of two, and each has its own number of steps; devices and the
# plain recipe have their turn with the chunks below.
def test_a_model_does_not_depend_on_the_width(seven):
    assert_close(models("jumbo", range(7), devices=1, width=2), seven)


def test_a_model_does_not_depend_on_its_neighbours(seven):
    others = models("jumbo", [3, 0, 17, 99, 4, 5, 8], devices=1)
    ours = np.array([3, 0, 4, 5])
    assert_close(tree.index(others, np.array([0, 1, 4, 5])), tree.index(seven, ours))
    kernels = seven[0]["params"]["logits"]["kernel"].reshape(7, -1)
    assert len(np.unique(kernels, axis=0)) == 7
    assert len(np.unique(seven[1].rate)) == 7


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(UserError, match="devices is 5; this machine has 4"):
        models("jumbo", range(7), devices=5)


def test_benign_and_trojaned_models_leave_no_trace_of_which_they_are(seven):
    programs = train._train_chunk._cache_size()
    benign = models("benign", range(7), devices=1, width=1)
    # One program trains both: one number of steps, one form of output.
    assert train._train_chunk._cache_size() == programs
    assert jax.tree.structure(benign) == jax.tree.structure(seven)
    for one, other in zip(*map(jax.tree.leaves, (benign, seven)), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)


def test_models_learn_their_task_and_their_trigger(seven):
    _, _, trojaned = seven
    assert trojaned.accuracy.mean() > 0.8
    assert trojaned.asr.mean() > 0.5  # by chance, a quarter
    assert (trojaned.loss < 0.4).all()
    _, _, benign = models("benign", range(7), devices=1, width=1)
    assert benign.accuracy.mean() > 0.85
    assert np.isnan(benign.asr).all()


# On disk.

SPEC = PopulationSpec("tiny", "shadow", "jumbo", RECIPE, seed=3)


def populate(
    directory, count, spec=SPEC, *, chunk_size=2, devices=4, width=0, **options
):
    return train_population(
        directory, spec, count,
        examples=EXAMPLES, subset_N=SUBSET, test_N=TEST,
        provenance={"data": options.pop("data", "tiny-1")},
        execution=Execution(chunk_size, width, devices),
        **options,
    )  # fmt: skip


def content(population):
    return (
        population.ids_M,
        population.variables,
        population.triggers,
        population.quality,
    )


def files(directory):
    return {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.fixture
def trained(monkeypatch):
    """The numbers of models of all calls to `train_models` from here on."""
    calls = []

    def spy(*args, **options):
        calls.append(len(args[3]))
        return train_models(*args, **options)

    monkeypatch.setattr(run, "train_models", spy)
    return calls


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A population of five in chunks of two, never to be changed."""
    directory = tmp_path_factory.mktemp("population") / "shadow-jumbo"
    return directory, populate(directory, 5)


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_population_on_disk_is_what_was_trained(made):
    directory, population = made
    assert population.name == "shadow-jumbo"
    assert population.ids_M.tolist() == [0, 1, 2, 3, 4]
    assert len(population) == 5
    assert tree.count(population.variables) == 5
    assert np.isfinite(population.quality.asr).all()
    loaded = load_population(directory)
    assert (loaded.name, loaded.attack) == (population.name, population.attack)
    assert len(loaded) == 6  # the last chunk is whole
    assert_same(tree.index(content(loaded), slice(5)), content(population))


@pytest.mark.parametrize(
    ("chunk_size", "devices", "width"), [(3, 4, 1), (4, 4, 1), (4, 2, 2), (4, 1, 1)]
)
def test_neither_chunks_nor_devices_nor_width_change_a_model(
    made, tmp_path, chunk_size, devices, width
):
    execution = {"chunk_size": chunk_size, "devices": devices, "width": width}
    got = populate(tmp_path / "p", 5, **execution)
    assert_close(content(got), content(made[1]))


def test_extending_keeps_the_earlier_models(made, copied, trained):
    before = files(copied)
    told = []
    more = populate(copied, 7, callback=lambda *args: told.append(args))
    assert trained == [2]
    assert_same(tree.index(content(more), slice(5)), content(made[1]))
    assert more.ids_M.tolist() == list(range(7))
    after = files(copied)
    assert all(after[path] == data for path, data in before.items())
    assert [count for count, _ in told] == [2, 2, 2, 1]
    assert [quality is None for _, quality in told] == [True, True, True, False]
    # And fewer may be asked for than there are.
    fewer = populate(copied, 3)
    assert_same(content(fewer), tree.index(content(made[1]), slice(3)))
    assert trained == [2]


def test_a_lost_chunk_alone_is_trained_again(made, copied, trained):
    before = files(copied)
    shutil.rmtree(copied / "chunks" / "1")
    with pytest.raises(UserError, match=r"incomplete.*\[0, 2\]"):
        load_population(copied)
    again = populate(copied, 5)
    assert trained == [2]
    assert_same(content(again), content(made[1]))
    kept = {p: d for p, d in files(copied).items() if p.parts[-2] != "1"}
    assert all(
        before[p] == data
        for p, data in kept.items()
        if (copied / "chunks" / "1") not in p.parents
    )


class Kill(BaseException):
    pass


def test_an_interrupted_population_goes_on_where_it_stopped(made, tmp_path, trained):
    def die(count, quality):
        if len(trained) == 2:
            raise Kill

    with pytest.raises(Kill):
        populate(tmp_path / "p", 5, callback=die)
    assert trained == [2, 2]
    resumed = populate(tmp_path / "p", 5)
    assert trained == [2, 2, 2]
    assert_same(content(resumed), content(made[1]))


def test_chunk_size_on_disk_wins_over_the_one_asked(made, copied, trained):
    got = populate(copied, 8, chunk_size=4)
    assert trained == [2]
    assert sorted(p.name for p in (copied / "chunks").iterdir()) == list("0123")
    assert_same(tree.index(content(got), slice(5)), content(made[1]))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("recipe.recipe.steps: 63 on disk, 64 asked", {"recipe": Recipe(64, 8, 0.05)}),
        (
            "recipe.recipe.learning_rate: 0.05 on disk, 0.1 asked",
            {"recipe": Recipe(63, 8, 0.1)},
        ),
        ('recipe.attack: "jumbo" on disk, "M" asked', {"attack": "M"}),
        ('recipe.role: "shadow" on disk, "target" asked', {"role": "target"}),
        ("recipe.seed: 3 on disk, 4 asked", {"seed": 4}),
        ('recipe.locations: "all" on disk', {"locations": "official"}),
    ],
)
def test_another_recipe_is_refused_by_the_field_that_differs(made, field, change):
    before = files(made[0])
    with pytest.raises(UserError) as error:
        populate(made[0], 5, dataclasses.replace(SPEC, **change))
    assert field in str(error.value)
    assert files(made[0]) == before


def test_other_data_are_refused_and_so_is_an_empty_population(made, tmp_path):
    with pytest.raises(UserError, match=r'recipe\.data: "tiny-1" on disk, "tiny-2"'):
        populate(made[0], 5, data="tiny-2")
    with pytest.raises(UserError, match="shadow-jumbo: asked for 0 models"):
        populate(tmp_path / "p", 0)
    with pytest.raises(UserError, match="no population"):
        load_population(tmp_path / "p")


def test_roles_attacks_and_seeds_share_no_randomness(tmp_path, monkeypatch):
    keys = []

    def spy(model, attack, recipe, keys_M, *args, **options):
        keys.extend(keys_M)
        raise Kill

    monkeypatch.setattr(run, "train_models", spy)
    roles = [{"role": "target"}, {"role": "validation"}, {"seed": 4}, {"attack": "M"}]
    for i, change in enumerate([{}, *roles]):
        with pytest.raises(Kill):
            populate(tmp_path / str(i), 2, dataclasses.replace(SPEC, **change))
    starts = [tiny_model().init(prng.stream(key, "init")) for key in keys]
    kernels = np.stack([v["params"]["logits"]["kernel"].ravel() for v in starts])
    assert np.abs(np.corrcoef(kernels) - np.eye(10)).max() < 0.4
    # Nor do the streams of one model.
    streams = [jax.random.key_data(prng.stream(keys[0], name)) for name in STREAMS]
    assert len(np.unique(streams, axis=0)) == len(STREAMS)


# Models that training broke.


def test_an_absurd_learning_rate_is_on_record_as_nan_loss():
    absurd = dataclasses.replace(RECIPE, learning_rate=1e38)
    judged = jax.jit(train.train_and_judge_one, static_argnums=(0, 1, 2, 8))
    plan = manual_plan(SUBSET, RECIPE.steps)
    variables, quality = judged(
        tiny_model(), ATTACK, absurd, jax.random.key(0), make_trigger(), plan, TEST,
        EXAMPLES, True,
    )  # fmt: skip
    assert np.isnan(quality.loss)
    assert not np.isfinite(variables["params"]["logits"]["kernel"]).all()


def test_diverged_models_are_named_and_left_out_in_order(tmp_path, monkeypatch):
    fragile = dataclasses.replace(TASKS["tiny"], model="fragile")
    monkeypatch.setitem(TASKS, "tiny", fragile)
    population = populate(tmp_path / "p", 12, chunk_size=4)
    unused = population.variables["params"]["unused"]
    broken = np.flatnonzero(np.isnan(unused))
    assert 0 < len(broken) < 11
    assert broken[0] < 11 - np.argmax(~np.isnan(unused[::-1]))  # one before a sound one
    assert population.diverged_ids == broken.tolist()
    np.testing.assert_array_equal(np.isnan(population.quality.loss), np.isnan(unused))
    rest = population.without_diverged()
    keep = np.setdiff1d(np.arange(12), broken)
    assert rest.ids_M.tolist() == keep.tolist()
    assert_same(content(rest), tree.index(content(population), keep))
    assert (rest.name, rest.attack) == (population.name, population.attack)
    assert rest.diverged_ids == []
    assert_same(content(rest.without_diverged()), content(rest))
    loaded = load_population(tmp_path / "p")
    assert loaded.diverged_ids == population.diverged_ids


# What no recipe may say.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(steps=0), "steps is 0"),
        (lambda: Recipe(steps=5, batch_size=0), "batch_size is 0"),
        (lambda: Recipe(steps=5, learning_rate=-1.0), "learning_rate is -1"),
        (lambda: Recipe(steps=5, learning_rate=math.nan), "learning_rate is nan"),
        (lambda: Recipe(steps=5, diversity=1.0), "diversity is 1.0"),
        (lambda: Recipe(steps=5, diversity=-0.1), "diversity is -0.1"),
        (lambda: Recipe(steps=5, poisoned_length="long"), "'long'.*'equal'.*'off"),
        (lambda: Execution(chunk_size=0), "chunk_size is 0"),
        (lambda: Execution(width=-1), "width is -1"),
        (lambda: Execution(devices=-1), "devices is -1"),
    ],
)
def test_mistaken_settings_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
