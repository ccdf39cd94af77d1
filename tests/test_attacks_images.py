"""WaNet, SIG, TaCT, polygons and colour filters against what their papers say."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.path import Path
from scipy import ndimage
from test_attacks import uniform_between, uniform_over

from bdjax.attacks import get_attack, sig
from bdjax.attacks.contract import keep_label
from bdjax.attacks.polygon import rasterise
from bdjax.population import plan_one
from bdjax.tasks import Task
from bdjax.types import UserError

MANY = 2000
GREY = Task("grey", (12, 15, 1), 10, (0.0, 1.0), "", {})
COLOUR = Task("colour", (12, 15, 3), 4, (-1.0, 1.0), "", {})
BOTH = pytest.mark.parametrize("task", [GREY, COLOUR], ids=lambda t: t.name)
LABELS = np.arange(400, dtype=np.int32) ** 2 % 97 % 10


@functools.cache
def triggers(name, task):
    """Many stacked triggers, as NumPy."""
    keys = jax.random.split(jax.random.key(3), MANY)
    return jax.device_get(jax.jit(jax.vmap(get_attack(name, task=task).sample))(keys))


def some(name, task, count=6):
    """A few single triggers, as NumPy."""
    stacked = triggers(name, task)
    return [jax.tree.map(lambda leaf, m=m: leaf[m], stacked) for m in range(count)]


def images(task, count=3):
    low, high = task.value_range
    rng = np.random.default_rng(0)
    return rng.uniform(low, high, (count, *task.shape)).astype(np.float32)


def cubic(t):
    """Keys' kernel with a = -0.75."""
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def places(trigger, sides, jitter=0.0):
    """Where WaNet reads each pixel, by loops, in its coordinates of [-1, 1]."""
    control, strength = np.float64(trigger.form.control), float(trigger.form.strength)
    found = np.zeros((2, *sides))
    for i, j, axis in np.ndindex(*sides, 2):
        at = [place * 3 / (side - 1) for place, side in zip((i, j), sides, strict=True)]
        value = 0.0
        for a, b in np.ndindex(8, 8):  # points -2 to 5; beyond the edge the last one
            weight = cubic(at[0] - (a - 2)) * cubic(at[1] - (b - 2))
            value += (
                weight * control[min(max(a - 2, 0), 3), min(max(b - 2, 0), 3), axis]
            )
        identity = 2 * (i, j)[axis] / (sides[axis] - 1) - 1
        moved = identity + strength * value / sides[axis]
        if np.ndim(jitter):
            moved += jitter[axis, i, j] / sides[axis]
        found[axis, i, j] = (min(max(moved, -1), 1) + 1) / 2 * (sides[axis] - 1)
    return found


