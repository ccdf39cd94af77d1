"""Fitted trees and JSON on disk: replaced whole or not at all, damage named."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same, flip_a_byte, largest_file, make_tree

from bdjax import storage
from bdjax.types import UserError

# One tree with its JSON


def test_tree_comes_back_and_is_replaced(tmp_path):
    place = tmp_path / "detector"
    storage.save_tree(place, make_tree(), {"auc": np.float32(0.5)}, kind="detector")
    tree, meta = storage.load_tree(place, kind="detector")
    assert_same(tree, make_tree())
    assert meta == {"auc": 0.5}
    storage.save_tree(place, {"w": jnp.ones(3)}, {"auc": 0.9}, kind="detector")
    tree, meta = storage.load_tree(place, kind="detector")
    assert_same(tree, {"w": np.ones(3, np.float32)})
    assert meta == {"auc": 0.9}
    assert len(list(place.iterdir())) == 2


def test_failed_or_killed_replacement_leaves_the_old_tree(tmp_path):
    storage.save_tree(tmp_path, {"w": np.ones(3)}, {"n": 1}, kind="detector")
    with pytest.raises(TypeError, match="no JSON form"):
        storage.save_tree(
            tmp_path, {"w": np.zeros(3)}, {"n": object()}, kind="detector"
        )
    with pytest.raises(UserError, match="not an array"):
        storage.save_tree(tmp_path, {"w": "text"}, {"n": 2}, kind="detector")
    (tmp_path / "tree-9.orbax-checkpoint-tmp").mkdir()  # Of a kill in the write.
    tree, meta = storage.load_tree(tmp_path, kind="detector")
    assert_same(tree, {"w": np.ones(3)})
    assert meta == {"n": 1}
    storage.save_tree(tmp_path, {"w": np.zeros(3)}, {"n": 2}, kind="detector")
    assert storage.load_tree(tmp_path, kind="detector")[1] == {"n": 2}
    assert len(list(tmp_path.iterdir())) == 2


def test_trees_that_cannot_be_loaded(tmp_path):
    with pytest.raises(UserError, match=r"no detector in .*meta.json"):
        storage.load_tree(tmp_path, kind="detector")
    place = tmp_path / "d"
    storage.save_tree(place, {"w": np.ones(999)}, {}, kind="detector")
    for use in (
        lambda: storage.load_tree(place, kind="forecast"),
        lambda: storage.save_tree(place, {"w": np.ones(9)}, {}, kind="forecast"),
    ):
        with pytest.raises(UserError, match="of kind 'detector', not 'forecast'"):
            use()
    flip_a_byte(largest_file(place))
    with pytest.raises(UserError, match=r"detector in .*tree-1 is damaged \(w is not"):
        storage.load_tree(place, kind="detector")
    (place / "meta.json").write_text('{"kind": "dete')
    with pytest.raises(UserError, match=r"meta.json is not JSON"):
        storage.load_tree(place, kind="detector")


def test_tree_is_not_written_into_a_stranger(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds thesis.tex"):
        storage.save_tree(tmp_path, {"w": np.ones(3)}, {}, kind="detector")
    with pytest.raises(UserError, match="is a file"):
        storage.save_tree(
            tmp_path / "thesis.tex", {"w": np.ones(3)}, {}, kind="detector"
        )


# JSON


def test_json_round_trip(tmp_path):
    @dataclasses.dataclass
    class Score:
        value: np.float32
        targets: np.ndarray

    path = tmp_path / "a" / "b.json"
    value = {
        "score": Score(np.float32(0.5), np.arange(3)),
        "array": jnp.ones((2, 1)),
        "flag": np.bool_(True),
        "path": Path("x") / "y",
        "text": "żółw",
    }
    storage.write_json(path, value)
    assert storage.read_json(path) == {
        "score": {"value": 0.5, "targets": [0, 1, 2]},
        "array": [[1.0], [1.0]],
        "flag": True,
        "path": str(Path("x") / "y"),
        "text": "żółw",
    }
    with pytest.raises(TypeError, match="no JSON form"):
        storage.write_json(path, {"bad": object()})
    assert storage.read_json(path)["flag"] is True
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1', r"is not JSON \(.*line 1 column 8"),
        (b"\xff\xfe", r"is not JSON \(.utf-8. codec"),
        (None, "cannot be read: No such file"),
    ],
)
def test_bad_json(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        storage.read_json(tmp_path / "x.json")
