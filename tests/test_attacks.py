import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import stats

from bdjax.attacks import Patch, Trigger, attacks_on, blend, get_attack
from bdjax.tasks import TASKS, Task, get_task
from bdjax.types import UserError

# Of patches and patterns in the extreme colours; the others: test_attacks_images.
OTHERS = {"colour_filter", "polygon", "sig", "tact", "wanet"}
IMAGES = {name: on for name, on in attacks_on("images").items() if name not in OTHERS}
MANY = 4000
SIDE = 12
GREY = Task("grey", (SIDE, SIDE, 1), 10, (0.0, 1.0), "", {})
COLOUR = Task("colour", (SIDE, SIDE, 3), 4, (-1.0, 1.0), "", {})
KEYS = jax.random.split(jax.random.key(7), MANY)
# Single triggers that only differ in shape from "cross".
DRAWN_ALIKE = {"pixel", "ell", "square"}


@functools.cache
def triggers(name, locations="all"):
    """Many stacked triggers on grey images, as NumPy."""
    attack = IMAGES[name](GREY, locations=locations)
    return jax.device_get(jax.jit(jax.vmap(attack.sample))(KEYS))


def sides(stacked):
    """The side of every trigger's patch, having checked that it is a full square."""
    rows, columns = stacked.form.mask.any((2, 3)), stacked.form.mask.any((1, 3))
    assert (rows.sum(1) == columns.sum(1)).all()
    square = rows[:, :, None] & columns[:, None]
    np.testing.assert_array_equal(stacked.form.mask[..., 0], square)
    assert (np.abs(np.diff(rows, axis=1)).sum(1) <= 2).all()  # one run, not several
    assert (np.abs(np.diff(columns, axis=1)).sum(1) <= 2).all()
    return rows.sum(1)


def corners(stacked):
    return np.stack(
        [stacked.form.mask.any((2, 3)), stacked.form.mask.any((1, 3))]
    ).argmax(2)


def uniform_over(values, support):
    """p-value of ``values`` being uniform over the integers ``support``."""
    assert set(np.unique(values)) == set(support)
    return stats.chisquare([(values == s).sum() for s in support]).pvalue


def uniform_between(values, low, high):
    assert low <= values.min()
    assert values.max() < high
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue


@pytest.mark.parametrize("locations", ["all", "official"])
@pytest.mark.parametrize("task", [TASKS["mnist"], COLOUR], ids=lambda t: t.name)
@pytest.mark.parametrize("name", IMAGES)
def test_every_attack_samples_triggers_of_one_form(name, task, locations):
    attack = IMAGES[name](task, locations=locations)
    drawn = jax.eval_shape(attack.sample, jax.random.key(0))
    form = Patch(
        mask=((*task.shape[:2], 1), jnp.float32),
        pattern=(task.shape, jnp.float32),
        opacity=((), jnp.float32),
    )
    expected = (*form, ((), jnp.int32), ((), jnp.float32))
    for leaf, (shape, dtype) in zip(
        (*drawn.form, drawn.target, drawn.rate), expected, strict=True
    ):
        assert (leaf.shape, leaf.dtype, leaf.weak_type) == (shape, dtype, False)


@pytest.mark.parametrize("name", sorted(IMAGES.keys() - DRAWN_ALIKE))
def test_stacked_triggers_are_the_single_ones(name):
    attack = IMAGES[name](GREY)
    stacked = jax.tree.map(lambda leaf: leaf[:3], triggers(name))
    x = np.random.default_rng(0).uniform(size=(3, 2, *GREY.shape)).astype(np.float32)
    y = np.arange(6, dtype=np.int32).reshape(3, 2)
    out_x = jax.vmap(attack.apply)(stacked, x)
    out_y = jax.vmap(attack.relabel)(stacked, y)
    assert out_y.dtype == jnp.int32
    for m in range(3):
        one = jax.device_get(attack.sample(KEYS[m]))
        for got, expected in zip(*map(jax.tree.leaves, (stacked, one)), strict=True):
            np.testing.assert_allclose(got[m], expected, rtol=1e-6)
        np.testing.assert_allclose(out_x[m], oracles.blend(one, x[m]), atol=1e-6)
        wanted = (y[m] + 1) % 10 if name == "all_to_all" else [one.target] * 2
        np.testing.assert_array_equal(out_y[m], wanted)
    if name != "benign":
        assert len(np.unique(stacked.rate)) == 3


@pytest.mark.parametrize("task", [GREY, COLOUR], ids=lambda t: t.name)
@pytest.mark.parametrize("name", IMAGES)
def test_triggered_images_stay_in_the_value_range(name, task):
    attack = IMAGES[name](task)
    low, high = task.value_range
    x = np.random.default_rng(0).uniform(low, high, (8, *task.shape))
    x[0], x[1] = low, high
    x = np.float32(x)
    for key in KEYS[:20]:
        trigger = jax.device_get(attack.sample(key))
        out = np.asarray(attack.apply(trigger, x))
        assert low <= out.min()
        assert out.max() <= high
        inside = np.broadcast_to(trigger.form.mask > 0, task.shape)
        if name != "blend":  # of any value in between
            assert set(np.unique(trigger.form.pattern[inside])) <= {low, high}
        np.testing.assert_array_equal(out[:, ~inside], x[:, ~inside])
        assert (out[:, inside] != x[:, inside]).any() == (name != "benign")