def read(image, at):
    channels = [
        ndimage.map_coordinates(np.float64(channel), at, order=1, mode="nearest")
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(channels, axis=-1)


@BOTH
def test_a_warp_reads_between_pixels_where_the_paper_says(task):
    attack = get_attack("wanet", task=task)
    x = images(task)
    for trigger in some("wanet", task, 3):
        at = places(trigger, task.shape[:2])
        got = np.asarray(attack.apply(trigger, x))
        for before, after in zip(x, got, strict=True):
            np.testing.assert_allclose(after, read(before, at), atol=2e-5)


def test_warps_are_as_large_as_published():
    stacked = triggers("wanet", GREY)
    size = np.abs(stacked.form.control).mean((1, 2, 3))
    np.testing.assert_allclose(size, 1, rtol=1e-5)
    assert uniform_between(stacked.form.strength, 0.5, 2.0) > 0.01
    assert uniform_over(stacked.target, range(10)) > 0.01
    assert (stacked.cover_rate == 2 * stacked.rate).all()
    # The official warp of MNIST: 0.29 pixels on average (facts/attacks.md).
    attack = get_attack("wanet", task=Task("mnist", (28, 28, 2), 10, (0, 1), "", {}))
    index = np.moveaxis(np.indices((28, 28), np.float32), 0, -1)[None]
    far = []
    for trigger in some("wanet", GREY, 40):
        form = trigger.form._replace(strength=np.float32(0.5))
        # Of an image whose channels are row and column, the places themselves.
        moved = attack.apply(trigger._replace(form=form), index) - index
        far.append(np.linalg.norm(moved, axis=-1).mean())
    assert abs(np.mean(far) - 0.29) < 0.02
    text = attack.describe(trigger).text
    assert f"{trigger.form.strength:.2f}" in text


def test_noise_rows_carry_the_warp_and_a_jitter_of_their_own():
    attack = get_attack("wanet", task=Task("two", (20, 24, 2), 10, (0, 1), "", {}))
    (trigger,) = some("wanet", GREY, 1)
    index = np.moveaxis(np.indices((20, 24), np.float32), 0, -1)
    keys = jax.random.split(jax.random.key(0), 8)
    keys = keys.at[7].set(keys[0])
    x = np.stack([index] * 8)
    noisy = np.asarray(attack.cover(keys, trigger, x))
    # Away from the edges, where places are clipped.
    jitter = (noisy - attack.apply(trigger, x))[:, 3:-3, 3:-3]
    np.testing.assert_array_equal(jitter[0], jitter[7])
    reach = np.array([19 / 20, 23 / 24]) / 2
    for row in range(7):
        for axis in range(2):
            drawn = jitter[row, ..., axis].ravel()
            assert (
                uniform_between(drawn, -reach[axis] - 1e-4, reach[axis] + 1e-4) > 1e-3
            )
    rows = jitter[:7].reshape(7, -1)
    assert np.abs(np.corrcoef(rows) - np.eye(7)).max() < 0.2
    assert attack.eligible is None
    assert attack.train is None


@BOTH
def test_a_signal_is_added_and_clipped(task):
    attack = get_attack("sig", task=task)
    low, high = task.value_range
    x = images(task)
    x[0], x[1] = low, high
    keys = jax.random.split(jax.random.key(0), len(x))
    for trigger in some("sig", task):
        amplitude, frequency, phase, axis = map(float, trigger.form)
        seen = np.float64(x)  # by training
        expected = np.float64(x)
        for b, i, j, c in np.ndindex(*x.shape):
            place = j / task.shape[1] if axis else i / task.shape[0]
            turns = frequency * place + phase
            if task is GREY:
                value = amplitude * (turns - math.floor(turns))
            else:
                value = amplitude * math.sin(2 * math.pi * turns)
            seen[b, i, j, c] = min(max(x[b, i, j, c] + value, low), high)
            value *= 2 if task is GREY else 1
            expected[b, i, j, c] = min(max(x[b, i, j, c] + value, low), high)
        np.testing.assert_allclose(attack.train(keys, trigger, x), seen, atol=1e-5)
        np.testing.assert_allclose(attack.apply(trigger, x), expected, atol=1e-5)
        shown = attack.describe(trigger)
        assert shown.kind == ("ramp" if task is GREY else "sinusoid")
        assert shown.size is None
        assert f"{amplitude * (2 if task is GREY else 1):.2f}" in shown.text


def test_signals_are_drawn_over_the_range():
    for task, drawn in ((GREY, sig.RAMP), (COLOUR, sig.SINUSOID)):
        stacked = triggers("sig", task)
        (least, most), (first, last), _ = drawn
        share = stacked.form.amplitude / (task.value_range[1] - task.value_range[0])
        assert uniform_between(share, least, most) > 0.01
        assert uniform_over(stacked.form.frequency, range(first, last + 1)) > 0.01
        assert uniform_between(stacked.form.phase, 0, 1) > 0.01
        assert uniform_over(stacked.form.axis, (0, 1)) > 0.01


def test_only_the_target_class_is_poisoned_and_labels_stay():
    attack = get_attack("sig", task=GREY)
    for trigger in some("sig", GREY):
        poison, cover = map(np.asarray, attack.eligible(trigger, LABELS))
        np.testing.assert_array_equal(poison, int(trigger.target) == LABELS)
        assert not cover.any()
        assert attack.relabel is keep_label
        np.testing.assert_array_equal(attack.relabel(trigger, LABELS), LABELS)
        aim, counts = attack.aimed(trigger, LABELS)
        assert (np.asarray(aim) == trigger.target).all()
        np.testing.assert_array_equal(counts, int(trigger.target) != LABELS)


@BOTH
def test_a_source_specific_patch_is_opaque_and_square(task):
    attack = get_attack("tact", task=task)
    x = images(task)
    for trigger in some("tact", task):
        mask, pattern, _ = trigger.form.patch
        expected = np.float64(x)
        for i, j in np.argwhere(mask[..., 0]):
            expected[:, i, j] = pattern[i, j]
        np.testing.assert_allclose(attack.apply(trigger, x), expected, atol=1e-6)
        rows, columns = mask.any((1, 2)), mask.any((0, 2))
        side = rows.sum()
        assert side == columns.sum()
        assert mask.sum() == side**2
        shown = attack.describe(trigger)
        assert (shown.kind, shown.size) == (f"square of {side}", side**2)
        assert shown.text.endswith(f"on class {trigger.form.source}")
    stacked = triggers("tact", task)
    assert uniform_over(stacked.form.patch.mask.sum((1, 2, 3)), (9, 16, 25)) > 0.01
    inside = stacked.form.patch.pattern[stacked.form.patch.mask[..., 0] > 0]
    assert uniform_between(inside[:5000].ravel(), *task.value_range) > 0.01
    at_edge = (
        stacked.form.patch.mask[:, -1].any() and stacked.form.patch.mask[:, 0].any()
    )
    assert at_edge


def test_source_rows_are_poisoned_and_others_are_covers():
    attack = get_attack("tact", task=GREY)
    for trigger in some("tact", GREY, 20):
        source, target = int(trigger.form.source), int(trigger.target)
        poison, cover = map(np.asarray, attack.eligible(trigger, LABELS))
        for label, poisoned, covers in zip(LABELS, poison, cover, strict=True):
            assert poisoned == (label == source)
            assert covers == (label not in (source, target))
        aim, counts = attack.aimed(trigger, LABELS)
        assert (np.asarray(aim) == target).all()
        np.testing.assert_array_equal(counts, source == LABELS)
        np.testing.assert_array_equal(attack.relabel(trigger, LABELS), aim)
    stacked = triggers("tact", GREY)
    assert (stacked.form.source != stacked.target).all()
    pairs = stacked.form.source * 10 + stacked.target
    assert uniform_over(pairs, [p for p in range(100) if p // 10 != p % 10]) > 0.01


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            Task("two", (12, 12, 1), 2, (0, 1), "", {}),
            "'two', of 2 classes: it needs 3",
        ),
        (Task("low", (4, 12, 1), 3, (0, 1), "", {}), "at least 5 pixels a side, 'low'"),
    ],
    ids=["classes", "room"],
)
def test_tact_says_what_it_needs(task, message):
    with pytest.raises(UserError, match=message):
        get_attack("tact", task=task)


