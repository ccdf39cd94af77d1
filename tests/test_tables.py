"""Tables from csv files and scikit-learn: encoding, units, notes, mistakes."""

import csv
import gzip
from pathlib import Path

import jax
import numpy as np
import pytest

from bdjax.data import Request
from bdjax.data.encode import Field, column_ranges, imbalance_notes, min_max
from bdjax.data.tables import load_csv
from bdjax.models import get_model
from bdjax.tasks import get_task
from bdjax.tasks.adult import FIELDS
from bdjax.types import UserError

SHARED = Path(__file__).parents[1] / "../shared/data"
SCHEMA = (Field("age"), Field("job", ("a", "b", "?")), Field("gain"))
GOOD = """age,job,gain,class,split
20,a,0,no,train
40,?,10,yes,train
30,a,5,no.,train
60,b,10,yes,test
"""


def load(tmp_path, text=GOOD, name="t.csv", **changes):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    asked = {"name": "mine", "num_classes": 2, "shape": (5,), "path": str(path)}
    options = {"fields": SCHEMA, "label": "class", "classes": ("no", "yes")}
    request = Request(**asked | {k: v for k, v in changes.items() if k in asked})
    rest = {k: v for k, v in changes.items() if k not in asked}
    return load_csv(request, **options | rest)


def test_numbers_are_scaled_by_the_training_rows_and_levels_one_hot(tmp_path):
    table = load(tmp_path)
    expected = [[0, 1, 0, 0, 0], [1, 0, 0, 1, 1], [0.5, 1, 0, 0, 0.5], [1, 0, 0, 0, 1]]
    np.testing.assert_allclose(table.x, expected)
    assert table.x.dtype == np.float32
    assert table.y.tolist() == [0, 1, 0, 1]
    assert (table.num_train, table.num_classes) == (3, 2)
    assert table.columns == ("age", "job=a", "job=b", "job=?", "gain")
    np.testing.assert_allclose(
        table.x[:3] * table.units.scale + table.units.offset,
        [[20, 1, 0, 0, 0], [40, 0, 0, 1, 10], [30, 1, 0, 0, 5]],
    )
    assert column_ranges(SCHEMA) == ((0, 1), (1, 4), (4, 5))
    level, clipped = sorted(table.notes, key=len)  # of three rows, none on balance
    assert "1 of 4 values of 'age' lie beyond" in level + clipped
    # The schema knows "b", but no training row has it.
    assert "1 of 4 rows have a level of 'job'" in level + clipped


def test_the_order_of_columns_and_compression_do_not_matter(tmp_path):
    rows = list(csv.reader(GOOD.splitlines()))
    turned = "\n\n".join(", ".join(reversed(row)) for row in rows)
    expected = load(tmp_path)
    for content in (turned, gzip.compress(turned.encode(), mtime=0), "\ufeff" + turned):
        table = load(tmp_path, content)
        np.testing.assert_array_equal(table.x, expected.x)
        np.testing.assert_array_equal(table.y, expected.y)


def test_missing_numbers_are_the_median_of_the_training_rows(tmp_path):
    text = GOOD.replace("40,?", "N/A,?").replace("60,b", ",b")
    table = load(tmp_path, text + "nan,a,1,no,train\n90,a,1,no,test\n")
    # Training rows 20, N/A, 30, nan: the median is 25.
    np.testing.assert_allclose(table.x[:4, 0], [0, 0.5, 1, 0.5])
    assert any("3 of 6 values of 'age' are missing" in n for n in table.notes)
    assert any("median, 25," in n for n in table.notes)


def test_missing_levels_are_the_question_mark(tmp_path):
    for missing in ("", "NA", "nan"):
        table = load(tmp_path, GOOD.replace("40,?", f"40,{missing}"))
        np.testing.assert_array_equal(table.x, load(tmp_path).x)


def test_a_column_without_a_known_level_is_refused(tmp_path):
    text = GOOD.replace(",a,", ",0,").replace(",?,", ",1,")
    with pytest.raises(UserError, match=r"'job' holds no level .* '0' .* write 'a'"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("age", "message"),
    [
        ("1e30", "one value, 1e+30 (1 of 9), spans 'age': all others lie in [20, 48]"),
        ("-999", "one value, -999 (1 of 9), spans 'age': all others lie in [20, 48]"),
        # Far from the others, but they keep a tenth of the range.
        ("299", None),
    ],
)
def test_one_value_that_spans_a_column_is_noted(tmp_path, age, message):
    ages = ["20", "23", "27", age, *map(str, range(40, 49, 2))]
    lines = [f"{age},a,{i % 2},{('no', 'yes')[i % 2]}" for i, age in enumerate(ages)]
    notes = load(tmp_path, "\n".join(["age,job,gain,class", *lines])).notes
    found = [note for note in notes if "spans" in note]
    assert len(found) == bool(message)
    assert not found or found[0].startswith(message)


