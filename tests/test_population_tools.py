"""Populations on disk: verified, summed up, mended and merged."""

# Fixtures are imported by name.
# ruff: noqa: F401, F811

import dataclasses
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from stored import (
    assert_same_bits,
    copied,
    flip,
    made,
    parts,
    stamps,
    swap,
    trained,
    truncate,
)
from tiny import (
    CLASSES,
    SPEC,
    assert_close,
    assert_same,
    content,
    make_spec,
    populate,
    tiny_tasks,
    train,
)

from bdjax import storage, tree
from bdjax.population import (
    Recipe,
    discard_damaged,
    export_models,
    inspect_population,
    load_model,
    load_population,
    merge_populations,
)
from bdjax.tasks import TASKS
from bdjax.types import UserError

DAMAGES = {flip: ".", truncate: ".", swap: "holds models 0 to 1, not 2 to 3"}


# What is there, and whether it is whole.


def test_a_whole_population_is_summed_up(made):
    directory, population = made
    told = []
    summary = inspect_population(directory, callback=lambda *args: told.append(args))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert (summary.name, summary.ids) == ("shadow-jumbo", range(6))
    assert (summary.missing, summary.damaged, summary.diverged_ids) == ([], [], [])
    assert_same(summary.ids_M, population.ids_M)
    assert_same(summary.quality, population.quality)
    expected = np.quantile(np.float64(population.quality.asr), [0.05, 0.5, 0.95])
    np.testing.assert_allclose(summary.quantiles("asr"), expected)
    labels = population.triggers.target.tolist()
    assert summary.targets() == {t: labels.count(t) for t in sorted(set(labels))}
    assert summary.recipe["recipe"]["steps"] == SPEC.recipe.steps
    sizes = [p.stat().st_size for p in directory.rglob("*") if p.is_file()]
    assert summary.disk_bytes == sum(sizes) > 1000


def test_models_beyond_those_asked_for_do_not_count(tmp_path):
    train(tmp_path / "p", range(1, 5))  # chunks hold 0 to 5
    summary = inspect_population(tmp_path / "p")
    assert summary.ids_M.tolist() == [1, 2, 3, 4]


def test_benign_models_have_no_attack_to_sum_up(tmp_path):
    train(tmp_path / "p", 2, make_spec(attack="benign"))
    summary = inspect_population(tmp_path / "p")
    assert summary.quantiles("asr") is None
    assert summary.targets() == {}
    assert summary.quantiles("accuracy")[1] > 1 / CLASSES


def test_diverged_models_are_named_and_not_in_the_quantiles(tmp_path):
    population = populate(
        tmp_path / "p", 12, make_spec(network="fragile"), chunk_size=4
    )
    summary = inspect_population(tmp_path / "p")
    assert 0 < len(summary.diverged_ids) < 12
    assert summary.diverged_ids == population.diverged_ids
    sound = population.without_diverged().quality.accuracy
    expected = np.quantile(np.float64(sound), [0.05, 0.5, 0.95])
    np.testing.assert_allclose(summary.quantiles("accuracy"), expected)
    # And they keep their bits as files.
    export_models(tmp_path / "p", range(12), tmp_path / "out")
    i = population.diverged_ids[0]
    variables, record = load_model(tmp_path / "out" / f"model-{i:05d}.safetensors")
    assert_same_bits(variables, tree.index(population.variables, i))
    assert np.isnan(record["loss"])


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_found_named_and_mended_alone(made, copied, trained, how):
    how(copied / "chunks" / "1")
    shutil.rmtree(copied / "chunks" / "2")
    before = stamps(copied, 1, 2)
    summary = inspect_population(copied)
    assert summary.missing == [2]
    [damage] = summary.damaged
    assert (damage.chunk, damage.ids) == (1, range(2, 4))
    assert re.search(DAMAGES[how], damage.reason)
    assert "\n" not in str(damage)
    assert str(damage).startswith("chunk 1 (models 2 to 3): ")
    assert summary.ids_M.tolist() == [0, 1]

    assert discard_damaged(copied, SPEC) == [damage]
    assert storage.read_population(copied).committed() == [0]
    train(copied, 6)
    assert trained == [2, 2]
    assert_close(content(load_population(copied)), content(made[1]))
    assert stamps(copied, 1, 2) == before
    assert inspect_population(copied).damaged == []


def test_repair_leaves_what_is_whole_or_another(made, copied, tmp_path):
    assert discard_damaged(copied, SPEC) == []
    assert discard_damaged(tmp_path / "nothing") == []
    assert not (tmp_path / "nothing").exists()
    flip(copied / "chunks" / "1")
    before = stamps(copied)
    other = dataclasses.replace(
        SPEC, recipe=Recipe(steps=64, batch_size=8, learning_rate=0.05)
    )
    with pytest.raises(UserError, match=r"recipe.steps: 63 on disk, 64 asked; nothing"):
        discard_damaged(copied, other)
    store = storage.read_population(copied)
    with (
        storage.open_population(copied, store.recipe, store.ids),
        pytest.raises(UserError, match="is being written to by process"),
    ):
        discard_damaged(copied, SPEC)
    assert stamps(copied) == before


def test_a_manifest_at_fault_is_one_clear_line(copied):
    manifest = copied / "manifest.json"
    text = manifest.read_text()
    for tool in (inspect_population, discard_damaged):
        manifest.write_text(text[:100])
        with pytest.raises(UserError, match=r"manifest\.json is not JSON"):
            tool(copied)
        edit = json.loads(text)
        manifest.write_text(json.dumps(edit | {"schema": 99}))
        with pytest.raises(UserError, match="schema 99 comes from a newer bdjax"):
            tool(copied)
        edit["recipe"].pop("chunk_size")
        manifest.write_text(json.dumps(edit))
        with pytest.raises(UserError, match=r"recipe\.chunk_size is None; restore"):
            tool(copied)
        manifest.unlink()
        with pytest.raises(UserError, match=r"has chunks and no manifest\.json"):
            tool(copied)
    assert storage.is_begun(copied)


