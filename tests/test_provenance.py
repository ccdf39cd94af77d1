"""Whose a chunk or a record is: another's is named, however plausible its labels."""

# Fixtures are imported by name.
# ruff: noqa: F401, F811

import dataclasses
import json
import shutil
import zlib

import numpy as np
import pytest
import safetensors.numpy
from stored import assert_same_bits, copied, edit_json, made, trained
from tiny import SPEC, assert_close, content, make_spec, populate, tiny_tasks, train

from bdjax import storage
from bdjax.population import (
    discard_damaged,
    export_models,
    import_models,
    inspect_population,
    load_population,
    merge_populations,
)
from bdjax.population.contradictions import contradiction
from bdjax.types import UserError

# As plausible as can be: the same ids, kinds of labels, shapes and checksums that hold.
OTHERS = {
    "seed": {"seed": 4},
    "role": {"role": "validation"},
    "attack": {"attack": "benign"},
    "recipe": {"recipe": dataclasses.replace(SPEC.recipe, learning_rate=0.06)},
}


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    folder = tmp_path_factory.mktemp("others")
    for name, change in OTHERS.items():
        train(folder / name, 6, make_spec(**change))
    train(folder / "data", 6, data="tiny-2")
    return folder


def replace(chunk, source):
    shutil.rmtree(chunk)
    shutil.copytree(source / "chunks" / chunk.name, chunk)


@pytest.mark.parametrize("other", [*OTHERS, "data"])
def test_a_chunk_of_another_population_is_damage_and_is_trained_again(
    made, copied, others, trained, other
):
    replace(copied / "chunks" / "1", others / other)
    ours, theirs = (storage.read_population(d).digest for d in (copied, others / other))
    assert ours != theirs
    message = rf"chunk 1 in .* belongs to population {theirs}, not to population {ours}"
    for read in (
        load_population,
        lambda d: export_models(d, range(2, 4), d.parent / "out"),
        lambda d: merge_populations([d], d.parent / "merged"),
    ):
        with pytest.raises(UserError, match=f"belongs to population {theirs}") as error:
            read(copied)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=message):
        load_population(copied)
    summary = inspect_population(copied)
    assert summary.digest == ours
    [damage] = summary.damaged
    assert (damage.chunk, damage.ids) == (1, range(2, 4))
    assert f"belongs to population {theirs}" in damage.reason
    assert summary.ids_M.tolist() == [0, 1, 4, 5]

    assert discard_damaged(copied, SPEC) == [damage]
    train(copied, 6)
    assert trained == [2]
    assert_close(content(load_population(copied)), content(made[1]))


def test_a_chunk_stays_ours_however_it_came_there(made, tmp_path, trained):
    # Of another size, of fewer models, extended, merged: it is the same population.
    digest = storage.read_population(made[0]).digest
    assert populate(tmp_path / "p", 3, chunk_size=3).digest == digest
    populate(tmp_path / "q", range(3, 6), chunk_size=3)
    merge_populations([tmp_path / "p", tmp_path / "q"], tmp_path / "both")
    both = load_population(tmp_path / "both")
    assert both.digest == both[2:4].digest == digest
    assert inspect_population(tmp_path / "both").damaged == []
    assert_close(content(both), content(made[1]))


def test_an_edited_manifest_does_not_make_chunks_its_own(copied):
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["recipe"]["seed"] = 4
    (copied / "manifest.json").write_text(json.dumps(manifest))
    assert len(inspect_population(copied).damaged) == 3


@pytest.mark.parametrize("schema", [1, 2])
def test_an_older_population_is_refused_in_one_line(copied, schema):
    edit_json(copied / "manifest.json", schema=schema)
    for use in (
        load_population,
        inspect_population,
        discard_damaged,
        lambda d: train(d, 6),
    ):
        with pytest.raises(
            UserError, match=rf"schema {schema} comes from an older bdjax.*train again"
        ) as error:
            use(copied)
        assert "\n" not in str(error.value)


# A tree with its JSON.


def test_a_tree_made_from_something_else_is_named(tmp_path):
    made_from = {"fit": {"epochs": 3}, "rows": (1, 2)}
    storage.save_tree(
        tmp_path / "a", {"w": np.ones(3)}, {}, kind="fit", provenance=made_from
    )
    storage.load_tree(tmp_path / "a", kind="fit")
    storage.load_tree(tmp_path / "a", kind="fit", provenance=made_from)
    asked = made_from | {"fit": {"epochs": 4}}
    message = (
        r"fit in .*a is another one: provenance.fit.epochs: 3 on disk, 4 asked; re"
    )
    with pytest.raises(UserError, match=message):
        storage.load_tree(tmp_path / "a", kind="fit", provenance=asked)
    # The arrays of one under the JSON of another.
    storage.save_tree(
        tmp_path / "b", {"w": np.zeros(3)}, {}, kind="fit", provenance=asked
    )
    shutil.rmtree(tmp_path / "a" / "tree-1")
    shutil.copytree(tmp_path / "b" / "tree-1", tmp_path / "a" / "tree-1")
    with pytest.raises(UserError, match=r"damaged \(it belongs to fit \w{16}, not to"):
        storage.load_tree(tmp_path / "a", kind="fit")
    edit_json(tmp_path / "b" / "meta.json", schema=1)
    with pytest.raises(UserError, match=r"schema 1 comes from an older bdjax.*remove"):
        storage.load_tree(tmp_path / "b", kind="fit")


# Records against weights.


