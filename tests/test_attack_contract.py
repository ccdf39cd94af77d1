"""What every registered attack keeps to, on every modality that has it."""

import ast
import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax import attacks
from bdjax.attacks import ATTACKS, NO_TARGET, Description, Role, get_attack
from bdjax.population.batches import put_on
from bdjax.population.plan import plan_one
from bdjax.tasks import Task, get_task

ROWS, MODELS, K = 60, 6, 5
TASKS = {
    "images": Task("contract", (12, 11, 3), K, (-1.0, 1.0), "", {}),
    "series": get_task("npz:20x2:5"),
    "tables": get_task("npz:9:5"),
    "text": get_task("mr:8:30"),
    "waves": get_task("speech"),
}
CASES = [(name, modality) for name, on in ATTACKS.items() for modality in on]
ALL = pytest.mark.parametrize(("name", "modality"), CASES)


class Trial(NamedTuple):
    """What an attack does to some rows with some triggers, all leaves ``[MODELS]``."""

    triggers: attacks.Trigger
    applied: jax.Array
    trained: jax.Array
    covered: jax.Array
    aim: jax.Array
    counts: jax.Array
    relabelled: jax.Array
    may: tuple[jax.Array, jax.Array]
    plan: tuple
    x: jax.Array
    y: jax.Array


def examples(task):
    rng, shape = np.random.default_rng(0), (ROWS, *task.shape)
    y = rng.integers(0, task.num_classes, ROWS).astype(np.int32)
    if task.modality.is_discrete:
        x = rng.integers(2, task.words + 2, shape, dtype=np.int32)
        return np.where(np.arange(task.shape[0]) < task.shape[0] - 3, x, 0), y
    return rng.uniform(*task.value_range, shape).astype(np.float32), y