# Populations joined.


def test_parts_make_the_whole(made, parts, tmp_path):
    told = []
    ids = merge_populations(
        [parts / "b", parts / "a"],
        tmp_path / "p",
        callback=lambda *args: told.append(args),
    )
    assert ids == range(6)
    assert told == [(1, 3), (2, 3), (3, 3)]
    merged = load_population(tmp_path / "p")
    assert_close(content(merged), content(made[1]))
    assert_same_bits(merged[:2].variables, load_population(parts / "a")[:2].variables)
    # Chunk 1 is b's, the first that was named.
    first = load_population(parts / "b", range(2, 4)).variables
    assert_same_bits(merged[2:4].variables, first)
    assert inspect_population(tmp_path / "p").damaged == []
    # It is a population like any other: it grows.
    train(tmp_path / "p", 7)
    assert len(load_population(tmp_path / "p")) == 7


class Kill(BaseException):
    pass


def test_a_killed_merge_goes_on(parts, tmp_path, monkeypatch):
    def die(done, total):
        raise Kill

    sources = [parts / "a", parts / "b"]
    with pytest.raises(Kill):
        merge_populations(sources, tmp_path / "p", callback=die)
    assert storage.read_population(tmp_path / "p").committed() == [0]
    # Killed while copying, it leaves part of a chunk, which does not count.
    rest = tmp_path / "p" / "chunks" / "1.copy"
    rest.mkdir()
    (rest / "half").write_text("x")
    before = stamps(tmp_path / "p")
    del before[rest / "half"]
    assert merge_populations(sources, tmp_path / "p") == range(6)
    assert not rest.exists()
    assert stamps(tmp_path / "p", 1, 2) == before
    assert len(load_population(tmp_path / "p")) == 6


def test_a_population_can_take_others_in(made, parts, tmp_path):
    a = shutil.copytree(parts / "a", tmp_path / "a")
    before = stamps(a)
    del before[a / "manifest.json"]
    merge_populations([a, parts / "b"], a)
    after = stamps(a)
    assert {path: after[path] for path in before} == before
    assert_close(content(load_population(a)), content(made[1]))


def test_a_damaged_chunk_is_taken_from_another(parts, tmp_path):
    a, b = (shutil.copytree(parts / n, tmp_path / n) for n in "ab")
    flip(a / "chunks" / "1")
    merge_populations([a, b], tmp_path / "p")
    assert len(load_population(tmp_path / "p")) == 6
    flip(b / "chunks" / "1")
    with pytest.raises(
        UserError, match=r"q is incomplete: .*a, chunk 1 \(models 2 to 2\): .*; repair"
    ):
        merge_populations([a, b], tmp_path / "q")
    assert storage.read_population(tmp_path / "q").committed() == [0, 2]
    shutil.rmtree(b / "chunks" / "1")
    shutil.copytree(parts / "b" / "chunks" / "1", b / "chunks" / "1")
    merge_populations([a, b], tmp_path / "q")
    assert len(load_population(tmp_path / "q")) == 6


def test_a_copy_that_the_disk_spoilt_does_not_count(parts, tmp_path, monkeypatch):
    whole = storage.population._copy_synced

    def spoil(source, target):
        whole(source, target)
        if (path := pathlib.Path(target)).parent.name == "d":  # of the arrays
            path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))

    monkeypatch.setattr(storage.population, "_copy_synced", spoil)
    with pytest.raises(UserError, match=r"the copy of chunk 0 of .*a in .* is damaged"):
        merge_populations([parts / "a", parts / "b"], tmp_path / "p")
    assert storage.read_population(tmp_path / "p").committed() == []


def test_what_does_not_belong_together_is_not_merged(made, parts, copied, tmp_path):
    train(tmp_path / "far", range(6, 8))
    with pytest.raises(UserError, match="models 4 to 5 are in none of"):
        merge_populations([parts / "a", tmp_path / "far"], tmp_path / "p")
    other = dataclasses.replace(
        SPEC, recipe=Recipe(steps=64, batch_size=8, learning_rate=0.05)
    )
    train(tmp_path / "other", range(4, 6), other)
    with pytest.raises(
        UserError, match=r"steps: 63 in .*/a, 64 in .*/other; only .* one recipe"
    ):
        merge_populations([parts / "a", tmp_path / "other"], tmp_path / "p")
    train(tmp_path / "wide", range(4, 8), chunk_size=4)
    with pytest.raises(UserError, match=r"recipe\.chunk_size: 2 in .*, 4 in"):
        merge_populations([parts / "a", tmp_path / "wide"], tmp_path / "p")
    shutil.rmtree(copied / "chunks" / "1")
    with pytest.raises(UserError, match="copy lacks chunk 1; resume its training"):
        merge_populations([copied, tmp_path / "far"], tmp_path / "p")
    for none in ([], [copied, copied]):
        with pytest.raises(UserError, match="name each one once"):
            merge_populations(none, tmp_path / "p")
    with pytest.raises(UserError, match="no population in"):
        merge_populations([copied, tmp_path / "absent"], tmp_path / "p")
    assert not (tmp_path / "p").exists()
    with pytest.raises(UserError, match=r"steps: 64 on disk, 63 asked"):
        merge_populations([parts / "a", parts / "b"], tmp_path / "other")
