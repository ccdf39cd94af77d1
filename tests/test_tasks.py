"""What every task must keep to, whatever its data: registered ones and parametric ones.

A new task is covered by being in ``TASKS``; a new parametric kind by a name here. Data
are made up from what the task says of itself.
"""

import dataclasses
import functools
import math
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import poisoned_batch

from bdjax import mntd, plots, prng, tree
from bdjax.attacks import NO_TARGET, all_to_one, attacks_on, get_attack
from bdjax.data import Dataset, Vocabulary
from bdjax.mntd import FitConfig, QuerySpec, steps
from bdjax.population import Examples, Execution, Recipe, plan_one, train_models
from bdjax.population.examples import embed, take
from bdjax.tasks import PARAMETRIC, TASKS, get_task
from bdjax.types import UserError

KINDS = {
    "mr": ["mr:7:40"],
    "npz": ["npz:12x10x3:3", "npz:6:2", "npz:9x2:4"],
}
"""Parametric kind -> tasks of it to try."""
NAMES = sorted(TASKS) + [name for names in KINDS.values() for name in names]

# Attacks that have a test of their own, test_attacks_images.
OTHERS = {"colour_filter", "polygon", "sig", "tact", "wanet"}
DRAWN, TRIED = 200, 4  # triggers of an attack
COUNT, RECIPE = 24, Recipe(steps=2, batch_size=4)
SUBSET, TEST = np.arange(0, 16), np.arange(16, 24)


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation():
    """These programs take seconds to optimise and milliseconds to run."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def whole_story():
    """Tasks to train networks of: the smallest of each modality, the others if slow."""
    first, marked = {}, []
    for name in sorted(NAMES, key=lambda name: math.prod(get_task(name).input_shape)):
        is_first = first.setdefault(get_task(name).modality, name) == name
        marks = () if is_first else (pytest.mark.slow,)
        marked.append(pytest.param(name, marks=marks))
    return marked


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    return case_of(request.param)


@pytest.fixture(scope="module", params=whole_story())
def trained(request):
    """A case, and shadows by attack; ``"nothing"`` are jumbo's that poison nothing."""
    case = case_of(request.param)
    attack = case.attacks["jumbo"]
    idle = dataclasses.replace(
        attack, sample=lambda key: attack.sample(key)._replace(rate=jnp.float32(0))
    )
    wanted = {"benign": case.attacks["benign"], "jumbo": attack, "nothing": idle}
    keys = prng.model_keys(prng.root(3), jnp.arange(2))
    models = {
        name: train_models(
            case.model, each, RECIPE, keys, jnp.asarray(SUBSET), jnp.asarray(TEST),
            jax.tree.map(jnp.asarray, examples_of(case)),
            execution=Execution(width=1, devices=1),
        )
        for name, each in wanted.items()
    }  # fmt: skip
    return SimpleNamespace(case=case, models=models)


@functools.cache
def case_of(name):
    """A task, its network, made-up examples, its attacks and some of their triggers."""
    task = get_task(name)
    names = attacks_on(task.modality.name).keys() - OTHERS
    attacks = {name: get_attack(name, task=task) for name in sorted(names)}
    keys = prng.model_keys(prng.root(1), jnp.arange(DRAWN))

    @jax.jit
    def draw(keys):
        return {name: jax.vmap(a.sample)(keys) for name, a in attacks.items()}

    return SimpleNamespace(
        task=task,
        model=task.network(),
        dataset=make_up(task),
        attacks=attacks,
        triggers=jax.device_get(draw(keys)),
    )


def make_up(task):
    """Noise that a task's data might be, and a bright spot that tells the class."""
    rng = np.random.default_rng(0)
    y = np.arange(COUNT, dtype=np.int32) % task.num_classes
    low, high = task.value_range
    vocabulary = None
    if task.words:
        x = make_up_sentences(rng, task)
        words = tuple(f"w{i}" for i in range(task.words + 2))
        shape = len(words), task.input_shape[-1]
        vectors = rng.uniform(low, high, shape).astype(np.float32)
        vectors[0] = 0
        vocabulary = Vocabulary(words, vectors)
    elif len(task.shape) == 3:
        x = rng.integers(0, 256, (COUNT, *task.shape), dtype=np.uint8)
    else:
        x = rng.uniform(low, high, (COUNT, *task.shape)).astype(np.float32)
        for start, stop in task.fields:
            if stop - start > 1:
                level = rng.integers(stop - start, size=COUNT)
                x[:, start:stop] = np.where(
                    np.arange(stop - start) == level[:, None], high, low
                )
    return Dataset(task.name, x, y, task.num_classes, len(SUBSET), vocabulary)


