"""Single models as files: bit for bit out and in, and every fault in one line."""

# Fixtures are imported by name.
# ruff: noqa: F401, F811

import dataclasses
import functools
import json
import os
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
from stored import (
    assert_same_bits,
    copied,
    edit_json,
    flip,
    made,
    stamps,
)
from tiny import (
    SPEC,
    assert_same,
    content,
    make_spec,
    tiny_tasks,
    train,
)
from trees import flip_a_byte

from bdjax import storage, tree
from bdjax.networks import open_network
from bdjax.population import (
    Quality,
    export_models,
    import_models,
    inspect_population,
    load_model,
    load_population,
)
from bdjax.population.model_files import trigger_dict
from bdjax.tasks import TASKS
from bdjax.types import UserError


def test_an_exported_model_comes_back_bit_for_bit(made, tmp_path):
    directory, population = made
    files = export_models(directory, range(1, 4), tmp_path / "out")
    names = [f"model-0000{i}.safetensors" for i in (1, 2, 3)]
    assert [path.name for path in files] == names
    for i, path in enumerate(files, 1):
        variables, record = load_model(path)
        assert_same_bits(variables, tree.index(population.variables, i))
        expected = tree.index((population.triggers, population.quality), i)
        assert record["id"] == i
        assert_same_bits(record["trigger"], trigger_dict(expected[0]))
        assert_same_bits({k: record[k] for k in Quality._fields}, expected[1]._asdict())
        assert record["attack"] == "jumbo"
        assert record["architecture"] == record["task"] == "tiny"
        assert record["population"] == "shadow-jumbo"
        assert record["recipe"]["recipe"]["steps"] == SPEC.recipe.steps
    # Other tools read them, too: plain safetensors and strict JSON.
    arrays = safetensors.numpy.load_file(files[0])
    kernel = population.variables["params"]["logits"]["kernel"][1]
    assert_same(arrays["params.logits.kernel"], kernel)
    assert_same(arrays["trigger.form.mask"], population.triggers.form.mask[1])
    about = json.loads(files[0].with_suffix(".json").read_text(), parse_constant=int)
    assert about["id"] == 1
    assert arrays["trigger.target"] == population.triggers.target[1]
    assert about["asr"] == float(population.quality.asr[1])
    assert about["versions"]["jax"] == jax.__version__


def test_an_exported_model_opens_as_a_network(made, tmp_path):
    directory, population = made
    (path,) = export_models(directory, range(1, 2), tmp_path / "out")
    network = open_network(path)
    assert network.kind == "bdjax model"
    x = np.random.default_rng(0).random((5, *SPEC.task.shape), np.float32)
    variables = tree.index(population.variables, 1)
    expected = SPEC.network.apply(variables, x)
    np.testing.assert_allclose(network.ask(x), expected, atol=1e-6)
    assert network.find_features(SPEC.task.shape, None).layer == "logits (input)"
    edit_json(path.with_suffix(".json"), num_classes=5)
    with pytest.raises(UserError, match="another network's weights"):
        open_network(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match="holds weights and no network"):
        open_network(path)


def test_only_the_chunks_of_the_ids_are_needed(made, copied, tmp_path):
    shutil.rmtree(copied / "chunks" / "0")
    flip(copied / "chunks" / "2")
    assert len(export_models(copied, range(2, 4), tmp_path / "out")) == 2
    with pytest.raises(UserError, match="has no chunk 0"):
        export_models(copied, range(1), tmp_path / "out")
    with pytest.raises(UserError, match=r"chunk 2 in .* is damaged"):
        export_models(copied, range(4, 5), tmp_path / "out")
    for ids in (range(6, 7), range(4, 7), range(0)):
        with pytest.raises(UserError, match="has models 0 to 5; asked for"):
            export_models(copied, ids, tmp_path / "out")


def test_export_replaces_its_own_files_and_no_others(made, tmp_path):
    out = tmp_path / "out"
    [path] = export_models(made[0], range(2, 3), out)
    content = path.read_bytes()
    flip_a_byte(path)
    export_models(made[0], range(2, 3), out)
    assert path.read_bytes() == content
    train(tmp_path / "p", range(2, 3), dataclasses.replace(SPEC, seed=4))
    with pytest.raises(UserError, match=r"another model: recipe\.seed: 3 on disk, 4"):
        export_models(tmp_path / "p", range(2, 3), out)
    assert path.read_bytes() == content
    with pytest.raises(UserError, match="cannot be written"):
        export_models(made[0], range(1), path)


def rewrite(path, **arrays):
    """Another file of tensors, meant: without the checksum."""
    found = safetensors.numpy.load_file(path) | arrays
    found = {k: v for k, v in found.items() if v is not None}
    safetensors.numpy.save_file(found, path)
    edit_json(path.with_suffix(".json"), crc32=None)