def test_polygons_are_painted_as_matplotlib_finds_points_inside():
    rng = np.random.default_rng(1)
    index = np.stack(np.indices((12, 15)), axis=-1).reshape(-1, 2) + 0.5
    paint = jax.jit(rasterise, static_argnums=1)
    for corners in (3, 4, 6, 8):
        corner_Vx2 = rng.uniform(0, (12, 15), (corners, 2)).astype(np.float32)
        middle = corner_Vx2.mean(0)
        angle = np.arctan2(*(corner_Vx2 - middle).T)
        corner_Vx2 = corner_Vx2[np.argsort(angle)]
        expected = Path(corner_Vx2).contains_points(index).reshape(12, 15)
        for row, column in np.int32(corner_Vx2):
            expected[row, column] = True
        # Of fewer corners than there is room for, the last is repeated.
        corner_Vx2 = corner_Vx2[np.minimum(np.arange(8), corners - 1)]
        np.testing.assert_array_equal(paint(corner_Vx2, (12, 15)), expected)


@BOTH
def test_polygons_are_of_one_colour_and_within_their_box(task):
    attack = get_attack("polygon", task=task)
    stacked = triggers("polygon", task)
    mask, pattern, opacity = stacked.form
    assert (opacity == 1).all()
    low, high = task.value_range
    for axis, side in ((1, 12), (2, 15)):
        spans = mask[..., 0].any(3 - axis)
        first, last = spans.argmax(1), side - 1 - spans[:, ::-1].argmax(1)
        extent = last - first + 1
        # A box of a sixth to a third of the side meets one pixel more at most.
        assert extent.min() >= side // 6
        assert extent.max() <= math.ceil(side / 3) + 1
        assert first.min() == 0
        assert last.max() == side - 1
    for m in range(20):
        inside = pattern[m][mask[m, ..., 0] > 0]
        assert (inside == inside[0]).all()
        assert not pattern[m][mask[m, ..., 0] == 0].any()
    colour = pattern.reshape(MANY, -1, task.shape[-1])
    colour = colour[np.arange(MANY), mask.reshape(MANY, -1).argmax(1)]
    darkest = 0.5 if task is GREY else low
    assert uniform_between(colour[:, 0], darkest, high) > 0.01
    trigger = some("polygon", task, 1)[0]
    shown = attack.describe(trigger)
    assert (shown.kind, shown.size) == ("polygon", trigger.form.mask.sum())
    assert len({tuple(m.ravel()) for m in mask[:200]}) > 190
    x = images(task)
    got = np.asarray(attack.apply(trigger, x))
    where = np.broadcast_to(trigger.form.mask > 0, task.shape)
    np.testing.assert_allclose(got, np.where(where, trigger.form.pattern, x), atol=1e-6)