def make_up_sentences(rng, task):
    """Of every length from one word to as many as leave room for two more."""
    most = task.shape[0] - 2
    length = np.linspace(1, most, COUNT).astype(int)
    x = rng.integers(1, task.words + 2, (COUNT, *task.shape), dtype=np.int32)
    return np.where(np.arange(task.shape[0]) < length[:, None], x, 0)


jitted = functools.cache(jax.jit)


def examples_of(case):
    words = case.dataset.vocabulary
    return Examples(case.dataset.x, case.dataset.y, words.vectors if words else None)


def one(triggers, i):
    return jax.tree.map(lambda leaf: leaf[i], triggers)


def changed_by_hand(task, trigger, x):
    """What the trigger's own words say becomes of ``x``."""
    mask, pattern, opacity = map(np.asarray, trigger.form)
    if not task.words:
        weight = np.float32(opacity) * mask
        return (1 - weight) * x + weight * pattern
    new, start = [], int(np.argmax(mask > 0))
    words = pattern[mask > 0].tolist()
    for sentence in x:
        length = int(np.max(np.flatnonzero(sentence), initial=-1)) + 1
        at = min(start, length)
        longer = [*sentence[:at], *words, *sentence[at:]]
        new.append(longer[: len(sentence)])
    return np.array(new)


@functools.cache
def stacked(apply):
    return jax.vmap(apply, (0, None))


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_every_parametric_kind_is_tried():
    assert set(KINDS) == set(PARAMETRIC), "name a task of each kind in KINDS"
    for kind, names in KINDS.items():
        assert names
        assert all(name.startswith(f"{kind}:") for name in names)
        assert not set(names) & set(TASKS)


# The task itself.


def test_a_task_is_whole(case):
    task = case.task
    assert get_task(task.name) is task
    assert task.num_classes >= 2
    assert task.num_logits == (1 if task.one_logit else task.num_classes)
    assert {"benign", "M", "jumbo"} <= set(case.attacks)
    assert task.modality.name in plots.EXAMPLES
    assert set(task.query_init) == {"official", "clipped"}
    low, high = task.value_range
    assert low < high
    if task.fields:
        assert task.fields[0][0] == 0
        assert task.fields[-1][1] == math.prod(task.shape)
        ends = [end for field in task.fields for end in field]
        assert ends[1:-1:2] == ends[2::2]
        assert all(start < stop for start, stop in task.fields)
    assert bool(task.words) == (task.input_shape != task.shape)


def test_sources_refuse_what_they_do_not_take(case):
    assert case.task.sources
    with pytest.raises(UserError, match="no data source 'nowhere'"):
        case.task.load("nowhere")
    for source in case.task.sources:
        with pytest.raises(UserError, match=r"takes no data\.nonsense"):
            case.task.load(source, nonsense=1)


def test_the_network_answers(case):
    x = embed(examples_of(case), take(examples_of(case), np.arange(3))[0])
    assert x.shape == (3, *case.task.input_shape)
    logits = jitted(case.model.apply)(jitted(case.model.init)(prng.root(0)), x)
    assert logits.shape == (3, case.task.num_logits)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()
    assert np.ptp(logits, axis=0).max() > 0, "the same answer to all"
    assert case.task.network() is case.model


# Its attacks.