def exported(made, folder, change):
    """Two exported models, the second's arrays and JSON changed."""
    out = folder / "out"
    path = export_models(made[0], range(2), out)[1]
    arrays = safetensors.numpy.load_file(path)
    edits = change(arrays)
    safetensors.numpy.save_file(arrays, path)
    edit_json(
        path.with_suffix(".json"), **{"crc32": zlib.crc32(path.read_bytes())} | edits
    )
    return out


def one_nan(arrays):
    arrays["params.logits.kernel"][3, 2] = np.nan
    return {}


def all_infinite(arrays):
    for name in arrays:
        if name.startswith("params"):
            arrays[name][...] = np.inf
    return {}


CONTRADICTIONS = {
    "one NaN": (one_nan, r"weights that are not finite and a loss of \d"),
    "infinite": (all_infinite, r"weights that are not finite and a loss of \d"),
    **{
        name: (lambda arrays, edits=edits: edits, message)
        for name, edits, message in [
            ("high", {"accuracy": 5.0}, r"accuracy of 5, outside \[0, 1\]"),
            ("low", {"accuracy": -0.25}, r"accuracy of -0\.25, outside"),
            ("ASR", {"asr": 1.5}, r"attack success rate of 1\.5, outside \[0, 1\]"),
        ]
    },
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_record_that_contradicts_its_weights_is_not_imported(made, tmp_path, name):
    change, message = CONTRADICTIONS[name]
    out = exported(made, tmp_path, change)
    with pytest.raises(
        UserError, match=rf"model-00001\.json: the model has an? .*{message}|{message}"
    ) as error:
        import_models(out, tmp_path / "p")
    assert "model-00001.json" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "p").exists()


def test_a_poisoned_model_called_benign_and_the_reverse_are_not_imported(
    made, others, tmp_path
):
    out, back = tmp_path / "out", tmp_path / "back"
    for path in export_models(made[0], range(2), out):
        edit_json(path.with_suffix(".json"), attack="benign")
    with pytest.raises(
        UserError, match=r"is called 'benign' and has a poisoning rate of 0\.\d+, not 0"
    ):
        import_models(out, tmp_path / "p")
    for path in export_models(others / "attack", range(2), back):
        edit_json(path.with_suffix(".json"), attack="jumbo")
    with pytest.raises(
        UserError, match=r"is called 'jumbo' and has a poisoning rate of 0, not above 0"
    ):
        import_models(back, tmp_path / "p")


def test_the_same_weights_twice_are_not_imported(made, tmp_path):
    out = tmp_path / "out"
    export_models(made[0], range(2), out)
    for suffix in (".json", ".safetensors"):
        shutil.copy(out / f"model-00000{suffix}", out / f"model-00007{suffix}")
    with pytest.raises(
        UserError, match=r"model-00007\.safetensors has the weights of model-00000\.sa"
    ):
        import_models(out, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_models_that_diverged_alike_are_two(made, tmp_path):
    out = tmp_path / "out"
    for path in export_models(made[0], range(2), out):
        arrays = safetensors.numpy.load_file(path)
        for name in arrays:
            if name.startswith("params"):
                arrays[name][...] = np.nan
        safetensors.numpy.save_file(arrays, path)
        edit_json(path.with_suffix(".json"), crc32=None, loss=None)
    assert import_models(out, tmp_path / "p") == range(2)
    assert load_population(tmp_path / "p").diverged_ids == [0, 1]


def test_a_chunk_that_contradicts_itself_is_damage(made, tmp_path):
    store = storage.read_population(made[0])
    chunk = store.load(0)
    chunk["quality"]["accuracy"][1] = 5
    with storage.open_population(tmp_path / "p", store.recipe, range(2)) as changed:
        changed.save(0, chunk)
    [damage] = inspect_population(tmp_path / "p").damaged
    assert "model 1 has an accuracy of 5, outside [0, 1]" in damage.reason
    with pytest.raises(UserError, match="model 1 has an accuracy of 5"):
        load_population(tmp_path / "p")


RIGHT = {
    "rate": [0.1, 1.0, 0.3],
    "loss": [0.2, np.nan, np.inf],
    "accuracy": [0.0, 1.0, np.nan],
    "asr": [1.0, np.nan, 0.0],
}


@pytest.mark.parametrize(
    ("changes", "row", "what"),
    [
        ({}, None, ""),
        ({"accuracy": [0.5, 0.5, 1.01]}, 2, "accuracy of 1.01, outside"),
        ({"asr": [0.5, -np.inf, 1]}, 1, "attack success rate of -inf, outside"),
        ({"rate": [0.1, 1.1, 0.1]}, 1, "poisoning rate of 1.1, not above 0 and at mo"),
        ({"rate": [0.1, 0.1, np.nan]}, 2, "poisoning rate of nan, not above 0"),
        ({"rate": [0.0, 0.1, 0.1]}, 0, "poisoning rate of 0, not above 0"),
        ({"loss": [0.2, 0.3, 0.1]}, 1, "a loss of 0.3, not NaN"),
    ],
)
def test_what_training_cannot_leave_behind(changes, row, what):
    record = {k: np.float32(v) for k, v in (RIGHT | changes).items()}
    weights = {"a": {"b": np.float32([[1, 2], [np.nan, 2], [3, 4]])}, "n": np.arange(3)}
    found = contradiction(SPEC.attack, weights, **record)
    assert (None if found is None else found.row) == row
    assert what in (found.what if found else "")