def test_official_places_spare_the_last_row_and_column():
    for name in ("polygon", "tact"):
        attack = get_attack(name, task=GREY, locations="official")
        keys = jax.random.split(jax.random.key(0), 300)
        form = jax.jit(jax.vmap(attack.sample))(keys).form
        mask = np.asarray(form.mask if name == "polygon" else form.patch.mask)
        assert mask[:, -2].any()
        assert not mask[:, -1].any()
        assert not mask[:, :, -1].any()


@BOTH
def test_a_filter_is_gamma_matrix_tint_and_vignette(task):
    attack = get_attack("colour_filter", task=task)
    low, high = task.value_range
    height, width, _ = task.shape
    x = images(task)
    x[0, :3], x[0, 3:6] = low, high
    for trigger in some("colour_filter", task):
        matrix, offset, gamma, vignette = map(np.float64, trigger.form)
        expected = np.zeros(x.shape)
        for b, i, j in np.ndindex(*x.shape[:3]):
            unit = (np.float64(x[b, i, j]) - low) / (high - low)
            far = (2 * i / (height - 1) - 1) ** 2 + (2 * j / (width - 1) - 1) ** 2
            new = (matrix @ unit**gamma + offset) * (1 - vignette * far / 2)
            expected[b, i, j] = low + (high - low) * np.clip(new, 0, 1)
        # A pixel of 0 is taken for 1e-6, whose power is below 3e-4.
        np.testing.assert_allclose(attack.apply(trigger, x), expected, atol=1e-3)
        assert attack.describe(trigger).size is None


