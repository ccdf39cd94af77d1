"""The attacks of the evaluation population: patches, noise blends, all-to-all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_attacks import uniform_between, uniform_over
from tiny import poisoned_batch

from bdjax.attacks import (
    NO_TARGET,
    attacks_on,
    badnets,
    describe_target,
    get_attack,
    patch_size,
    patches,
)
from bdjax.models import Model
from bdjax.population import Examples
from bdjax.population.judge import judge_one
from bdjax.tasks import TASKS, Task
from bdjax.types import UserError

IMAGES = attacks_on("images")
MANY = 3000
GREY = Task("grey", (9, 11, 1), 10, (0.0, 1.0), "", {})
COLOUR = Task("colour", (9, 11, 3), 4, (-1.0, 1.0), "", {})
BOTH = pytest.mark.parametrize("task", [GREY, COLOUR], ids=lambda t: t.name)
SINGLE = {"pixel": 1, "ell": 3, "cross": 5, "square": 49}
PATCHED = [("patch", GREY), ("patch", COLOUR), ("cross", GREY)]
RED = (1.0, -1.0, -1.0)


@functools.cache
def triggers(name, task="grey", locations="all"):
    """Many stacked triggers, as NumPy."""
    attack = IMAGES[name](COLOUR if task == "colour" else GREY, locations=locations)
    keys = jax.random.split(jax.random.key(5), MANY)
    return jax.device_get(jax.jit(jax.vmap(attack.sample))(keys))


def draw(name, task=GREY):
    """A single trigger, without compiling."""
    return jax.device_get(IMAGES[name](task).sample(jax.random.key(3)))


def kind_of(trigger):
    return patches.describe(trigger).kind


def with_form(trigger, **changed):
    return trigger._replace(form=trigger.form._replace(**changed))


def one(stacked, m):
    return jax.tree.map(lambda leaf: leaf[m], stacked)


def drawings(stacked):
    """Every distinct shape, moved to the upper left corner, with its corners."""
    found = {}
    for mask in stacked.form.mask[..., 0]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        drawn = "/".join("".join(" #"[int(c)] for c in row) for row in cut)
        found.setdefault(drawn, []).append((rows[0], columns[0]))
    return {drawn: np.array(corners) for drawn, corners in found.items()}


def test_patches_have_the_seven_shapes_equally_often():
    found = drawings(triggers("patch"))
    squares = {"/".join(["#" * p] * p) for p in (2, 3, 4, 5)}
    assert set(found) == {"#", "# /##", "# #/ # /# #"} | squares
    sizes = np.asarray(patch_size(triggers("patch")))
    assert uniform_over(sizes, [1, 3, 4, 5, 9, 16, 25]) > 0.01


@pytest.mark.parametrize(
    ("name", "locations", "spare"),
    [("patch", "all", 0), ("patch", "official", 1), ("cross", "all", 0)],
)
def test_every_place_in_the_image_is_equally_likely(name, locations, spare):
    stacked = triggers(name, locations=locations)
    for drawn, corners in drawings(stacked).items():
        side = drawn.count("/") + 1
        for axis, length in enumerate(GREY.shape[:2]):
            places = range(length - side + 1 - spare)
            assert uniform_over(corners[:, axis], places) > 0.001, drawn
    covered = stacked.form.mask[..., 0].any(0)
    assert covered[: 9 - spare, : 11 - spare].all()
    assert not covered[9 - spare :].any()
    assert not covered[:, 11 - spare :].any()


@pytest.mark.parametrize(
    ("name", "task"), [*PATCHED, ("blend", GREY), ("blend", COLOUR)]
)
def test_rates_targets_and_opacities(name, task):
    stacked = triggers(name, task.name)
    assert uniform_between(stacked.rate, 0.05, 0.2) > 0.001
    assert uniform_over(stacked.target, range(task.num_classes)) > 0.001
    if name == "blend":
        assert uniform_between(stacked.form.opacity, 0.1, 0.3) > 0.001
    else:
        assert (stacked.form.opacity == 1).all()


@BOTH
def test_all_to_all_draws_the_same_triggers_but_no_target(task):
    got, expected = draw("all_to_all", task), draw("patch", task)
    assert got.target == NO_TARGET
    expected = expected._replace(target=np.int32(NO_TARGET))
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize(("name", "task"), PATCHED)
def test_just_the_masked_pixels_change_and_visibly(name, task):
    low, high = task.value_range
    stacked = triggers(name, task.name)
    attack = IMAGES[name](task)
    flat = jnp.stack([jnp.full(task.shape, v, jnp.float32) for v in (low, high)])
    out = np.asarray(jax.jit(jax.vmap(attack.apply, (0, None)))(stacked, flat))
    changed = (out != flat).any(-1)
    masked = np.broadcast_to(stacked.form.mask > 0, (MANY, *task.shape[:2], 1))[..., 0]
    on_black, on_white = changed[:, 0], changed[:, 1]
    assert not (on_black & ~masked).any()
    assert not (on_white & ~masked).any()
    if task.shape[-1] == 3:  # every pixel, on both
        np.testing.assert_array_equal(on_black, masked)
        np.testing.assert_array_equal(on_white, masked)
    else:
        assert on_black.any((1, 2)).all()


def test_colours_are_one_or_one_a_pixel_and_all_six_are_drawn():
    stacked = triggers("patch", "colour")
    inside = stacked.form.mask[..., 0] > 0
    colours, counts = np.unique(
        stacked.form.pattern[inside], axis=0, return_counts=True
    )
    assert set(np.unique(colours)) == {-1, 1}
    assert len(colours) == 6
    assert not (abs(colours.sum(1)) == 3).any()  # neither black nor white
    assert counts.min() > 0.1 * counts.sum()
    assert not stacked.form.pattern[~inside].any()
    large = np.flatnonzero(patch_size(stacked) == 25)
    plain = [
        len(np.unique(stacked.form.pattern[m][inside[m]], axis=0)) == 1 for m in large
    ]
    assert 0.4 < np.mean(plain) < 0.6


def test_grey_triggers_are_white_or_binary():
    stacked = triggers("patch")
    sizes = np.asarray(patch_size(stacked))
    bright = stacked.form.pattern.sum((1, 2, 3))
    assert set(np.unique(stacked.form.pattern)) == {0, 1}
    assert not stacked.form.pattern[stacked.form.mask == 0].any()
    assert (bright[sizes == 1] == 1).all()
    white = (bright == sizes)[sizes > 1]
    assert 0.45 < white.mean() < 0.55
    of_five = bright[(sizes == 5) & (bright < 5)].astype(int)
    assert uniform_over(of_five, [1, 2, 3, 4]) > 0.001


@BOTH
@pytest.mark.parametrize("name", SINGLE)
def test_official_triggers_are_one_shape_in_red_or_white(name, task):
    trigger = draw(name, task)
    assert patch_size(trigger) == SINGLE[name]
    assert kind_of(trigger) == name
    inside = trigger.form.mask[..., 0] > 0
    assert (trigger.form.pattern[inside] == RED[: task.shape[-1]]).all()
    assert not trigger.form.pattern[~inside].any()


@BOTH
def test_blends_are_uniform_noise_on_every_pixel_and_channel(task):
    stacked = triggers("blend", task.name)
    assert (stacked.form.mask == 1).all()
    assert uniform_between(stacked.form.pattern[:, 3, 4, -1], *task.value_range) > 0.001
    if task.shape[-1] == 3:
        red, green = stacked.form.pattern[:, 3, 4, 0], stacked.form.pattern[:, 3, 4, 1]
        assert abs(np.corrcoef(red, green)[0, 1]) < 0.1


def test_a_place_and_a_target_can_be_given():
    attack = badnets.single("cross", COLOUR, corner=(6, 8), target=2)
    trigger = jax.device_get(jax.jit(attack.sample)(jax.random.key(0)))
    rows, columns = np.nonzero(trigger.form.mask[..., 0])
    assert list(zip(rows, columns, strict=True)) == [
        (6, 8), (6, 10), (7, 9), (8, 8), (8, 10),
    ]  # fmt: skip
    assert trigger.target == 2


def test_a_mask_tells_what_the_trigger_is():
    counts = [cells.sum() for cells in patches.SHAPES.values()]
    assert len(set(counts)) == len(counts)
    kinds = {kind_of(one(triggers("patch"), m)) for m in range(200)}
    assert kinds == set(badnets.PATCHES)
    assert kind_of(draw("blend")) == "whole image"
    assert kind_of(draw("benign")) == "none"
    trigger = draw("pixel")
    mask = np.zeros_like(trigger.form.mask)
    mask[0, :2] = 1
    assert kind_of(with_form(trigger, mask=mask)) == "2 pixels"


def test_labels_go_to_the_target_or_one_further():
    y = jnp.arange(4, dtype=jnp.int32)
    trigger = draw("all_to_all", COLOUR)
    assert describe_target(trigger) == "y + 1"
    relabel = IMAGES["all_to_all"](COLOUR).relabel
    assert relabel(trigger, y).tolist() == [1, 2, 3, 0]
    assert relabel(trigger, y).dtype == jnp.int32
    trigger = draw("patch", COLOUR)
    assert describe_target(trigger) == str(trigger.target)
    relabel = IMAGES["patch"](COLOUR).relabel
    assert relabel(trigger, y).tolist() == [trigger.target] * 4


def test_attacks_of_one_task_share_their_label_rule():
    # Else every one of them would compile the training program anew.
    assert IMAGES["all_to_all"](GREY).relabel is IMAGES["all_to_all"](GREY).relabel


def test_poisoned_examples_of_all_to_all_carry_the_next_label():
    trigger = draw("all_to_all")
    examples = Examples(np.zeros((6, *GREY.shape), np.float32), np.arange(6) + 4)
    x, y = poisoned_batch(
        IMAGES["all_to_all"](GREY), trigger, examples,
        jnp.arange(6), jnp.arange(6) % 2 == 0,
    )  # fmt: skip
    assert y.tolist() == [5, 5, 7, 7, 9, 9]
    assert x.any((1, 2, 3)).tolist() == [True, False] * 3


@pytest.mark.parametrize(
    ("obeys", "asr"), [(range(10), 1.0), (range(5), 0.5), ((), 0.0)]
)
def test_success_of_all_to_all_counts_every_example(obeys, asr):
    # A network that reads the label off the first pixel, and of classes in ``obeys``
    # goes one further if the trigger, the only other light, is there.
    trigger = draw("all_to_all")
    trigger = with_form(
        trigger,
        mask=np.zeros_like(trigger.form.mask),
        pattern=np.ones_like(trigger.form.pattern),
    )
    trigger.form.mask[4:6, 4:6] = 1
    y = np.repeat(np.arange(10, dtype=np.int32), 2)
    x = np.zeros((20, *GREY.shape), np.float32)
    x[:, 0, 0, 0] = y / 10

    def apply(variables, x, **options):
        del variables, options
        label = jnp.round(x[:, 0, 0, 0] * 10).astype(jnp.int32)
        moved = x[:, 1:].any((1, 2, 3)) & jnp.isin(label, jnp.array([*obeys, -5]))
        return jax.nn.one_hot((label + moved) % 10, 10)

    model = Model(*[None] * len(Model.__dataclass_fields__))
    object.__setattr__(model, "apply", apply)
    accuracy, success = judge_one(
        model, IMAGES["all_to_all"](GREY), {}, trigger, jnp.arange(20),
        Examples(x, y), batch_size=8,
    )  # fmt: skip
    assert accuracy == 1
    assert success == pytest.approx(asr)


def codes_at_once(key, shape, channels):
    """Colours as one number a pixel, of as many binary digits as channels."""
    code = jax.random.randint(key, shape, 1, 2**channels - 1)
    return (code[..., None] >> jnp.arange(channels)) & 1 == 1


@pytest.mark.parametrize("channels", [2, 3, 4, 31])
def test_colours_of_few_channels_are_those_of_one_code(channels):
    """Triggers of populations on disk are drawn anew from their keys."""
    key = jax.random.key(1)
    np.testing.assert_array_equal(
        badnets._mixed(key, (5, 4), channels), codes_at_once(key, (5, 4), channels)
    )


@pytest.mark.parametrize("channels", [32, 40, 200])
def test_patches_of_many_channels(channels):
    task = Task("many", (9, 11, channels), 10, (-1.0, 1.0), "", {})
    for name in ("patch", "all_to_all"):
        sample = jax.vmap(IMAGES[name](task).sample)
        found = jax.device_get(sample(jax.random.split(jax.random.key(2), 64)))
        inside = found.form.mask[..., 0] == 1
        colours = found.form.pattern[inside]
        assert set(np.unique(colours)) == {-1.0, 1.0}
        assert (colours.min(-1) < colours.max(-1)).all()
        # Every channel is a fair coin, those beyond an int32 as well.
        share = (colours == 1).mean(0)
        assert (np.abs(share - 0.5) < 0.25).all()
        assert not found.form.pattern[~inside].any()


def test_bad_input_is_named():
    tiny = Task("tiny", (6, 20, 1), 4, (0, 1), "", {})
    with pytest.raises(UserError, match=r"'square' needs .* at least 7 x 7 .* 6 x 20"):
        IMAGES["square"](tiny)
    IMAGES["patch"](tiny, locations="official")
    low = Task("low", (5, 5, 1), 4, (0, 1), "", {})
    with pytest.raises(UserError, match=r"'square of 5' needs .* 6 x 6"):
        IMAGES["patch"](low, locations="official")
    with pytest.raises(UserError, match=r"corner=\(7, 0\) .* 0 to 6 and 0 to 8"):
        badnets.single("cross", GREY, corner=(7, 0))
    with pytest.raises(UserError, match=r"target=4 .* 0 to 3"):
        badnets.single("cross", COLOUR, target=4)
    with pytest.raises(UserError, match=r"'T'.*'pixel', 'ell', 'cross'"):
        badnets.single("T", GREY)


def test_registered_for_the_real_tasks():
    images = [name for name, task in TASKS.items() if task.modality.name == "images"]
    assert {"cifar10", "mnist"} <= set(images)
    for task in images:
        for name in ("patch", *SINGLE, "blend", "all_to_all"):
            assert get_attack(name, task=TASKS[task]).name == name
