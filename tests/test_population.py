"""Training, judging and planning one model, and that neighbours do not touch it."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from tiny import (
    CLASSES,
    EXAMPLES,
    RECIPE,
    SHAPE,
    SUBSET,
    TEST,
    assert_close,
    fit_one,
    make_examples,
    make_network,
    tiny_tasks,  # noqa: F401
)

from bdjax import prng, tree
from bdjax.attacks import Attack, Patch, Role, Trigger, all_to_one, blend, get_attack
from bdjax.models import get_model
from bdjax.models.base import from_linen
from bdjax.models.layers import dense
from bdjax.population import (
    Examples,
    Execution,
    Recipe,
    plan_one,
    train,
    train_models,
)
from bdjax.population.batches import put_on
from bdjax.population.examples import take
from bdjax.population.judge import judge_one
from bdjax.tasks import get_task
from bdjax.types import UserError

VARIED = dataclasses.replace(RECIPE, poisoned_length="official", diversity=0.5)


def models(attack, ids, **execution):
    """Stacked variables, triggers and quality, as NumPy."""
    keys = prng.model_keys(prng.root(0), jnp.asarray(ids))
    out = train_models(
        make_network(),
        get_attack(attack, task=get_task("tiny"), locations="all"),
        VARIED,
        keys,
        jnp.asarray(SUBSET),
        jnp.asarray(TEST),
        EXAMPLES,
        execution=Execution(**execution),
    )
    return jax.device_get(out)


def make_trigger(shape=SHAPE, opacity=0.6, target=1, rate=0.2):
    rng = np.random.default_rng(6)
    return Trigger(
        Patch(
            mask=rng.integers(0, 2, (*shape[:2], 1)).astype(np.float32),
            pattern=rng.uniform(size=shape).astype(np.float32),
            opacity=np.float32(opacity),
        ),
        target=np.int32(target),
        rate=np.float32(rate),
    )


# What training and judging need of an attack: not where its triggers come from.
ATTACK = Attack("", None, blend, all_to_one, None)
fit = jax.jit(fit_one, static_argnums=(0, 1, 2))
judge = jax.jit(judge_one, static_argnums=(0, 1), static_argnames="batch_size")


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
    row, poisoned = np.ravel(plan.row), np.ravel(plan.role) == Role.POISON
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
    flat = np.asarray(drawn.role).reshape(len(rates), -1)
    expected = [int(rate * 37) for rate in rates]
    counts = [int(p[: 37 + e].sum()) for p, e in zip(flat, expected, strict=True)]
    assert counts == expected
    assert len(set(counts)) > 10


def test_every_row_may_be_poisoned_and_models_differ():
    drawn = plans(np.full(400, 0.25, np.float32), 37, steps=8, batch_size=7)
    row, role = (np.asarray(a).reshape(400, -1)[:, : 37 + 9] for a in drawn[:2])
    poisoned = role == Role.POISON
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
    for row, role, count in zip(*drawn, strict=True):
        poisoned = role == Role.POISON
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
    assert not drawn.role.any()
    assert {len(np.unique(row)) for row in drawn.row} == {1, 2}
    assert drawn.steps.min() == 1


# Training and judging one model.


def manual_plan(rows, count):
    """Batches and poison at random, so that no help comes from `plan_one`."""
    rng = np.random.default_rng(5)
    row = rng.choice(rows, (count, 8))
    role = (rng.random((count, 8)) < 0.3).astype(np.int8)
    return train.BatchPlan(row, role, np.int32(count))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_batch_is_poisoned_where_the_plan_says(dtype):
    examples = EXAMPLES
    if dtype == np.float32:
        examples = Examples(np.float32(EXAMPLES.x) / 255, EXAMPLES.y)
    plan, trigger = manual_plan(SUBSET, 1), make_trigger()
    x, y = put_on(ATTACK, trigger, None, *take(examples, plan.row[0]), plan.role[0])
    poisoned = plan.role[0] == Role.POISON
    expected_x, expected_y = oracles.batch(examples, trigger, plan.row[0], poisoned)
    np.testing.assert_allclose(x, expected_x, atol=1e-6)
    np.testing.assert_array_equal(y, expected_y)
    assert 0 < poisoned.sum() < 8


def test_train_one_equals_training_by_hand():
    plan, trigger = manual_plan(SUBSET, RECIPE.steps), make_trigger()
    key = jax.random.key(11)
    weights, loss = fit(make_network(), ATTACK, RECIPE, key, trigger, plan, EXAMPLES)
    start = make_network().init(prng.stream(key, "init"))
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


class TwoLayers(nn.Module):
    precision: str = "float32"

    @nn.compact
    def __call__(self, x, *, train=False):
        del train
        x = nn.relu(dense(16, 36, self.precision, name="hidden")(x.reshape(-1, 36)))
        self.sow("intermediates", "features", x)
        return dense(CLASSES, 16, self.precision, name="logits")(x)


def test_training_in_bfloat16_learns_and_keeps_float32_weights():
    model = from_linen("two_layers", TwoLayers(), SHAPE)
    plan, trigger = manual_plan(SUBSET, 200), make_trigger(rate=0.0)
    plan = plan._replace(role=np.zeros_like(plan.role))
    recipe = Recipe(steps=200, batch_size=8, learning_rate=0.01)
    key, results = jax.random.key(1), {}
    for precision in ("float32", "bfloat16"):
        recipe = dataclasses.replace(recipe, precision=precision)
        args = model, ATTACK, recipe, key, trigger
        results[precision] = fit(*args, plan, EXAMPLES)
        _, early = fit(*args, plan._replace(steps=np.int32(10)), EXAMPLES)
        assert results[precision][1] < 0.5 * early
    exact, loss = results["float32"]
    weights, rounded_loss = results["bfloat16"]
    assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {np.dtype("float32")}
    for got, other in zip(*map(jax.tree.leaves, (weights, exact)), strict=True):
        assert (got.astype(jnp.bfloat16).astype(jnp.float32) != got).mean() > 0.9
        assert (got != other).any()  # other products they were
        assert np.abs(got - other).mean() < 0.2 * np.abs(other).mean()
    assert abs(loss - rounded_loss) < 0.1


def test_steps_beyond_a_plan_s_own_are_not_taken():
    key, trigger, long = jax.random.key(8), make_trigger(), manual_plan(SUBSET, 75)
    short = long._replace(steps=np.int32(63))
    cut = train.BatchPlan(long.row[:63], long.role[:63], np.int32(63))

    def run(plan, recipe=RECIPE):
        return fit(make_network(), ATTACK, recipe, key, trigger, plan, EXAMPLES)

    expected = [run(cut), run(long)]
    assert_close(run(short), expected[0])
    kernels = [out[0]["params"]["logits"]["kernel"] for out in expected]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-2
    # Side by side, the one that is done waits for the other.
    train_one = functools.partial(
        fit_one, make_network(), ATTACK, VARIED, key, trigger,
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
            make_network(), ATTACK, variables, trigger, rows, EXAMPLES, batch_size=8
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


# Models that training broke.


def test_an_absurd_learning_rate_is_on_record_as_nan_loss():
    absurd = dataclasses.replace(RECIPE, learning_rate=1e38)
    judged = jax.jit(train.train_and_judge_one, static_argnums=range(5))
    plan = manual_plan(SUBSET, RECIPE.steps)
    variables, _, quality = judged(
        make_network(), ATTACK, None, absurd, True,
        (jax.random.key(0), make_trigger(), plan), train.Shared(SUBSET, TEST, EXAMPLES),
    )  # fmt: skip
    assert np.isnan(quality.loss)
    assert not np.isfinite(variables["params"]["logits"]["kernel"]).all()


# What no recipe may say.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(steps=0), "steps is 0"),
        (lambda: Recipe(steps=5, batch_size=0), "batch_size is 0"),
        (lambda: Recipe(steps=5, learning_rate=-1.0), "learning_rate is -1"),
        (lambda: Recipe(steps=5, learning_rate=math.nan), "learning_rate is nan"),
        (lambda: Recipe(steps=5, learning_rate=math.inf), "is inf; .* finite"),
        (lambda: Recipe(steps=5, weight_decay=math.inf), "is inf; .* finite"),
        (lambda: Recipe(steps=5, diversity=1.0), "diversity is 1.0"),
        (lambda: Recipe(steps=5, diversity=-0.1), "diversity is -0.1"),
        (lambda: Recipe(steps=5, poisoned_length="long"), "'long'.*'equal'.*'off"),
        (
            lambda: Recipe(steps=5, precision="fp8"),
            "'fp8'; .*'tf32', 'bfloat16'",
        ),
        (lambda: Execution(chunk_size=-1), "chunk_size is -1"),
        (lambda: Execution(width=-1), "width is -1"),
        (lambda: Execution(devices=-1), "devices is -1"),
    ],
)
def test_mistaken_settings_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
