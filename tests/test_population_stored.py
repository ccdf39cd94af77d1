"""Populations on disk: resumed, extended, refused, and read back whole or in part."""

import shutil

import jax
import numpy as np
import pytest
from tiny import (
    assert_close,
    assert_same,
    content,
    files,
    make_network,
    make_spec,
    populate,
    tiny_tasks,  # noqa: F401
)

from bdjax import prng, storage, tree
from bdjax.population import Recipe, load_population, run
from bdjax.population.train import train_shared
from bdjax.types import UserError

STREAMS = ["init", "trigger", "batches"]


LONGER = Recipe(steps=64, batch_size=8, learning_rate=0.05)


@pytest.fixture
def trained(monkeypatch):
    """The numbers of models of all calls to `train_shared` from here on."""
    calls = []

    def spy(*args, **options):
        calls.append(len(args[3]))
        return train_shared(*args, **options)

    monkeypatch.setattr(run, "train_shared", spy)
    return calls


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A population of five in chunks of two, never to be changed."""
    directory = tmp_path_factory.mktemp("population") / "shadow-jumbo"
    return directory, populate(directory, 5)


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_population_on_disk_is_what_was_trained(made):
    directory, population = made
    assert population.name == "shadow-jumbo"
    assert population.ids_M.tolist() == [0, 1, 2, 3, 4]
    assert len(population) == 5
    assert tree.count(population.variables) == 5
    assert np.isfinite(population.quality.asr).all()
    # All that were asked for, though the last chunk was trained whole.
    loaded = load_population(directory)
    assert (loaded.name, loaded.attack) == (population.name, population.attack)
    assert_same(content(loaded), content(population))


@pytest.mark.parametrize("ids", [range(2, 4), range(1, 4), range(4, 5), range(6)])
def test_some_models_can_be_read_alone(made, ids):
    directory, population = made
    some = load_population(directory, ids)
    assert some.ids_M.tolist() == list(ids)
    known = slice(ids.start, min(ids.stop, 5))
    some = some[: known.stop - known.start]
    assert_same(content(some), tree.index(content(population), known))


def test_models_that_are_not_there_cannot_be_read(made):
    with pytest.raises(UserError, match=r"lacks chunks \[3\] of models 4 to 6; resume"):
        load_population(made[0], range(4, 7))
    with pytest.raises(UserError, match="asked for models"):
        load_population(made[0], range(3, 3))


@pytest.mark.parametrize(
    ("chunk_size", "devices", "width"), [(3, 4, 1), (4, 4, 1), (4, 2, 2), (4, 1, 1)]
)
def test_neither_chunks_nor_devices_nor_width_change_a_model(
    made, tmp_path, chunk_size, devices, width
):
    execution = {"chunk_size": chunk_size, "devices": devices, "width": width}
    got = populate(tmp_path / "p", 5, **execution)
    assert_close(content(got), content(made[1]))


def test_extending_keeps_the_earlier_models(made, copied, trained):
    before = files(copied / "chunks")
    told = []
    more = populate(copied, 7, callback=lambda *args: told.append(args))
    assert trained == [2]
    assert_same(tree.index(content(more), slice(5)), content(made[1]))
    assert more.ids_M.tolist() == list(range(7))
    after = files(copied / "chunks")
    assert all(after[path] == data for path, data in before.items())
    assert storage.read_population(copied).ids == range(7)
    assert [count for count, _ in told] == [2, 2, 2, 1]
    assert [quality is None for _, quality in told] == [True, True, True, False]
    # And fewer may be asked for than there are.
    fewer = populate(copied, 3)
    assert_same(content(fewer), tree.index(content(made[1]), slice(3)))
    assert trained == [2]
    assert len(load_population(copied)) == 7


def test_a_population_may_begin_anywhere_and_grow_to_both_sides(
    made, tmp_path, trained
):
    told = []
    middle = populate(
        tmp_path / "p", range(3, 4), callback=lambda *args: told.append(args)
    )
    assert middle.ids_M.tolist() == [3]
    assert_close(content(middle), tree.index(content(made[1]), slice(3, 4)))
    [(count, quality)] = told
    assert (count, quality.loss.shape) == (1, (1,))
    np.testing.assert_array_equal(quality.loss, middle.quality.loss)
    assert sorted(p.name for p in (tmp_path / "p" / "chunks").iterdir()) == ["1"]
    before = files(tmp_path / "p" / "chunks")
    for ids, whole in [(range(4, 5), range(3, 5)), (range(2), range(5))]:
        if whole.start:
            populate(tmp_path / "p", ids)
        else:  # 0 and 1 do not adjoin 3: what was asked for says where the gap is
            with pytest.raises(UserError, match="has models 3 to 4; asked for 0 to 1"):
                populate(tmp_path / "p", ids)
            populate(tmp_path / "p", range(3))
        assert storage.read_population(tmp_path / "p").ids == whole
    assert_close(content(load_population(tmp_path / "p")), content(made[1]))
    assert trained == [2, 2, 2]
    after = files(tmp_path / "p" / "chunks")
    assert all(after[path] == data for path, data in before.items())


def test_a_gap_is_refused_and_changes_nothing(made, trained):
    before = files(made[0])
    with pytest.raises(UserError, match=r"has models 0 to 4; .* 6 to 7.* a gap; use"):
        populate(made[0], range(6, 8))
    assert files(made[0]) == before
    assert trained == []


def test_a_lost_chunk_alone_is_trained_again(made, copied, trained):
    before = files(copied)
    shutil.rmtree(copied / "chunks" / "1")
    with pytest.raises(UserError, match=r"incomplete: it lacks chunks \[1\]"):
        load_population(copied)
    again = populate(copied, 5)
    assert trained == [2]
    assert_same(content(again), content(made[1]))
    for n in ("0", "2"):
        kept = files(copied / "chunks" / n)
        assert kept == {p: before[p] for p in kept}


class Kill(BaseException):
    pass


def test_an_interrupted_population_goes_on_where_it_stopped(made, tmp_path, trained):
    def die(count, quality):
        if len(trained) == 2:
            raise Kill

    with pytest.raises(Kill):
        populate(tmp_path / "p", 5, callback=die)
    assert trained == [2, 2]
    resumed = populate(tmp_path / "p", 5)
    assert trained == [2, 2, 2]
    assert_same(content(resumed), content(made[1]))


def test_chunk_size_on_disk_wins_over_the_one_asked(made, copied, trained):
    got = populate(copied, 8, chunk_size=4)
    assert trained == [2]
    assert sorted(p.name for p in (copied / "chunks").iterdir()) == list("0123")
    assert_same(tree.index(content(got), slice(5)), content(made[1]))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        (
            "recipe.steps: 63 on disk, 64 asked",
            {"recipe": Recipe(steps=64, batch_size=8, learning_rate=0.05)},
        ),
        (
            "recipe.learning_rate: 0.05 on disk, 0.1 asked",
            {"recipe": Recipe(steps=63, batch_size=8, learning_rate=0.1)},
        ),
        ('recipe.attack: "jumbo" on disk, "M" asked', {"attack": "M"}),
        ('recipe.role: "shadow" on disk, "target" asked', {"role": "target"}),
        ("recipe.seed: 3 on disk, 4 asked", {"seed": 4}),
        ('recipe.locations: "all" on disk', {"locations": "official"}),
    ],
)
def test_another_recipe_is_refused_by_the_field_that_differs(made, field, change):
    before = files(made[0])
    with pytest.raises(UserError) as error:
        populate(made[0], 5, make_spec(**change))
    assert field in str(error.value)
    assert files(made[0]) == before


def test_other_data_are_refused_and_so_is_an_empty_population(made, tmp_path):
    with pytest.raises(UserError, match=r'recipe\.data: "tiny-1" on disk, "tiny-2"'):
        populate(made[0], 5, data="tiny-2")
    for ids in (range(0), range(3, 3), range(-1, 3), range(0, 4, 2)):
        with pytest.raises(UserError, match="shadow-jumbo: asked for models range"):
            populate(tmp_path / "p", ids)
    with pytest.raises(UserError, match="no population"):
        load_population(tmp_path / "p")


def test_roles_attacks_and_seeds_share_no_randomness(tmp_path, monkeypatch):
    keys = []

    def spy(model, attack, recipe, keys_M, *args, **options):
        keys.extend(keys_M)
        raise Kill

    monkeypatch.setattr(run, "train_shared", spy)
    roles = [{"role": "target"}, {"role": "validation"}, {"seed": 4}, {"attack": "M"}]
    for i, change in enumerate([{}, *roles]):
        with pytest.raises(Kill):
            populate(tmp_path / str(i), 2, make_spec(**change))
    starts = [make_network().init(prng.stream(key, "init")) for key in keys]
    kernels = np.stack([v["params"]["logits"]["kernel"].ravel() for v in starts])
    assert np.abs(np.corrcoef(kernels) - np.eye(10)).max() < 0.4
    # Nor do the streams of one model.
    streams = [jax.random.key_data(prng.stream(keys[0], name)) for name in STREAMS]
    assert len(np.unique(streams, axis=0)) == len(STREAMS)


# Models that training broke.


def test_diverged_models_are_named_and_left_out_in_order(tmp_path):
    population = populate(
        tmp_path / "p", 12, make_spec(network="fragile"), chunk_size=4
    )
    unused = population.variables["params"]["unused"]
    broken = np.flatnonzero(np.isnan(unused))
    assert 0 < len(broken) < 11
    assert broken[0] < 11 - np.argmax(~np.isnan(unused[::-1]))  # one before a sound one
    assert population.diverged_ids == broken.tolist()
    np.testing.assert_array_equal(np.isnan(population.quality.loss), np.isnan(unused))
    rest = population.without_diverged()
    keep = np.setdiff1d(np.arange(12), broken)
    assert rest.ids_M.tolist() == keep.tolist()
    assert_same(content(rest), tree.index(content(population), keep))
    assert (rest.name, rest.attack) == (population.name, population.attack)
    assert rest.diverged_ids == []
    assert_same(content(rest.without_diverged()), content(rest))
    loaded = load_population(tmp_path / "p")
    assert loaded.diverged_ids == population.diverged_ids


def test_a_chunk_under_another_number_is_not_taken_for_it(made, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(made[0], directory)
    chunk = directory / "chunks" / "1"
    shutil.rmtree(chunk)
    shutil.copytree(chunk.with_name("0"), chunk)
    with pytest.raises(UserError, match="holds models 0 to 1, not 2 to 3"):
        load_population(directory)
