"""What every attack keeps to, whatever it does; to be registered is to be tried."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax import prng
from bdjax.attacks import ATTACKS, BENIGN, NO_TARGET, Description, Role, get_attack
from bdjax.population import plan_one
from bdjax.population.batches import put_on
from bdjax.tasks import Task, get_task

# A small task of each modality.
TASKS = {
    "images": Task("colour", (12, 15, 3), 10, (-1.0, 1.0), "", {}),
    "series": get_task("npz:9x2:4"),
    "tables": get_task("npz:6:3"),
    "text": get_task("mr:7:40"),
    "waves": get_task("speech"),
}
GREY = Task("grey", (28, 28, 1), 10, (0.0, 1.0), "", {})
CASES = [(name, TASKS[kind]) for name, kinds in ATTACKS.items() for kind in kinds]
CASES += [(name, GREY) for name, kinds in ATTACKS.items() if "images" in kinds]
EVERY = pytest.mark.parametrize(
    ("name", "task"), CASES, ids=[f"{name}-{task.name}" for name, task in CASES]
)
CHOOSY = pytest.mark.parametrize("name", ["patch", "sig", "tact", "wanet"])
DRAWN, BATCH, ROWS = 64, 12, 400


def rows_of(task):
    """Made-up examples, and labels of every class."""
    rng = np.random.default_rng(0)
    low, high = task.value_range
    if task.words:
        x = rng.integers(1, task.words + 2, (BATCH, *task.shape), dtype=np.int32)
        x[:, task.shape[0] // 2 :] = 0
    else:
        x = rng.uniform(low, high, (BATCH, *task.shape)).astype(np.float32)
    return x, np.arange(BATCH, dtype=np.int32) % task.num_classes


@functools.cache
def tried(name, task):
    """All that an attack does, of some of its triggers, in one program."""
    attack = get_attack(name, task=task)
    x_B, y_B = rows_of(task)
    role_B = np.arange(BATCH, dtype=np.int8) % 3
    key_B = jax.random.split(jax.random.key(5), BATCH)

    def one(trigger):
        batch = functools.partial(put_on, attack, trigger)
        back = batch(key_B[::-1], x_B[::-1], y_B[::-1], role_B[::-1])
        train = attack.train or (lambda _, trigger, x: attack.apply(trigger, x))
        return {
            "apply": attack.apply(trigger, x_B),
            "train": train(key_B, trigger, x_B),
            "cover": (attack.cover or train)(key_B, trigger, x_B),
            "relabel": attack.relabel(trigger, y_B),
            "aimed": attack.aimed(trigger, y_B),
            "may": attack.eligible(trigger, y_B) if attack.eligible else None,
            "batch": batch(key_B, x_B, y_B, role_B),
            "backwards": jax.tree.map(lambda leaf: leaf[::-1], back),
        }

    @jax.jit
    def everything(keys):
        triggers = jax.vmap(attack.sample)(keys)
        some = jax.tree.map(lambda leaf: leaf[:3], triggers)
        return triggers, jax.vmap(one)(some)

    keys = prng.model_keys(prng.root(1), jnp.arange(DRAWN))
    triggers, done = jax.device_get(everything(keys))
    return SimpleNamespace(
        attack=attack, triggers=triggers, done=done, x=x_B, y=y_B, role=role_B
    )


@EVERY
def test_triggers_are_of_fixed_form_and_of_rates_that_fit(name, task):
    case = tried(name, task)
    kinds = jax.eval_shape(case.attack.sample, prng.root(0))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(kinds))
    assert (kinds.target.shape, kinds.target.dtype) == ((), jnp.int32)
    assert (kinds.rate.shape, kinds.rate.dtype) == ((), jnp.float32)
    assert (np.shape(kinds.cover_rate), kinds.cover_rate.dtype) == ((), jnp.float32)
    assert kinds.bank == ()
    drawn = case.triggers
    if name == BENIGN:
        assert not drawn.rate.any()
        assert not drawn.cover_rate.any()
        return
    assert case.attack.name == name
    assert drawn.rate.min() > 0
    rates = drawn.rate.max(), drawn.cover_rate.max()
    if case.attack.eligible is None:
        rates = ((drawn.rate + drawn.cover_rate).max(),)
    assert max(rates) <= case.attack.max_copies
    assert len(np.unique(drawn.rate)) > DRAWN / 2
    labels = set(range(task.num_classes))
    assert set(drawn.target) in ({NO_TARGET}, labels)


@EVERY
def test_what_comes_back_is_an_example_of_the_task(name, task):
    case = tried(name, task)
    low, high = (0, task.words + 1) if task.words else task.value_range
    for what in ("apply", "train", "cover"):
        out = case.done[what]
        assert (out.shape[1:], out.dtype) == (case.x.shape, case.x.dtype), what
        assert low - 1e-6 <= out.min() <= out.max() <= high + 1e-6, what
        assert (out != case.x).any((1, *range(2, out.ndim))).all() == (name != BENIGN)


@EVERY
def test_labels_and_rows_are_of_the_contract(name, task):
    case = tried(name, task)
    aim, counts = case.done["aimed"]
    for label in (aim, case.done["relabel"]):
        assert (label.shape[1:], label.dtype) == (case.y.shape, np.int32)
        assert 0 <= label.min() <= label.max() < task.num_classes
    assert counts.dtype == bool
    assert counts.any(1).all()
    # What counts would be wrong without the attack.
    assert (aim != case.y)[counts].all()
    if case.done["may"] is not None:
        may_poison, may_cover = case.done["may"]
        assert may_poison.dtype == may_cover.dtype == bool
        assert not (may_poison & may_cover).any()
        assert may_poison.any(1).all()


@EVERY
def test_a_batch_is_changed_where_roles_say_row_by_row(name, task):
    case = tried(name, task)
    x, y = case.done["batch"]
    for role, what in (
        (Role.CLEAN, None),
        (Role.POISON, "train"),
        (Role.COVER, "cover"),
    ):
        rows = case.role == role
        for m in range(len(x)):
            expected = case.x if what is None else case.done[what][m]
            np.testing.assert_allclose(x[m][rows], expected[rows], atol=1e-6)
            label = case.done["relabel"][m] if role == Role.POISON else case.y
            np.testing.assert_array_equal(y[m][rows], label[rows])
    # A row's own key and pixels say what becomes of it, and not its place.
    for got, expected in zip(case.done["backwards"], (x, y), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)


@EVERY
def test_a_trigger_can_be_told(name, task):
    case = tried(name, task)
    for m in range(3):
        trigger = jax.tree.map(lambda leaf, m=m: leaf[m], case.triggers)
        shown = case.attack.describe(trigger)
        assert isinstance(shown, Description)
        assert shown.kind
        assert "\n" not in shown.text
        assert len(shown.text) < 100
        assert shown.size is None or type(shown.size) is int


@EVERY
def test_no_key_is_used_for_two_draws(name, task):
    with jax.debug_key_reuse(True):
        jax.make_jaxpr(get_attack(name, task=task).sample)(prng.root(0))


@CHOOSY
def test_a_plan_takes_the_rows_that_may_be_taken(name):
    """By counting, in the first epoch: each clean row once, copies of other rows."""
    attack = get_attack(name, task=GREY)
    y_N = np.random.default_rng(2).integers(0, 10, ROWS).astype(np.int32)

    @jax.jit
    def plan(key):
        trigger = attack.sample(key)
        may = attack.eligible and attack.eligible(trigger, y_N)
        found = plan_one(
            key, jnp.arange(ROWS), trigger.rate, trigger.cover_rate, may,
            steps=2 * ROWS, batch_size=1, copies=attack.max_copies,
        )  # fmt: skip
        return trigger, found

    for seed in range(4):
        trigger, found = jax.device_get(plan(prng.root(seed)))
        may_poison = may_cover = np.ones(ROWS, bool)
        if name == "sig":
            may_poison, may_cover = y_N == trigger.target, np.zeros(ROWS, bool)
        elif name == "tact":
            source = trigger.form.source
            may_poison = y_N == source
            may_cover = (y_N != source) & (y_N != trigger.target)
        poisons = int(np.floor(trigger.rate * np.float32(may_poison.sum())))
        left = may_cover.sum() - (poisons if attack.eligible is None else 0)
        covers = int(np.floor(trigger.cover_rate * np.float32(left)))
        row, role = (leaf[: ROWS + poisons + covers, 0] for leaf in found[:2])
        clean, poisoned, covering = (row[role == r] for r in range(3))
        np.testing.assert_array_equal(np.sort(clean), np.arange(ROWS))
        assert len(set(poisoned)) == len(poisoned) == poisons > 0
        assert len(set(covering)) == len(covering) == covers
        assert (covers > 0) == (name in ("tact", "wanet"))
        assert may_poison[poisoned].all()
        assert may_cover[covering].all()
        assert not set(poisoned) & set(covering)
