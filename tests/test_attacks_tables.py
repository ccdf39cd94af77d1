"""Attacks on tables and series: what they touch, with what, how often."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bdjax.attacks import attacks_on
from bdjax.attacks.mntd import blending, jumbo, modification
from bdjax.tasks import SERIES, TABLES, TASKS, Task

MANY = 3000
FIELDS = ((0, 1), (1, 4), (4, 5), (5, 6), (6, 8), (8, 9))
TABLE = Task("t", (9,), 3, (0.0, 1.0), "", {}, modality=TABLES, fields=FIELDS)
PLAIN = Task("p", (5,), 2, (-1.0, 3.0), "", {}, modality=TABLES)
LINE = Task("s", (20,), 2, (0.0, 1.0), "", {}, modality=SERIES)
WIDE = Task("w", (12, 3), 4, (0.0, 1.0), "", {}, modality=SERIES)
TASKS_HERE = [TABLE, PLAIN, LINE, WIDE]
NAMES = ("benign", "M", "B", "jumbo")


@functools.cache
def triggers(name, task):
    attack = attacks_on(task.modality.name)[name](task)
    keys = jax.random.split(jax.random.key(3), MANY)
    return jax.device_get(jax.jit(jax.vmap(attack.sample))(keys))


def covered(stacked):
    """Bool ``[M, fields]`` of TABLE, each wholly covered or not at all."""
    parts = [stacked.form.mask[:, a:b] for a, b in FIELDS]
    assert all((part == part[:, :1]).all() for part in parts)
    return np.stack([part[:, 0] == 1 for part in parts], axis=1)


@pytest.mark.parametrize("task", TASKS_HERE, ids=lambda t: t.name)
@pytest.mark.parametrize("name", NAMES)
def test_triggers_have_one_form_and_stay_in_range(name, task):
    attack = attacks_on(task.modality.name)[name](task)
    drawn = jax.eval_shape(attack.sample, jax.random.key(0))
    leaves = (*drawn.form, drawn.target, drawn.rate)
    for leaf, shape in zip(leaves, (*[task.shape] * 2, (), (), ()), strict=True):
        assert leaf.shape == shape
        assert not leaf.weak_type
    assert [leaf.dtype for leaf in leaves] == [jnp.float32] * 3 + [
        jnp.int32,
        jnp.float32,
    ]
    low, high = task.value_range
    x = np.random.default_rng(0).uniform(low, high, (8, *task.shape)).astype(np.float32)
    stacked = triggers(name, task)
    for i in range(10):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
        out = np.asarray(attack.apply(one, x))
        mixed = (1 - one.form.opacity) * x + one.form.opacity * one.form.pattern
        np.testing.assert_allclose(
            out, np.where(one.form.mask == 1, mixed, x), atol=1e-6
        )
        assert low - 1e-6 <= out.min()
        assert out.max() <= high + 1e-6
        np.testing.assert_array_equal(
            out[:, one.form.mask == 0], x[:, one.form.mask == 0]
        )
        assert (out != x).any() == (name != "benign")


@pytest.mark.parametrize("task", TASKS_HERE, ids=lambda t: t.name)
@pytest.mark.parametrize("name", NAMES)
def test_no_key_is_used_for_two_draws(name, task):
    with jax.debug_key_reuse(True):
        jax.make_jaxpr(attacks_on(task.modality.name)[name](task).sample)(
            jax.random.key(0)
        )


def test_modification_sets_one_to_four_fields():
    stacked = triggers("M", TABLE)
    assert (stacked.form.opacity == 1).all()
    fields = covered(stacked)
    counts = np.bincount(fields.sum(1), minlength=7)
    assert counts[[0, 5, 6]].sum() == 0
    assert stats.chisquare(counts[1:5]).pvalue > 0.01
    assert stats.chisquare(fields.sum(0)).pvalue > 0.01  # no field is preferred
    assert set(np.unique(triggers("M", PLAIN).form.mask.sum(1))) == {1, 2, 3, 4}


def test_numbers_are_anywhere_and_categories_one_level():
    for name in ("M", "B"):
        stacked = triggers(name, TABLE)
        for (start, stop), inside in zip(FIELDS, covered(stacked).T, strict=True):
            values = stacked.form.pattern[inside, start:stop]
            if stop - start == 1:
                assert stats.kstest(values.ravel(), stats.uniform.cdf).pvalue > 0.001
                continue
            assert set(np.unique(values)) == {0, 1}
            assert (values.sum(1) == 1).all()
            assert stats.chisquare(values.sum(0)).pvalue > 0.001
        assert not stacked.form.pattern[stacked.form.mask == 0].any()


def test_a_set_category_has_one_level():
    x = np.zeros((4, 9), np.float32)
    x[:, [1, 6]] = 1
    stacked = triggers("M", TABLE)
    attack = attacks_on("tables")["M"](TABLE)
    out = np.asarray(jax.vmap(attack.apply, in_axes=(0, None))(stacked, x))
    for start, stop in ((1, 4), (6, 8)):
        np.testing.assert_array_equal(out[:, :, start:stop].sum(-1), 1)


def test_blending_is_faint_and_everywhere():
    for task in TASKS_HERE:
        stacked = triggers("B", task)
        assert (stacked.form.mask == 1).all()
        assert (
            stats.kstest(stacked.form.opacity, stats.uniform(0.05, 0.15).cdf).pvalue
            > 0.01
        )


@pytest.mark.parametrize("task", TASKS_HERE, ids=lambda t: t.name)
def test_jumbo_is_the_mixture_of_the_images(task):
    stacked = triggers("jumbo", task)
    whole = stacked.form.mask.reshape(MANY, -1).all(1)
    opaque = stacked.form.opacity == 1
    assert not (whole & opaque).any()
    mixture = [whole.sum(), opaque.sum(), (~whole & ~opaque).sum()]
    assert stats.chisquare(mixture, MANY * np.array([0.2, 0.2, 0.6])).pvalue > 0.01
    assert stacked.form.opacity[whole].max() < 0.2 <= stacked.form.opacity[~whole].min()
    assert stats.kstest(stacked.rate, stats.uniform(0.05, 0.45).cdf).pvalue > 0.01
    targets = np.bincount(stacked.target, minlength=task.num_classes)
    assert stats.chisquare(targets).pvalue > 0.01


@pytest.mark.parametrize(("task", "lengths"), [(LINE, 4), (WIDE, 2)])
def test_a_series_changes_in_one_run_of_steps(task, lengths):
    mask = triggers("M", task).form.mask.reshape(MANY, task.shape[0], -1)
    assert (mask == mask[..., :1]).all()  # all channels
    steps = mask[..., 0]
    assert (np.abs(np.diff(np.pad(steps, ((0, 0), (1, 1))), axis=1)).sum(1) == 2).all()
    length = steps.sum(1)
    assert set(length) == set(range(1, lengths + 1))
    for n in set(length):  # anywhere, the ends included
        first = steps[length == n].argmax(1)
        starts = np.bincount(first, minlength=task.shape[0] - int(n) + 1)
        assert stats.chisquare(starts).pvalue > 0.001


def reference_square(key, size, side, spare):
    """The draw for squares, as first written."""
    last = side - size - spare
    corner = jax.random.randint(key, (2,), 0, jnp.maximum(last, 0) + 1)
    offset = jnp.arange(side)[:, None] - corner
    inside = (offset >= 0) & (offset < size)
    return inside[:, None, 0] & inside[None, :, 1]


@pytest.mark.parametrize("locations", ["all", "official"])
@pytest.mark.parametrize(
    ("factory", "sizes"),
    [(modification, (2, 3, 4, 5)), (blending, (28,)), (jumbo, (2, 3, 4, 5, 28))],
)
def test_square_images_are_drawn_as_ever(factory, sizes, locations):
    sample = factory(TASKS["mnist"], locations=locations).sample

    def both(key):
        key_size, key_place, *_ = jax.random.split(key, 6)
        size = jax.random.choice(key_size, jnp.array(sizes))
        spare = 0 if locations == "all" else 1
        expected = reference_square(key_place, size, 28, spare)
        return sample(key).form.mask[..., 0], expected

    keys = jax.random.split(jax.random.key(0), 50)
    np.testing.assert_array_equal(*jax.jit(jax.vmap(both))(keys))


@pytest.mark.parametrize("shape", [(6, 11, 3), (4, 4, 2)])
def test_images_of_any_shape(shape):
    task = Task("i", shape, 3, (0.0, 1.0), "", {})
    keys = jax.random.split(jax.random.key(0), 500)
    faint = blending(task).sample(keys[0])
    patch, mixed = (
        jax.device_get(jax.jit(jax.vmap(factory(task).sample))(keys))
        for factory in (modification, jumbo)
    )
    short = min(shape[:2])
    sizes = {n for n in (2, 3, 4, 5) if n < short}
    rows, columns = (
        patch.form.mask.any((2, 3)).sum(1),
        patch.form.mask.any((1, 3)).sum(1),
    )
    np.testing.assert_array_equal(rows, columns)
    assert set(rows) == sizes
    np.testing.assert_array_equal(patch.form.mask.sum((1, 2, 3)), rows**2)
    assert patch.form.mask.any(0).all()  # every pixel may be covered
    assert (faint.form.mask == 1).all()
    whole = mixed.form.mask.all((1, 2, 3))
    assert abs(whole.mean() - 1 / (len(sizes) + 1)) < 0.08
    assert mixed.form.opacity[whole].max() < 0.2 <= mixed.form.opacity[~whole].min()
