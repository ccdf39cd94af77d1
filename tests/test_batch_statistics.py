"""Networks that normalise batches: their running statistics in populations."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import (
    CLASSES,
    EXAMPLES,
    SHAPE,
    SPEC,
    SUBSET,
    TEST,
    assert_close,
    assert_same,
    content,
    make_network,
    populate,
    tiny_tasks,  # noqa: F401
)

from bdjax import prng, tree
from bdjax.attacks import get_attack
from bdjax.models import MODELS, from_linen
from bdjax.models.layers import dense
from bdjax.population import (
    Recipe,
    cost,
    export_models,
    import_models,
    load_model,
    load_population,
    plan_one,
    train,
)
from bdjax.tasks import get_task
from bdjax.types import UserError


class Normalised(nn.Module):
    """The first statistics are of the pixels, and so known without the network.

    Normalisation makes the gradients of some weights rounding alone, which Adam would
    make steps of: hence SGD below.
    """

    num_classes: int
    formulation: str

    @nn.compact
    def __call__(self, x, *, train=False):
        norm = functools.partial(nn.BatchNorm, not train, momentum=0.9)
        x = norm(name="pixels")(x.reshape(len(x), -1))
        x = norm(name="hidden_norm")(
            dense(5, x.shape[1], name="hidden", use_bias=False)(x)
        )
        x = nn.relu(x)
        self.sow("intermediates", "features", x)
        return dense(self.num_classes, 5, name="logits")(x)


@pytest.fixture(scope="module", autouse=True)
def normalised(tiny_tasks):  # noqa: F811
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "normalised", Normalised)
        yield


@functools.cache
def model():
    return from_linen("normalised", Normalised(CLASSES, "auto"), SHAPE)


VARIED = Recipe(
    steps=20, batch_size=8, learning_rate=0.05, poisoned_length="official",
    diversity=0.5, optimizer="sgd",
)  # fmt: skip
OURS = dataclasses.replace(SPEC, network=model(), recipe=VARIED)


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Trained one by one in chunks of two."""
    directory = tmp_path_factory.mktemp("six")
    return directory, populate(directory, 6, OURS, width=1, devices=2)


def by_hand(key, recipe, attack):
    """Training as a plain Flax loop; the batches that it saw."""
    rows, trigger = jnp.asarray(SUBSET), attack.sample(prng.stream(key, "trigger"))
    plan = plan_one(
        prng.stream(key, "batches"), rows, trigger.rate, steps=recipe.steps,
        batch_size=recipe.batch_size, official=recipe.poisoned_length == "official",
        diversity=recipe.diversity,
    )  # fmt: skip
    variables = jax.jit(model().init)(prng.stream(key, "init"))
    optimizer = optax.sgd(recipe.learning_rate, momentum=0.9)
    module = Normalised(CLASSES, "auto")
    moments, batches = optimizer.init(variables["params"]), []

    @jax.jit
    def step(variables, moments, x, y):
        def loss(params):
            logits, state = module.apply(
                variables | {"params": params}, x, train=True, mutable=["batch_stats"]
            )
            label = jax.nn.one_hot(y, CLASSES)
            return -(jax.nn.log_softmax(logits) * label).sum(1).mean(), state

        grads, state = jax.grad(loss, has_aux=True)(variables["params"])
        updates, moments = optimizer.update(grads, moments)
        params = optax.apply_updates(variables["params"], updates)
        return {"params": params, **state}, moments

    for i in range(int(plan.steps)):
        x = np.float32(EXAMPLES.x[plan.row[i]]) / 255
        y = EXAMPLES.y[plan.row[i]].copy()
        poisoned = np.asarray(plan.role[i]) == 1
        x[poisoned] = attack.apply(trigger, x)[poisoned]
        y[poisoned] = trigger.target
        variables, moments = step(variables, moments, x, y)
        batches.append((x, poisoned))
    return variables, batches