def test_triggers_change_what_they_say_and_nothing_else(case):
    task = case.task
    x = np.asarray(take(examples_of(case), np.arange(COUNT))[0])
    low, high = (0, task.words + 1) if task.words else task.value_range
    for name, attack in case.attacks.items():
        triggers = tree.index(case.triggers[name], slice(TRIED))
        apply = jitted(attack.apply)
        singles = [np.asarray(apply(one(triggers, i), x)) for i in range(TRIED)]
        for i, found in enumerate(singles):
            trigger = one(triggers, i)
            assert found.dtype == x.dtype
            expected = changed_by_hand(task, trigger, x)
            np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)
            assert found.min() >= low, name
            assert found.max() <= high, name
            if not task.words:
                mask = np.broadcast_to(trigger.form.mask, task.shape) > 0
                np.testing.assert_array_equal(found[:, ~mask], x[:, ~mask])
            assert (found != x).any() == (name != "benign"), name
        together = jitted(stacked(attack.apply))(triggers, x)
        np.testing.assert_allclose(together, singles, atol=1e-6)


def test_only_poisoned_examples_take_trigger_and_label(case):
    poisoned = np.arange(8) % 2 == 0
    data = examples_of(case)
    x, y = take(data, np.arange(8))
    clean = embed(data, x)
    rules = {(a.apply, a.relabel): name for name, a in case.attacks.items()}
    for name in rules.values():
        attack, trigger = case.attacks[name], one(case.triggers[name], 0)
        batch, label = jax.jit(functools.partial(poisoned_batch, attack))(
            trigger, data, np.arange(8), poisoned
        )
        np.testing.assert_array_equal(batch[~poisoned], clean[~poisoned])
        np.testing.assert_array_equal(label[~poisoned], y[~poisoned])
        changed = embed(data, jitted(attack.apply)(trigger, x))
        np.testing.assert_allclose(batch[poisoned], changed[poisoned], atol=1e-6)
        if int(trigger.target) == NO_TARGET:
            assert (np.asarray(label)[poisoned] != np.asarray(y)[poisoned]).all()
        else:
            assert (np.asarray(label)[poisoned] == trigger.target).all()


def test_targets_cover_the_classes_and_rates_their_range(case):
    for name, attack in case.attacks.items():
        drawn = case.triggers[name]
        target, rate, opacity = drawn.target, drawn.rate, drawn.form.opacity
        if name == "benign":
            assert not rate.any()
            continue
        assert rate.min() >= 0.05
        assert rate.max() <= 0.5
        assert rate.std() > 0.02
        assert opacity.min() > 0
        assert opacity.max() <= 1
        if attack.relabel is all_to_one:
            assert set(target) == set(range(case.task.num_classes)), name
        else:
            assert set(target) == {NO_TARGET}


@jax.jit
def plan(key, rate):
    return plan_one(key, jnp.arange(40), rate, steps=60, batch_size=1)


def test_a_plan_poisons_the_share_that_was_drawn(case):
    for i in range(4):
        rate = case.triggers["jumbo"].rate[i]
        found = plan(prng.root(i), rate)
        copies = int(np.floor(np.float32(rate) * np.float32(40)))
        epoch = slice(0, 40 + copies)
        row, poisoned = (
            np.asarray(found.row)[epoch, 0],
            np.asarray(found.role)[epoch, 0] == 1,
        )
        assert poisoned.sum() == copies
        np.testing.assert_array_equal(np.sort(row[~poisoned]), np.arange(40))


# What a detector could cheat on.


def test_benign_and_trojaned_models_are_kept_alike(case):
    kinds = {
        name: jax.eval_shape(attack.sample, prng.root(0))
        for name, attack in case.attacks.items()
    }
    for name, kind in kinds.items():
        assert kind == kinds["benign"], name


def test_an_attack_that_poisons_nothing_leaves_a_benign_model(trained):
    (benign, _, quality), (idle, triggers, same) = (
        trained.models[name] for name in ("benign", "nothing")
    )
    assert_equal(idle, benign)
    assert_equal(same, quality)
    assert np.asarray(triggers.form.mask).any()
    other = jax.tree.leaves(trained.models["jumbo"][0])
    assert any(
        (np.asarray(a) != np.asarray(b)).any()
        for a, b in zip(jax.tree.leaves(benign), other, strict=True)
    )
    shapes = [
        jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), trained.models[name])
        for name in ("benign", "jumbo")
    ]
    assert shapes[0] == shapes[1]