def test_blending_equals_the_formula_pixel_by_pixel():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(3, 5, 6, 2)).astype(np.float32)
    for opacity in (0.0, 0.1, 0.5, 1.0):
        trigger = Trigger(
            Patch(
                mask=rng.integers(0, 2, (5, 6, 1)).astype(np.float32),
                pattern=rng.uniform(size=(5, 6, 2)).astype(np.float32),
                opacity=np.float32(opacity),
            ),
            target=np.int32(0),
            rate=np.float32(0.1),
        )
        out = np.asarray(blend(trigger, x))
        np.testing.assert_allclose(out, oracles.blend(trigger, x), atol=1e-6)
        outside = np.broadcast_to(trigger.form.mask == 0, x.shape)
        np.testing.assert_array_equal(out[outside], x[outside])


def test_benign_models_are_given_clean_data():
    stacked = triggers("benign")
    assert not stacked.rate.any()
    assert not stacked.form.mask.any()
    x = np.random.default_rng(0).uniform(size=(2, *GREY.shape)).astype(np.float32)
    attack = IMAGES["benign"](GREY)
    trigger = jax.tree.map(lambda leaf: leaf[0], stacked)
    np.testing.assert_array_equal(attack.apply(trigger, x), x)


def test_modification_is_an_opaque_binary_patch():
    stacked = triggers("M")
    assert (stacked.form.opacity == 1).all()
    side = sides(stacked)
    assert uniform_over(side, [2, 3, 4, 5]) > 0.01
    assert not stacked.form.pattern[stacked.form.mask == 0].any()
    assert set(np.unique(stacked.form.pattern)) == {0, 1}
    ones = stacked.form.pattern.sum((1, 2, 3)).astype(int)
    for p in (2, 3, 4, 5):
        assert uniform_over(ones[side == p], range(1, p * p)) > 0.01
    # Which cells are high is left to chance: each one as often as any other.
    top, left = corners(stacked)
    cells = np.mean(
        [
            stacked.form.pattern[m, top[m] : top[m] + 5, left[m] : left[m] + 5, 0]
            for m in np.flatnonzero(side == 5)
        ],
        axis=0,
    )
    assert cells.shape == (5, 5)
    assert np.abs(cells - 0.5).max() < 0.08


def test_blending_is_a_faint_pattern_on_every_pixel():
    stacked = triggers("B")
    assert (stacked.form.mask == 1).all()
    assert uniform_between(stacked.form.opacity, 0.05, 0.2) > 0.01
    ones = stacked.form.pattern.sum((1, 2, 3))
    assert set(np.unique(stacked.form.pattern)) == {0, 1}
    assert uniform_over(ones.astype(int), range(1, SIDE * SIDE)) > 0.01


@pytest.mark.parametrize("locations", ["all", "official"])
def test_jumbo_is_the_published_mixture(locations):
    stacked = triggers("jumbo", locations)
    side = sides(stacked)
    assert uniform_over(side, [2, 3, 4, 5, SIDE]) > 0.01
    whole = side == SIDE
    opaque = ~whole & (stacked.form.opacity == 1)
    translucent = ~whole & ~opaque
    mixture = [kind.sum() for kind in (whole, opaque, translucent)]
    assert stats.chisquare(mixture, MANY * np.array([0.2, 0.2, 0.6])).pvalue > 0.01
    assert uniform_between(stacked.form.opacity[whole], 0.05, 0.2) > 0.01
    assert uniform_between(stacked.form.opacity[translucent], 0.2, 0.5) > 0.01
    assert uniform_between(stacked.rate, 0.05, 0.5) > 0.01
    assert uniform_over(stacked.target, range(10)) > 0.01


@pytest.mark.parametrize("name", IMAGES)
def test_no_key_is_used_for_two_draws(name):
    with jax.debug_key_reuse(True):
        jax.make_jaxpr(IMAGES[name](GREY).sample)(jax.random.key(0))


def test_draws_of_one_trigger_are_independent():
    stacked = triggers("jumbo")
    side = sides(stacked)
    patch = (side < SIDE) & (stacked.form.opacity < 1)
    top, left = corners(stacked)
    ones = stacked.form.pattern.sum((1, 2, 3)) / side**2
    draws = np.stack(
        [side, top, left, ones, stacked.form.opacity, stacked.target, stacked.rate]
    )[:, patch]
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    # Larger patches have less room, and a larger range for the number of ones.
    correlation[0, 1:4] = correlation[1:4, 0] = 0
    assert np.abs(correlation).max() < 0.08


@pytest.mark.parametrize(
    ("name", "locations", "spare"),
    [("M", "all", 0), ("jumbo", "all", 0), ("jumbo", "official", 1)],
)
def test_patches_lie_anywhere_or_where_the_official_code_puts_them(
    name, locations, spare
):
    stacked = triggers(name, locations)
    side = sides(stacked)
    for p in (2, 3, 4, 5):
        for corner in corners(stacked):
            places = range(SIDE - p + 1 - spare)
            assert uniform_over(corner[side == p], places) > 0.001
    covered = stacked.form.mask[side < SIDE, ..., 0].any(0)
    reach = SIDE - spare
    assert covered[:reach].any(1).all()
    assert covered[:, :reach].any(0).all()
    assert not covered[reach:].any()
    assert not covered[:, reach:].any()


def test_equal_arguments_give_the_same_attack():
    task = get_task("mnist")
    assert get_attack("M", task=task) is get_attack("M", task=task)


def test_unknown_names_are_answered_with_those_there_are():
    with pytest.raises(UserError, match="'trojan'") as error:
        get_attack("trojan", task=get_task("mnist"))
    assert all(repr(name) in str(error.value) for name in IMAGES)
    with pytest.raises(UserError, match=r"'corner'.*'all' and 'official'"):
        get_attack("M", task=get_task("mnist"), locations="corner")