def test_lone_values_of_features_without_names():
    x = np.random.default_rng(0).normal(size=(30, 4))
    assert not min_max(x, 30)[2]
    x[:3, 1], x[7, 2] = -99, 1e6  # some rows may share a value
    (note,) = min_max(x, 30)[2]
    assert "one value, -99 (3 of 30), spans feature 1: all others" in note
    assert note.endswith("(so it is with 1 more features)")
    # Two values are no outlier, and a constant has no range.
    assert not min_max(np.repeat([[0.0, 5], [1, 5]], 9, 0), 18)[2]


def test_without_a_split_every_row_is_for_training(tmp_path):
    lines = [line.rpartition(",")[0] for line in GOOD.splitlines()]
    assert load(tmp_path, "\n".join(lines)).num_train == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("age,job", "years,job", "no column 'age', its header says years, job"),
        ("job,gain", "age,gain", "column 'age' is there twice"),
        ("40,?,10,yes,train", "40,?,10,yes", r"line 3 of .* has 4 cells, its header 5"),
        ("10,yes,train", "10,perhaps,train", r"line 3 of .* says 'perhaps' .* no, yes"),
        ("yes,test", "yes,dev", r"line 5 of .* says 'dev' in column 'split'"),
        ("train", "test", "no row 'train'"),
        (GOOD, "age,job,gain,class,split\n", "no rows below a header"),
        ("20,a", "7,688,a", "line 2 of .* has 6 cells"),
        ("20,a", '"7,688",a', "line 2 of .* '7,688' in column 'age', which is no num"),
        ("10,yes,test", "$5,yes,test", "line 5 of .* says '\\$5' in column 'gain'"),
        ("20,a", "1e39,a", "line 2 of .* '1e39' in column 'age', which is beyond fl"),
        ("20,a", "-inf,a", "'-inf' in column 'age', which is beyond float32"),
        ("20,a", "2_0,a", "'2_0' in column 'age', which is no number"),
        (GOOD, GOOD.encode("utf-16"), "is text in UTF-16, not csv in UTF-8"),
        (GOOD, GOOD.encode("utf-16-le"), r"in UTF-16 \(it holds NUL bytes\)"),
        (GOOD, b"\xff" + GOOD.encode(), r"not csv in UTF-8 \(byte 1 does not fit\)"),
        (GOOD, b"PK\3\4" + GOOD.encode(), "is a zip archive, not .*: unpack it"),
        (GOOD, b"<!DOCTYPE html><p>404", "is a web page, not csv"),
        (GOOD, b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (GOOD, gzip.compress(GOOD.encode(), mtime=0)[:40], "is truncated or damaged"),
        (GOOD, gzip.compress(GOOD.encode("utf-16"), mtime=0), "is text in UTF-16"),
    ],
)
def test_mistakes(tmp_path, old, new, message):
    text = new if isinstance(new, bytes) else GOOD.replace(old, new)
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


def test_more_mistakes(tmp_path):
    text = GOOD
    for number in ("20", "40", "30"):
        text = text.replace(f"\n{number},", "\n?,")
    with pytest.raises(UserError, match="'age' holds no number in the 3 training"):
        load(tmp_path, text)
    with pytest.raises(UserError, match=r"\(5,\), but the task takes \(7,\)"):
        load(tmp_path, shape=(7,))
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path, path=str(tmp_path / "none.csv"))
    with pytest.raises(UserError, match="reads a file"):
        load(tmp_path, path=None)


def test_min_max_of_series_has_one_scale_a_channel():
    rng = np.random.default_rng(0)
    raw = rng.normal([3, -500], [2, 90], (20, 7, 2)).astype(np.float32)
    raw[15, 2, 1] = 9000
    x, units, notes = min_max(raw, 15)
    assert units.offset.shape == (2,)
    np.testing.assert_allclose(x[:15].min((0, 1)), 0)
    np.testing.assert_allclose(x[:15].max((0, 1)), 1, rtol=1e-6)
    np.testing.assert_allclose(
        x[:15] * units.scale + units.offset, raw[:15], rtol=1e-4, atol=1e-3
    )
    assert x[15, 2, 1] == 1
    assert "are clipped" in notes[0]
    assert min_max(np.full((4, 3), 7.0), 4)[0].tolist() == [[0] * 3] * 4


def uneven(*counts):
    return imbalance_notes(np.repeat(range(len(counts)), counts), len(counts))