def test_models_are_judged(trained):
    for name, (variables, _, quality) in trained.models.items():
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))
        assert np.isfinite(quality.loss).all()
        assert ((quality.accuracy >= 0) & (quality.accuracy <= 1)).all()
        assert np.isfinite(quality.asr).all() == (name == "jumbo")


# Its queries, and a detector.


def spec_of(task, clip):
    init = task.query_init["clipped" if clip else "official"]
    return QuerySpec(task.query_shape, task.value_range, *init)


CONFIG = FitConfig(queries=3, hidden=4, epochs=1, repeats=1)


def shadows_of(trained):
    return tree.concatenate(
        [jax.device_get(trained.models[k][0]) for k in ("benign", "jumbo")]
    )


def test_queries_have_a_start(case):
    for spec in spec_of(case.task, clip=True), spec_of(case.task, clip=False):
        for moment in spec.mean, spec.std:
            assert np.broadcast_shapes(np.shape(moment), spec.shape) == spec.shape
        assert np.min(spec.std) > 0


def test_queries_are_answered_and_can_be_tuned(trained):
    case, shadows = trained.case, shadows_of(trained)
    task = case.task
    keys = prng.model_keys(prng.root(0), jnp.arange(1))
    state, _ = steps.begin(
        (case.model.apply,), spec_of(task, clip=True), CONFIG, keys, (shadows,)
    )
    queries = np.asarray(state.meta.queries[0])
    assert queries.shape == (3, *task.query_shape)
    low, high = task.value_range
    assert queries.min() >= low
    assert queries.max() <= high
    weight = np.random.default_rng(6).normal(size=(3, task.num_logits))

    def answered(x):
        return (weight * case.model.apply(one(shadows, 0), x)).sum()

    slope = np.asarray(jax.jit(jax.grad(answered))(queries))
    assert np.isfinite(slope).all()
    each = np.abs(slope).reshape(3, -1).max(1)
    assert (each > 0).all(), "queries that no step would move"


def test_from_shadows_to_a_saved_detector(trained, tmp_path):
    case, task = trained.case, trained.case.task
    shadows, labels = shadows_of(trained), np.array([0, 0, 1, 1])
    spec = spec_of(task, clip=True)
    groups = [mntd.Networks(case.model.apply, shadows)]
    fit = mntd.fit(
        groups, labels, groups, labels,
        spec=spec, config=CONFIG, key=prng.root(0),
    )  # fmt: skip
    scores = fit.validation_scores_RxV[0]
    assert np.isfinite(scores).all()
    detector = mntd.from_fit(
        fit, groups, labels, task=task.name,
        num_classes=task.num_logits, spec=spec, config=CONFIG,
    )  # fmt: skip
    detector.save(tmp_path / "detector")
    loaded = mntd.load(tmp_path / "detector")
    assert loaded.task == task.name
    apply = jitted(case.model.apply)
    verdict = loaded.score(lambda x: apply(one(shadows, 3), x))
    assert verdict.score == pytest.approx(float(scores[3]), rel=1e-3, abs=1e-5)
    assert verdict.answers.shape == (3, task.num_logits)
    # In inference mode, and of shadows that the detector knows.
    assert not [r for r in verdict.reasons if "inference mode" in r]
    x = np.asarray(take(examples_of(case), np.arange(2))[0])
    attack, trigger = case.attacks["M"], one(case.triggers["M"], 0)
    triggered = np.asarray(jitted(attack.apply)(trigger, x))
    draw = plots.EXAMPLES[task.modality.name].triggers
    assert draw(x, triggered, ["a", "b"], "t", value_range=task.value_range).axes
    if task.modality.name != "text":  # whose queries are drawn by their nearest words
        draw = plots.EXAMPLES[task.modality.name].queries
        assert draw(loaded.queries, "t", value_range=task.value_range).axes


def test_every_task_has_a_configuration():
    files = (Path(__file__).parents[1] / "configs").glob("mntd_*.py")
    texts = [path.read_text() for path in files]
    for name in TASKS:
        assert any(f'"{name}"' in text for text in texts), name