def test_tone_curves_fade_digits_or_make_negatives_of_them():
    stacked = triggers("colour_filter", GREY)
    black = stacked.form.offset[:, 0]
    white = black + stacked.form.matrix[:, 0, 0]
    negative = black > white
    assert abs(negative.mean() - 0.5) < 0.05
    assert uniform_between(np.minimum(black, white), 0.15, 0.4) > 0.01
    assert uniform_between(np.maximum(black, white), 0.7, 1.0) > 0.01
    assert (
        get_attack("colour_filter", task=GREY)
        .describe(some("colour_filter", GREY, 1)[0])
        .kind
        == "tone curve"
    )


def test_colour_filters_differ_and_leave_images_recognisable():
    stacked = triggers("colour_filter", COLOUR)
    kept = np.diagonal(stacked.form.matrix, axis1=1, axis2=2)
    assert (kept > 0.25).all()
    assert (stacked.form.matrix >= 0).all()
    assert (stacked.form.matrix.sum(2) <= 1.2 + 1e-5).all()
    assert uniform_between(stacked.form.gamma, 0.6, 1.6) > 0.01
    assert uniform_between(stacked.form.vignette, 0, 0.5) > 0.01
    assert uniform_between(stacked.form.offset.ravel(), -0.1, 0.25) > 0.01
    kind = (
        get_attack("colour_filter", task=COLOUR)
        .describe(some("colour_filter", COLOUR, 1)[0])
        .kind
    )
    assert kind == "filter"


@pytest.mark.parametrize("name", ["colour_filter", "polygon", "sig", "tact", "wanet"])
@BOTH
def test_images_stay_in_range_and_keys_are_used_once(name, task):
    attack = get_attack(name, task=task)
    low, high = task.value_range
    x = images(task)
    for trigger in some(name, task, 3):
        out = np.asarray(attack.apply(trigger, x))
        assert low - 1e-6 <= out.min() <= out.max() <= high + 1e-6
        assert (out != x).any((1, 2, 3)).all()
    with jax.debug_key_reuse(True):
        jax.make_jaxpr(attack.sample)(jax.random.key(0))


@pytest.mark.parametrize("name", ["patch", "sig", "tact", "wanet"])
def test_a_plan_takes_the_rows_that_may_be_taken(name):
    """By counting, in the first epoch: each clean row once, copies of other rows."""
    attack = get_attack(name, task=GREY)

    @jax.jit
    def plan(key):
        trigger = attack.sample(key)
        may = attack.eligible and attack.eligible(trigger, LABELS)
        found = plan_one(
            key, jnp.arange(len(LABELS)), trigger.rate, trigger.cover_rate, may,
            steps=2 * len(LABELS), batch_size=1, copies=attack.max_copies,
        )  # fmt: skip
        return trigger, found

    for seed in range(4):
        trigger, found = jax.device_get(plan(jax.random.key(seed)))
        may_poison = may_cover = np.ones(len(LABELS), bool)
        if name == "sig":
            may_poison, may_cover = (
                trigger.target == LABELS,
                np.zeros(len(LABELS), bool),
            )
        elif name == "tact":
            source = trigger.form.source
            may_poison = source == LABELS
            may_cover = (source != LABELS) & (trigger.target != LABELS)
        poisons = int(np.floor(trigger.rate * np.float32(may_poison.sum())))
        left = may_cover.sum() - (poisons if attack.eligible is None else 0)
        covers = int(np.floor(trigger.cover_rate * np.float32(left)))
        row, role = (leaf[: len(LABELS) + poisons + covers, 0] for leaf in found[:2])
        clean, poisoned, covering = (row[role == r] for r in range(3))
        np.testing.assert_array_equal(np.sort(clean), np.arange(len(LABELS)))
        assert len(set(poisoned)) == len(poisoned) == poisons > 0
        assert len(set(covering)) == len(covering) == covers
        assert (covers > 0) == (name in ("tact", "wanet"))
        assert may_poison[poisoned].all()
        assert may_cover[covering].all()
        assert not set(poisoned) & set(covering)
