"""What recipes can say beyond MNTD's: SGD, decay, schedule, augmentation; manifests."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    CLASSES,
    EXAMPLES,
    RECIPE,
    SHAPE,
    SPEC,
    SUBSET,
    fit_one,
    make_examples,
    make_network,
    make_spec,
    tiny_tasks,  # noqa: F401
)
from tiny import train as train_tiny

from bdjax import prng, storage
from bdjax.attacks import Attack, Patch, Role, Trigger, all_to_one, blend
from bdjax.experiments.overrides import apply
from bdjax.population import (
    BatchPlan,
    Recipe,
    check_distinct,
    discard_damaged,
    load_population,
    plan_one,
)
from bdjax.population.augment import crop_flip
from bdjax.population.batches import PoisonedBatches
from bdjax.population.examples import take
from bdjax.types import UserError

ATTACK = Attack("", None, blend, all_to_one, None)
fit = jax.jit(fit_one, static_argnums=(0, 1, 2))


def make_trigger():
    """The two corners white."""
    mask = np.zeros((*SHAPE[:2], 1), np.float32)
    mask[0, 0] = mask[-1, -1] = 1
    form = Patch(mask, np.ones(SHAPE, np.float32), np.float32(1))
    return Trigger(form, target=np.int32(2), rate=np.float32(0.3))


def make_plan(recipe, steps):
    plan = plan_one(
        jax.random.key(5), jnp.asarray(SUBSET), jnp.float32(0.3), steps=recipe.steps,
        batch_size=recipe.batch_size,
    )  # fmt: skip
    return plan._replace(steps=jnp.int32(steps))


def by_hand(recipe, key, plan):
    """Softmax regression in NumPy, float64."""
    start = make_network().init(prng.stream(key, "init"))["params"]["logits"]
    w = {k: np.float64(v) for k, v in start.items()}
    m, v = ({k: np.zeros_like(a) for k, a in w.items()} for _ in range(2))
    trigger, steps = make_trigger(), int(plan.steps)
    for i in range(steps):
        x = np.float32(EXAMPLES.x[plan.row[i]]) / 255
        if recipe.augment == "crop_flip":
            x = crop_flip(jax.random.fold_in(prng.stream(key, "augment"), i), x)
        poisoned = np.asarray(plan.role[i]) == Role.POISON
        x = np.where(poisoned[:, None, None, None], blend(trigger, x), x)
        y = np.where(poisoned, 2, EXAMPLES.y[plan.row[i]])
        x = x.reshape(len(x), -1).astype(np.float64)
        logits = x @ w["kernel"] + w["bias"]
        p = np.exp(logits - logits.max(1, keepdims=True))
        error = (p / p.sum(1, keepdims=True) - np.eye(CLASSES)[y]) / len(y)
        grad = {"kernel": x.T @ error, "bias": error.sum(0)}
        grad["kernel"] = grad["kernel"] + recipe.weight_decay * w["kernel"]
        rate = recipe.learning_rate
        if recipe.schedule == "cosine":
            rate *= (1 + np.cos(np.pi * i / steps)) / 2
        for k, g in grad.items():
            if recipe.optimizer == "sgd":
                m[k] = 0.9 * m[k] + g
                w[k] = w[k] - rate * m[k]
            else:
                m[k], v[k] = 0.9 * m[k] + 0.1 * g, 0.999 * v[k] + 0.001 * g**2
                mean, square = (
                    m[k] / (1 - 0.9 ** (i + 1)),
                    v[k] / (1 - 0.999 ** (i + 1)),
                )
                w[k] = w[k] - rate * mean / (np.sqrt(square) + 1e-8)
    return w


@pytest.mark.parametrize("steps", [12, 8])  # a shorter model anneals over its own steps
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "schedule": "cosine", "weight_decay": 0.3},
        {"schedule": "cosine", "weight_decay": 0.3},
        {"augment": "crop_flip"},
    ],
    ids=str,
)
def test_training_equals_numpy(options, steps):
    recipe = Recipe(steps=12, batch_size=8, learning_rate=0.05, **options)
    key, plan = jax.random.key(3), make_plan(recipe, steps)
    got, _ = fit(make_network(), ATTACK, recipe, key, make_trigger(), plan, EXAMPLES)
    expected = by_hand(recipe, key, plan)
    plain = by_hand(dataclasses.replace(RECIPE, steps=12), key, plan)
    for name, leaf in got["params"]["logits"].items():
        np.testing.assert_allclose(leaf, expected[name], rtol=1e-3, atol=1e-5)
        assert np.abs(expected[name] - plain[name]).max() > 1e-3


# Augmentation.


def variants(image):
    """All crops of an image padded by 4, and their mirror images."""
    height, width, _ = image.shape
    wide = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    crops = [wide[i : i + height, j : j + width] for i, j in np.ndindex(9, 9)]
    return [c[:, ::s] for c in crops for s in (1, -1)]


def test_crops_and_flips_are_of_the_image_and_of_all_kinds():
    x = np.float32(make_examples(300, (6, 5, 2), CLASSES).x)
    got = np.asarray(jax.jit(crop_flip)(jax.random.key(0), x))
    kinds = []
    for image, other in zip(x, got, strict=True):
        found = [k for k, v in enumerate(variants(image)) if (v == other).all()]
        assert len(found) >= 1
        kinds.append(found[0])
    corners, flips = np.divmod(kinds, 2)
    assert len(set(corners // 9)) == len(set(corners % 9)) == 9
    assert 0.4 < flips.mean() < 0.6
    again = crop_flip(jax.random.key(0), x)
    np.testing.assert_array_equal(again, got)
    assert (np.asarray(crop_flip(jax.random.key(1), x)) != got).any()


def test_the_trigger_stays_in_place():
    rows, trigger = np.arange(8), make_trigger()
    role = jnp.array([[Role.POISON, Role.CLEAN] * 4], jnp.int8)
    recipe, key = Recipe(steps=1, augment="crop_flip"), jax.random.key(0)
    batches = PoisonedBatches(
        ATTACK, recipe, key, trigger, BatchPlan(rows[None], role, 1), EXAMPLES, None
    )
    x, y = batches.batch(0, ())
    clean = crop_flip(
        jax.random.fold_in(prng.stream(key, "augment"), 0), take(EXAMPLES, rows)[0]
    )
    np.testing.assert_array_equal(x[1::2], clean[1::2])
    mask = trigger.form.mask[:, :, 0] > 0
    assert (np.asarray(x[::2])[:, mask] == 1).all()
    np.testing.assert_array_equal(
        np.asarray(x[::2])[:, ~mask], np.asarray(clean[::2])[:, ~mask]
    )
    assert (y[::2] == 2).all()


# Settings.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "lion"}, r"unknown optimizer 'lion'; there are \['adam', 'sgd'"),
        ({"schedule": "step"}, "unknown schedule 'step'"),
        ({"augment": "mixup"}, "unknown augment 'mixup'"),
        (
            {"weight_decay": -1.0},
            r"weight_decay is -1\.0; it must be finite",
        ),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
    ],
)
def test_mistaken_settings_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Recipe(steps=1, **options)


NEW = {
    "optimizer": "sgd",
    "weight_decay": 2e-4,
    "schedule": "cosine",
    "augment": "crop_flip",
}


def test_the_command_line_says_how_models_are_trained():
    said = [f"--{name}={value}" for name, value in NEW.items()]
    found = apply(Recipe(steps=3), [*said, "--learning_rate=0.1"])
    assert found == Recipe(steps=3, learning_rate=0.1, **NEW)
    with pytest.raises(UserError, match="optimizer is 'lion'; there are"):
        apply(found, ["--optimizer=lion"])


# Populations on disk.


@pytest.mark.parametrize("name", NEW)
def test_another_setting_in_a_directory_is_refused_by_its_name(name, tmp_path):
    other = make_spec(recipe=dataclasses.replace(RECIPE, **{name: NEW[name]}))
    old = json.dumps(getattr(RECIPE, name))
    told = rf"recipe\.{name}: {old} on disk, {json.dumps(NEW[name])} asked"
    said = SPEC.to_dict() | {"data": "tiny-1", "chunk_size": 2}
    with storage.open_population(tmp_path, said, range(2)):
        pass  # begun, and killed at once
    with pytest.raises(UserError, match=told):
        train_tiny(tmp_path, 2, other)
    with pytest.raises(UserError, match=told):
        discard_damaged(tmp_path, other)


def test_another_network_or_recipe_has_another_name_and_other_models(tmp_path):
    short = dataclasses.replace(RECIPE, steps=5, name="short")
    specs = [SPEC, make_spec(network="fragile"), make_spec(recipe=short)]
    names = ["shadow-jumbo", "shadow-jumbo-fragile", "shadow-jumbo-short"]
    assert [spec.name for spec in specs] == names
    check_distinct(specs)
    train_tiny(tmp_path, 2, specs[1], devices=1)
    loaded = load_population(tmp_path)
    assert (loaded.name, loaded.network.name) == (names[1], "fragile")
    assert "unused" in loaded.variables["params"]
    assert loaded.recipe == RECIPE
    with pytest.raises(UserError, match='"fragile" on disk, "tiny" asked'):
        discard_damaged(tmp_path, SPEC)
    assert discard_damaged(tmp_path, specs[1]) == []


def test_two_recipes_under_one_name_are_refused():
    with pytest.raises(UserError, match=r"'shadow-jumbo'.*recipe\.steps.*a name"):
        check_distinct([SPEC, make_spec(recipe=dataclasses.replace(RECIPE, steps=5))])
    with pytest.raises(UserError, match="recipe's name is 'a-b'; use letters"):
        Recipe(steps=1, name="a-b")


def test_a_length_is_steps_or_epochs():
    with pytest.raises(UserError, match="steps is 0 and epochs 0; give one"):
        Recipe()
    with pytest.raises(UserError, match="steps is 2 and epochs 1; give one"):
        Recipe(steps=2, epochs=1)
    recipe = Recipe(epochs=3, batch_size=8, **NEW)
    assert recipe.for_rows(30) == Recipe(steps=11, batch_size=8, **NEW)
    assert recipe.for_rows(30).for_rows(99) == recipe.for_rows(30)
    with pytest.raises(UserError, match=r"3 epochs.*recipe\.for_rows"):
        make_spec(recipe=recipe)