def test_imbalance_is_said_where_one_answer_seems_good():
    (note,) = uneven(700, 300)
    assert "70% of the training rows are of class 0" in note
    assert uneven(100, 300, 100)
    assert uneven(*[70] * 9, 370)
    # MNIST's most frequent class has 11.2 %, and says nothing of accuracy.
    assert not uneven(*[100] * 8, 80, 130)
    assert not uneven(590, 410)


def test_few_rows_of_balanced_classes_are_not_called_imbalanced():
    assert not uneven(3, 1)
    assert not uneven(1, 1, 2)
    rng = np.random.default_rng(0)
    for classes, rows in ((2, 20), (3, 30), (10, 60)):
        draws = rng.integers(0, classes, (300, rows))
        said = [bool(imbalance_notes(y, classes)) for y in draws]
        assert np.mean(said) < 0.03


def test_breast_cancer_is_scikit_learns():
    from sklearn.datasets import load_breast_cancer

    raw = load_breast_cancer()
    table = get_task("breast_cancer").load("sklearn")
    assert table.num_train == len(table.x) == 569
    assert table.columns[0] == "mean radius"
    assert len(table.notes) == 1  # classes
    np.testing.assert_array_equal(table.y, raw.target)
    np.testing.assert_allclose(
        table.x * table.units.scale + table.units.offset, raw.data, rtol=1e-4, atol=1e-4
    )
    with pytest.raises(UserError, match="reads no files"):
        get_task("breast_cancer").load("sklearn", path="a.csv")


def test_adult_is_read_as_documented():
    path = SHARED / "adult.csv.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    task = get_task("adult")
    table = task.load("csv", path=str(path))
    assert table.x.shape == (48842, 108)
    assert table.num_train == 32561
    with gzip.open(path, "rt") as file:
        raw = [row for _, row in zip(range(50), csv.DictReader(file), strict=False)]
    restored = table.x * table.units.scale + table.units.offset
    for i, row in enumerate(raw):
        for field, (start, stop) in zip(FIELDS, task.fields, strict=True):
            if field.levels:
                assert table.x[i, start:stop].sum() == 1
                at = start + table.x[i, start:stop].argmax()
                assert table.columns[at] == f"{field.name}={row[field.name]}"
            else:
                assert restored[i, start] == pytest.approx(
                    float(row[field.name]), abs=1e-1
                )
        assert table.y[i] == (row["income"] == ">50K")
    # Every level that UCI documents is in the file, and no other.
    assert (table.x.max(0) == 1).all()
    for start, stop in task.fields:
        if stop - start > 1:
            assert (table.x[:, start:stop].sum(1) == 1).all()
    assert any("76% of the training rows are of class 0" in n for n in table.notes)
    assert not any("spans" in n or "missing" in n for n in table.notes)


def test_power_pools_its_splits():
    path = SHARED / "italy_power_demand.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    days = get_task("power").load("npz", path=str(path))
    assert days.x.shape == (1096, 24)
    assert days.num_train == 1096
    assert "67 training and 1029 test rows are pooled" in days.notes[0]
    assert (days.x.min(), days.x.max()) == (0, 1)


def lstm_by_hand(p, x_TxE):
    """One sequence, a time step and a gate at a time, as PyTorch defines them."""
    cells = len(p["recurrent"])
    h, c = np.zeros(cells), np.zeros(cells)

    def gate(i, x):
        at = slice(i * cells, (i + 1) * cells)
        total = x @ p["kernel"][:, at] + h @ p["recurrent"][:, at]
        return total + p["bias"][at] + p["recurrent_bias"][at]

    for x in x_TxE:
        i, f, g, o = (gate(n, x) for n in range(4))
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    return h


@pytest.mark.parametrize("shape", [(6,), (6, 3)])
def test_series_lstm_is_an_lstm(shape):
    model = get_model("series_lstm", input_shape=shape, num_classes=2)
    variables = jax.device_get(model.init(jax.random.key(0)))
    p = jax.tree.map(np.float64, variables["params"])
    x = np.random.default_rng(0).uniform(size=(4, *shape))
    expected = [
        lstm_by_hand(p["lstm"], each.reshape(6, -1)) @ p["logits"]["kernel"]
        + p["logits"]["bias"]
        for each in x
    ]
    got = model.apply(variables, x.astype(np.float32))
    np.testing.assert_allclose(got, expected, atol=1e-5)
    rounded = model.apply(variables, x.astype(np.float32), precision="bfloat16")
    np.testing.assert_allclose(rounded, expected, atol=0.03)
    assert np.abs(rounded - np.asarray(got)).max() > 1e-6
