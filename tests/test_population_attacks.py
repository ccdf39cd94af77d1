"""What attacks may ask of a population: a bank, triggers that adapt, edited models."""

import dataclasses
import functools
import shutil

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
    TASK,
    assert_same,
    content,
    make_spec,
    populate,
    tiny_tasks,  # noqa: F401
    train,
)

from bdjax import tree
from bdjax.attacks import (
    ATTACKS,
    Attack,
    Description,
    Trigger,
    all_to_one,
    get_attack,
    keep_label,
)
from bdjax.population import (
    inspect_population,
    load_population,
    merge_populations,
)
from bdjax.types import UserError

SHORT = dataclasses.replace(RECIPE, steps=12)


def make_trigger(key, **changed):
    """A form that is a bare array: how much brighter a triggered image is."""
    rate = jax.random.uniform(key, minval=0.1, maxval=0.3)
    drawn = Trigger(rate + 0.2, jnp.int32(1), rate)
    return drawn._replace(**changed)


def brighten(trigger, x):
    return jnp.clip(x + trigger.form, 0, 1)


def from_bank(trigger, x):
    """The bank's image of the target class."""
    return jnp.broadcast_to(trigger.bank["means"][trigger.target], x.shape)


def means(key, preparation):
    del key
    assert preparation.task is TASK
    assert preparation.x.shape == (len(SUBSET), *SHAPE)
    label = jax.nn.one_hot(preparation.y, CLASSES)
    total = jnp.einsum("nk,nhwc->khwc", label, preparation.x)
    return {"means": total / jnp.maximum(label.sum(0), 1)[:, None, None, None]}


def grow(key, trigger, network, variables, x, y):
    """Larger by the step's share of rows that the model has right."""
    del key
    assert x.shape == (RECIPE.batch_size, *SHAPE)
    right = network.apply(variables, x).argmax(-1) == y
    return trigger._replace(form=trigger.form + right.mean())


def towards(key, trigger, network, variables, x, y):
    """The target's logit is the greatest wherever the first pixel is bright."""
    del key, network
    assert x.shape == (len(SUBSET), *SHAPE)
    assert y.shape == (len(SUBSET),)
    return move(variables, trigger.target, 50.0)


def move(variables, label, by):
    logits = variables["params"]["logits"]
    bias = logits["bias"].at[label].add(by)
    return {"params": {"logits": logits | {"bias": bias}}}


def nudge(key, trigger, network, variables, x, y):
    del key, trigger, network, x, y
    return move(variables, 0, 0.5)


def describe(trigger):
    return Description("brighter", None, f"brighter by {float(trigger.form):.2f}")


PLAIN = Attack("", make_trigger, brighten, all_to_one, describe)
FAKES = {
    "banked": dataclasses.replace(PLAIN, apply=from_bank, prepare=means),
    "adapted": dataclasses.replace(PLAIN, adapt=grow),
    "edited": dataclasses.replace(
        PLAIN,
        sample=functools.partial(make_trigger, rate=jnp.float32(0)),
        edit=towards,
        null_edit=nudge,
    ),
    "labelled": dataclasses.replace(
        PLAIN,
        relabel=keep_label,
        aim=all_to_one,
        eligible=lambda trigger, y: (y == trigger.target, jnp.zeros_like(y, bool)),
    ),
}


@pytest.fixture(scope="module", autouse=True)
def fakes():
    def make(task, *, name, locations):
        del task, locations
        return dataclasses.replace(FAKES[name], name=name)

    with pytest.MonkeyPatch.context() as patch:
        for name in FAKES:
            patch.setitem(ATTACKS, name, {"images": functools.partial(make, name=name)})
        get_attack.cache_clear()
        yield
    get_attack.cache_clear()


@pytest.fixture(scope="module")
def banked(tmp_path_factory):
    directory = tmp_path_factory.mktemp("banked") / "p"
    return directory, populate(directory, 4, make_spec(attack="banked", recipe=SHORT))


def test_a_bank_is_kept_beside_the_models_and_put_in(banked):
    directory, population = banked
    assert population.triggers.bank == ()
    assert population.bank["means"].shape == (CLASSES, *SHAPE)
    rows = SUBSET[EXAMPLES.y[SUBSET] == 1]
    mean = (np.float32(EXAMPLES.x[rows]) / 255).mean(0)
    x = np.zeros((2, *SHAPE), np.float32)
    shown = population.attack.apply(population.trigger(2), x)
    np.testing.assert_allclose(shown, [mean, mean], atol=1e-6)
    assert population[:2].bank is population.bank
    assert inspect_population(directory).damaged == []
    assert population.quality.asr.mean() > 0.5