@functools.cache
def tried(name, modality):
    """One compilation an attack: it samples, and does all that it can, under vmap."""
    task = TASKS[modality]
    attack, (x, y) = get_attack(name, task=task), map(jnp.asarray, examples(task))

    def one(key):
        trigger = attack.sample(key)
        may = jnp.ones(ROWS, bool), jnp.ones(ROWS, bool)
        if attack.eligible:
            may = attack.eligible(trigger, y)
        plan = plan_one(
            key, jnp.arange(ROWS), trigger.rate, trigger.cover_rate,
            may if attack.eligible else None,
            steps=9, batch_size=ROWS // 2, copies=attack.max_copies,
        )  # fmt: skip
        keys = jax.random.split(key, ROWS)
        changed = [
            put_on(attack, trigger, keys, x, y, jnp.full(ROWS, role))
            for role in (Role.POISON, Role.COVER)
        ]
        seen = put_on(
            attack, trigger, keys[: ROWS // 2], x[plan.row[0]], y[plan.row[0]],
            plan.role[0],
        )  # fmt: skip
        (trained, relabelled), (covered, kept) = changed
        return Trial(
            trigger, attack.apply(trigger, x), trained, covered,
            *attack.aimed(trigger, y), relabelled, may, plan, *seen,
        ), kept  # fmt: skip

    keys = jax.random.split(jax.random.key(1), MODELS)
    trial, kept = jax.device_get(jax.jit(jax.vmap(one))(keys))
    np.testing.assert_array_equal(kept, np.broadcast_to(y, (MODELS, ROWS)))
    return attack, keys, trial


@ALL
def test_triggers_are_of_one_form_and_stack(name, modality):
    attack, keys, trial = tried(name, modality)
    one = jax.eval_shape(attack.sample, keys[0])
    for leaf, stacked in zip(*map(jax.tree.leaves, (one, trial.triggers)), strict=True):
        assert (MODELS, *leaf.shape) == stacked.shape
        assert leaf.dtype == stacked.dtype
        assert not leaf.weak_type
    scalars = one.target, one.rate, one.cover_rate
    assert [s.shape for s in scalars] == [()] * 3
    assert [s.dtype for s in scalars] == ["int32", "float32", "float32"]
    assert attack.name == name


@ALL
def test_rates_leave_room_in_the_plan(name, modality):
    attack, _, trial = tried(name, modality)
    rate, cover = trial.triggers.rate, trial.triggers.cover_rate
    assert (rate == 0).all() == attack.is_benign == (name == "benign")
    if not attack.is_benign and attack.edit is None:
        assert (rate > 0).all()
    assert (rate <= 1).all()
    assert (cover >= 0).all()
    assert (cover <= 1).all()
    if attack.max_copies < 1:
        assert (rate + cover <= attack.max_copies).all()


@ALL
def test_examples_stay_examples(name, modality):
    task = TASKS[modality]
    attack, _, trial = tried(name, modality)
    x, _ = examples(task)
    for changed in (trial.applied, trial.trained, trial.covered):
        assert changed.shape == (MODELS, *x.shape)
        assert changed.dtype == x.dtype
        if task.modality.is_discrete:
            assert changed.min() >= 0
            assert changed.max() < task.words + 2
        else:
            low, high = task.value_range
            assert low - 1e-6 <= changed.min()
            assert changed.max() <= high + 1e-6
        for m in range(MODELS):
            assert (changed[m] == x).all() == attack.is_benign


@ALL
def test_labels_are_the_task_s_and_what_counts_can_succeed(name, modality):
    task = TASKS[modality]
    _, _, trial = tried(name, modality)
    _, y = examples(task)
    for labels in (trial.aim, trial.relabelled):
        assert labels.dtype == np.int32
        assert labels.min() >= 0
        assert labels.max() < task.num_classes
    target = trial.triggers.target
    assert ((target == NO_TARGET) | ((target >= 0) & (target < task.num_classes))).all()
    assert trial.counts.dtype == bool
    # A row that is where the attacker wants it already tells nothing.
    assert not (trial.counts & (trial.aim == y)).any()
    assert trial.counts.any(1).all()
    named = target != NO_TARGET
    assert (trial.aim[named] == target[named][:, None]).all()


@ALL
def test_plans_obey_who_may_be_what(name, modality):
    task = TASKS[modality]
    attack, _, trial = tried(name, modality)
    x, y = examples(task)
    rate, cover_rate = trial.triggers.rate, trial.triggers.cover_rate
    for m in range(MODELS):
        row, role = (np.ravel(leaf[m]) for leaf in trial.plan[:2])
        may_poison, may_cover = (may[m] for may in trial.may)
        poison, cover = (np.unique(row[role == r]) for r in (Role.POISON, Role.COVER))
        assert may_poison[poison].all()
        assert may_cover[cover].all()
        assert not np.intersect1d(poison, cover).size
        assert len(poison) == int(rate[m] * np.float32(may_poison.sum()))
        free = may_cover.copy()
        free[poison] = False
        assert len(cover) == int(cover_rate[m] * np.float32(free.sum()))
        # What a network is shown of the first batch.
        row, role = row[: ROWS // 2], role[: ROWS // 2]
        labels = np.where(role == Role.POISON, trial.relabelled[m][row], y[row])
        np.testing.assert_array_equal(trial.y[m], labels)
        clean = role == Role.CLEAN
        np.testing.assert_array_equal(trial.x[m][clean], x[row][clean])
        if not (attack.train or attack.cover):
            np.testing.assert_allclose(
                trial.x[m][~clean], trial.applied[m][row][~clean], atol=1e-6
            )


@ALL
def test_triggers_can_be_described(name, modality):
    attack, _, trial = tried(name, modality)
    for m in range(MODELS):
        trigger = jax.tree.map(lambda leaf, m=m: leaf[m], trial.triggers)
        kind, size, text = described = attack.describe(trigger)
        assert isinstance(described, Description)
        assert kind
        assert text
        assert "\n" not in kind + text
        assert size is None or (type(size) is int and size >= 0)
        assert (size == 0) == attack.is_benign


@pytest.mark.parametrize(
    "path", sorted(Path(attacks.__file__).parent.glob("*.py")), ids=lambda p: p.stem
)
def test_an_attack_names_no_other_room_s_internals(path):
    allowed = {"bdjax.tasks", "bdjax.types", "bdjax.prng", "bdjax.checks"}
    if path.stem == "contract":
        allowed |= {"bdjax.models"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "bdjax":
                names = [f"bdjax.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("bdjax"):
                assert name in allowed or name.startswith("bdjax.attacks"), name