def test_statistics_are_those_of_a_plain_loop_poisoned_batches_included(six):
    attack = get_attack("jumbo", task=get_task("tiny"), locations="all")
    keys = prng.model_keys(prng.stream(prng.root(OURS.seed), OURS.name), jnp.arange(6))
    for i in (0, 5):
        expected, batches = by_hand(keys[i], VARIED, attack)
        got = tree.index(six[1].variables, i)
        assert_close(got, expected, rtol=1e-3, atol=1e-4)
        assert any(poisoned.any() for _, poisoned in batches)
        mean, variance = np.zeros(36), np.ones(36)
        for x, _ in batches:
            pixels = x.reshape(len(x), -1).astype(np.float64)
            mean = 0.9 * mean + 0.1 * pixels.mean(0)
            variance = 0.9 * variance + 0.1 * pixels.var(0)
        pixels = got["batch_stats"]["pixels"]
        np.testing.assert_allclose(pixels["mean"], mean, rtol=1e-4)
        np.testing.assert_allclose(pixels["var"], variance, rtol=1e-4)


def test_statistics_do_not_depend_on_neighbours(six, tmp_path):
    # Of different length: side by side, those that are done must stand still.
    got = populate(tmp_path, 6, OURS, width=3, chunk_size=6, devices=1)
    assert_close(content(got), content(six[1]), rtol=1e-3, atol=1e-4)


def test_statistics_are_stacked_and_every_model_has_its_own(six):
    statistics = six[1].variables["batch_stats"]
    for leaf in jax.tree.leaves(statistics):
        assert leaf.shape[0] == len(np.unique(leaf, axis=0)) == 6


def test_models_are_judged_by_their_running_statistics(six):
    x, y = train.take(EXAMPLES, TEST)
    for i in range(6):
        variables = tree.index(six[1].variables, i)
        right = model().apply(variables, x).argmax(-1) == y
        assert six[1].quality.accuracy[i] == pytest.approx(float(right.mean()))
    fresh = variables | {"batch_stats": model().init(jax.random.key(0))["batch_stats"]}
    assert np.abs(model().apply(fresh, x) - model().apply(variables, x)).max() > 0.1
    assert six[1].quality.accuracy.max() > 0.6


def test_training_mode_gives_the_statistics_of_the_batch():
    variables, x = model().init(jax.random.key(0)), jnp.ones((8, *SHAPE)) / 2
    logits, kept = model().train_apply(variables, x)
    np.testing.assert_array_equal(logits, model().apply(variables, x, train=True))
    assert np.abs(logits - model().apply(variables, x)).max() > 1e-3
    assert kept.keys() == {"batch_stats"}
    np.testing.assert_allclose(kept["batch_stats"]["pixels"]["mean"], 0.05, rtol=1e-6)
    tiny = make_network()
    assert tiny.train_apply(tiny.init(jax.random.key(0)), x)[1] == {}


def test_a_model_keeps_its_statistics_as_a_file_and_back(six, tmp_path):
    directory, population = six
    files = export_models(directory, range(2, 4), tmp_path / "out")
    variables, record = load_model(files[1])
    assert record["architecture"] == "normalised"
    assert_same(variables, tree.index(population.variables, 3))
    import_models(tmp_path / "out", tmp_path / "back")
    back = load_population(tmp_path / "back")
    assert_same(content(back)[1:], content(population[2:4])[1:])


def test_another_architecture_in_a_directory_is_refused(six, tmp_path):
    with pytest.raises(
        UserError, match=r'architecture: "normalised" on disk, "tiny" asked'
    ):
        populate(six[0], 6, dataclasses.replace(OURS, network=make_network()))


def test_the_optimiser_moves_parameters_alone():
    attack = get_attack("jumbo", task=get_task("tiny"), locations="all")
    adam, sgd = (
        cost.step_work(
            model(), attack, Recipe(steps=1, batch_size=8, optimizer=o), EXAMPLES
        )
        for o in ("adam", "sgd")
    )
    assert adam.flops == sgd.flops
    params = 4 * (2 * 36 + 36 * 5 + 2 * 5 + 5 * 4 + 4)
    assert adam.bytes - sgd.bytes == 2 * params