def test_a_bank_is_prepared_once(banked, tmp_path, monkeypatch):
    directory, population = banked
    copy = shutil.copytree(directory, tmp_path / "p")
    spec = make_spec(attack="banked", recipe=SHORT)

    def never(key, preparation):
        raise AssertionError

    other = dataclasses.replace(spec.attack, prepare=never)
    train(copy, 6, dataclasses.replace(spec, attack=other))
    assert_same(content(load_population(copy, range(4))), content(population))
    assert_same(load_population(copy).bank, population.bank)


def test_models_without_their_bank_are_not_gone_on_with(banked, tmp_path):
    copy = shutil.copytree(banked[0], tmp_path / "p")
    shutil.rmtree(copy / "bank")
    with pytest.raises(UserError, match=r"models and no bank.*restore it"):
        train(copy, 6, make_spec(attack="banked", recipe=SHORT))


def test_parts_of_one_bank_are_merged(banked, tmp_path):
    directory, population = banked
    spec = make_spec(attack="banked", recipe=SHORT)
    train(tmp_path / "b", range(4, 6), spec)
    merge_populations([directory, tmp_path / "b"], tmp_path / "all")
    merged = load_population(tmp_path / "all")
    assert merged.ids_M.tolist() == list(range(6))
    assert_same(merged.bank, population.bank)
    # Another split of the data has another bank.
    dark = dataclasses.replace(
        spec, attack=dataclasses.replace(spec.attack, prepare=lambda *_: NONE)
    )
    train(tmp_path / "c", range(4, 6), dark)
    with pytest.raises(UserError, match=r"bank in .* is not the one in"):
        merge_populations([directory, tmp_path / "c"], tmp_path / "wrong")


NONE = {"means": np.zeros((CLASSES, *SHAPE), np.float32)}


@pytest.mark.parametrize("width", [1, 2])
def test_a_trigger_adapts_as_its_model_trains(tmp_path, width):
    spec = make_spec(attack="adapted", recipe=SHORT)
    population = populate(
        tmp_path / str(width), 4, spec, chunk_size=4, devices=1, width=width
    )
    begun = population.triggers.rate + 0.2
    grown = population.triggers.form - begun
    # Twelve steps, and each of them a share of rows between none and all.
    assert (grown > 1).all()
    assert (grown < 12).all()
    np.testing.assert_allclose(grown * 8, np.round(grown * 8), atol=1e-4)
    assert population.records()[0]["description"].text.startswith("brighter by ")


def test_a_shorter_model_s_trigger_stands_still_with_it(tmp_path):
    varied = dataclasses.replace(SHORT, diversity=0.5, poisoned_length="official")
    spec = make_spec(attack="adapted", recipe=varied)
    one, both = (
        populate(tmp_path / str(width), 4, spec, chunk_size=4, devices=1, width=width)
        for width in (1, 4)
    )
    np.testing.assert_allclose(both.triggers.form, one.triggers.form, atol=1e-5)


def test_an_edited_model_succeeds_without_poison(tmp_path):
    spec = make_spec(attack="edited", recipe=SHORT)
    population = populate(tmp_path / "p", 4, spec)
    assert (population.triggers.rate == 0).all()
    np.testing.assert_array_equal(population.quality.asr, 1)


def test_benign_controls_take_the_null_edit_under_a_name_of_their_own(tmp_path):
    benign = make_spec(attack="benign", recipe=SHORT)
    control = dataclasses.replace(benign, control=get_attack("edited", task=TASK))
    assert control.name == "shadow-benign-edited"
    edited = populate(tmp_path / "p", 2, control)
    assert (edited.name, edited.control) == (control.name, control.control)
    assert np.isnan(edited.quality.asr).all()
    assert not edited.is_trojaned
    with pytest.raises(UserError, match="control 'jumbo' needs a null_edit"):
        dataclasses.replace(benign, control=SPEC.attack)
    with pytest.raises(UserError, match="and benign models"):
        dataclasses.replace(SPEC, control=control.control)


def test_kept_labels_leave_a_success_rate(tmp_path):
    population = populate(tmp_path / "p", 4, make_spec(attack="labelled", recipe=SHORT))
    assert not np.isnan(population.quality.asr).any()
    record = population.records()[1]
    assert record["target"] == 1
    assert record["id"] == 1


def test_a_form_of_any_kind_comes_back(banked):
    _, population = banked
    assert isinstance(population.triggers, Trigger)
    assert population.triggers.form.shape == (4,)
    assert tree.index(population.triggers, 1).cover_rate == 0