KERNEL = "params.logits.kernel"
FAULTS = {
    "truncated": (lambda p: os.truncate(p, 300), "is no whole safetensors file"),
    "emptied": (lambda p: os.truncate(p, 0), "is no whole safetensors file"),
    "flipped": (flip_a_byte, "not what was written: its CRC-32 is"),
    "removed": (lambda p: p.unlink(), "cannot be read: No such file"),
    "alone": (lambda p: p.with_suffix(".json").unlink(), r"json cannot be read"),
    "half JSON": (lambda p: os.truncate(p.with_suffix(".json"), 90), "is not JSON"),
    "shape": (
        lambda p: rewrite(p, **{KERNEL: np.zeros((36, 5), np.float32)}),
        r"kernel is float32 \(36, 5\), and of 'tiny' it is float32 \(36, 4\); this is",
    ),
    "dtype": (lambda p: rewrite(p, **{KERNEL: np.zeros((36, 4))}), "is float64"),
    "lacking": (lambda p: rewrite(p, **{KERNEL: None}), f"lacks {KERNEL}"),
    "more": (lambda p: rewrite(p, x=np.zeros(2)), "holds x, which 'tiny' has not"),
    "no target": (
        lambda p: rewrite(p, **{"trigger.target": None}), r"lacks trigger\.target",
    ),
    "trigger": (
        lambda p: rewrite(p, **{"trigger.form.mask": np.zeros((5, 6, 1), np.float32)}),
        r"trigger\.form\.mask is float32 \(5, 6, 1\)",
    ),
    **{
        name: (functools.partial(lambda p, c: edit_json(p.with_suffix(".json"), **c),
                                 c=change), message)
        for name, change, message in [
            ("schema", {"schema": 3}, "schema 3 comes from a newer bdjax"),
            ("kind", {"kind": "bdjax population"}, "is of kind 'bdjax population'"),
            ("task", {"task": "chess"}, "unknown task 'chess'"),
            ("classes", {"num_classes": 5}, r"num_classes: 5 on disk, 4 here"),
            ("network", {"architecture": "big"}, "unknown model 'big'"),
            ("attack", {"attack": "Q"}, "unknown attack 'Q'"),
            ("accuracy", {"accuracy": "good"}, "accuracy is 'good', no number"),
            ("no id", {"id": None}, "no 'id' in it"),
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_at_fault_is_one_line_and_imports_nothing(made, tmp_path, fault):
    files = export_models(made[0], range(2), tmp_path / "out")
    damage, message = FAULTS[fault]
    damage(files[1])
    with pytest.raises(UserError, match=message) as error:
        load_model(files[1])
    assert "\n" not in str(error.value)
    if fault != "removed":
        with pytest.raises(UserError, match=message):
            import_models(tmp_path / "out", tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_a_change_that_was_meant_is_read(made, tmp_path):
    [path] = export_models(made[0], range(1), tmp_path / "out")
    rewrite(path, **{KERNEL: np.ones((36, 4), np.float32)})
    variables, _ = load_model(path)
    assert (variables["params"]["logits"]["kernel"] == 1).all()


def test_imported_models_are_a_population(made, tmp_path, monkeypatch):
    monkeypatch.setattr("bdjax.population.exchange._CHUNK_SIZE", 2)
    for ids in (range(1, 2), range(3, 5)):
        export_models(made[0], ids, tmp_path / "out")
    ours = np.array([1, 3, 4])
    assert import_models(tmp_path / "out", tmp_path / "p") == range(3)
    loaded = load_population(tmp_path / "p")
    assert loaded.name == "imported-jumbo"
    assert (loaded.attack, loaded.recipe) == (SPEC.attack, None)
    assert loaded.ids_M.tolist() == [0, 1, 2]
    assert_same_bits(content(loaded)[1:], content(made[1][ours])[1:])
    recipe = storage.read_population(tmp_path / "p").recipe
    assert [model["id"] for model in recipe["models"]] == ours.tolist()
    assert recipe["recipes"] == [storage.read_population(made[0]).recipe]
    summary = inspect_population(tmp_path / "p")
    assert (len(summary.ids_M), summary.damaged, summary.missing) == (3, [], [])
    # What was killed goes on, and what is there stays.
    shutil.rmtree(tmp_path / "p" / "chunks" / "1")
    before = stamps(tmp_path / "p")
    import_models(tmp_path / "out", tmp_path / "p")
    assert stamps(tmp_path / "p", 1) == before
    assert_same_bits(content(load_population(tmp_path / "p")), content(loaded))
    # And out again they are the files that they came from.
    files = export_models(tmp_path / "p", range(3), tmp_path / "again")
    for path in files:
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
        again, first = (
            json.loads((folder / path.name).with_suffix(".json").read_text())
            for folder in (tmp_path / "again", tmp_path / "out")
        )
        assert again == first


def test_only_models_of_a_kind_are_imported_together(made, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"no \*\.safetensors in"):
        import_models(tmp_path, tmp_path / "p")
    out = tmp_path / "out"
    export_models(made[0], range(1), out)
    train(tmp_path / "benign", 2, make_spec(attack="benign"))
    export_models(tmp_path / "benign", range(1, 2), out)
    with pytest.raises(
        UserError, match=r"attack is 'benign', model-00000.* has 'jumbo'"
    ):
        import_models(out, tmp_path / "p")
    (out / "model-00001.json").unlink()
    (out / "model-00001.safetensors").unlink()
    fragile = dataclasses.replace(TASKS["tiny"], model="fragile")
    monkeypatch.setitem(TASKS, "tiny", fragile)
    # Of another architecture than the task's is fine: the recipe says which.
    import_models(out, tmp_path / "p")
    recipe = storage.read_population(tmp_path / "p").recipe
    assert recipe["architecture"] == "tiny"
    assert_same_bits(
        content(load_population(tmp_path / "p"))[1:], content(made[1][:1])[1:]
    )
