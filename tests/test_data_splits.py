import dataclasses
import re

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from bdjax.data import Dataset, make_splits
from bdjax.types import UserError


def dataset(num_train, num_test=0, num_classes=2):
    n = num_train + num_test
    x = np.zeros((n, 1, 1, 1), np.uint8)
    y = (np.arange(n) % num_classes).astype(np.int32)
    return Dataset("ramp", x, y, num_classes, num_train)


@st.composite
def requests(draw):
    num_train = draw(st.integers(30, 200))
    num_test = draw(st.sampled_from([0, 10, 50]))
    defender = draw(st.integers(15, num_train // 2))
    attacker = draw(st.integers(0, num_train - defender))
    room = num_test or num_train - defender - attacker
    test = draw(st.integers(0, room))
    seed = draw(st.integers(0, 2**32 - 1))
    return dataset(num_train, num_test, 1), defender, attacker, test, seed


@hypothesis.settings(derandomize=True, database=None, deadline=None)
@hypothesis.given(requests())
def test_disjoint_parts_share_no_row(request_):
    source, defender, attacker, test, seed = request_
    splits = make_splits(
        source, defender=defender, attacker=attacker, test=test, seed=seed
    )
    parts = dataclasses.astuple(splits)
    assert [len(part) for part in parts] == [defender, attacker, test]
    assert all(part.dtype == np.int32 for part in parts)
    rows = np.concatenate(parts)
    assert len(np.unique(rows)) == len(rows)
    assert not rows.size or 0 <= rows.min() <= rows.max() < len(source.y)
    train = np.concatenate(parts[:2])
    assert train.max() < source.num_train
    if source.num_train < len(source.y) and test:
        assert splits.test.min() >= source.num_train


@hypothesis.settings(derandomize=True, database=None, deadline=None)
@hypothesis.given(st.integers(0, 2**32 - 1), st.booleans())
def test_official_test_rows_are_nobodys(seed, own_test_split):
    splits = make_splits(
        dataset(200, 40 if own_test_split else 0, 1),
        defender=20,
        attacker=100,
        test=30,
        seed=seed,
        mode="official",
    )
    assert len(np.unique(splits.test)) == 30
    assert not np.isin(splits.test, splits.defender).any()
    assert not np.isin(splits.test, splits.attacker).any()
    assert (splits.test.min() >= 200) == own_test_split


@pytest.mark.parametrize(
    ("num_train", "defender", "attacker", "unique"),
    [
        (60000, 1200, 30000, (1189, 23588, 466)),
        (50000, 1000, 25000, (990, 19642, 387)),
    ],
    ids=["mnist", "cifar10"],
)
def test_official_draw_has_the_published_codes_counts(
    num_train, defender, attacker, unique
):
    splits = make_splits(
        dataset(num_train, 10000, 10),
        defender=defender,
        attacker=attacker,
        test=10000,
        seed=0,
        mode="official",
    )
    assert (len(splits.defender), len(splits.attacker)) == (defender, attacker)
    shadow, target = np.unique(splits.defender), np.unique(splits.attacker)
    overlap = np.isin(shadow, target).sum()
    assert (len(shadow), len(target), overlap) == unique


@pytest.mark.parametrize("mode", ["disjoint", "official"])
def test_seed_decides(mode):
    def draw(seed):
        splits = make_splits(
            dataset(300), defender=50, attacker=60, test=70, seed=seed, mode=mode
        )
        return dataclasses.astuple(splits)

    for first, again, other in zip(draw(3), draw(3), draw(4), strict=True):
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_the_defenders_rows_do_not_depend_on_other_sizes():
    source = dataset(300, 50)
    few = make_splits(source, defender=40, attacker=10, test=5, seed=1)
    many = make_splits(source, defender=40, attacker=200, test=50, seed=1)
    assert np.array_equal(few.defender, many.defender)
    assert np.array_equal(few.attacker, many.attacker[:10])


@hypothesis.settings(derandomize=True, database=None, deadline=None)
@hypothesis.given(
    st.lists(st.integers(1, 12), min_size=2, max_size=20),
    st.integers(0, 99),
    st.integers(0, 99),
    st.integers(0, 2**32 - 1),
)
def test_every_class_is_kept(counts, more, attacker, seed):
    y = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    source = Dataset("rare", np.zeros((len(y), 1)), y, len(counts), len(y))
    defender = min(len(counts) + more, len(y))
    attacker = min(attacker, len(y) - defender)
    sizes = {"defender": defender, "attacker": attacker, "test": 0, "seed": seed}
    splits = make_splits(source, mode="every_class", **sizes)
    assert set(y[splits.defender]) == set(range(len(counts)))
    rows = np.concatenate([splits.defender, splits.attacker])
    assert (len(splits.defender), len(rows)) == (defender, defender + attacker)
    assert len(np.unique(rows)) == len(rows)
    # The attacker has what the defender leaves, as far as there is room.
    left = set(np.delete(y, splits.defender))
    assert len(set(y[splits.attacker])) == min(attacker, len(left))
    # No more rows than need be change places.
    order = np.random.default_rng((seed, 0)).permutation(len(y))[:defender]
    lacking = len(counts) - len(set(y[order]))
    assert (splits.defender != order).sum() == lacking


def test_every_class_is_the_disjoint_draw_where_nothing_lacks():
    sizes = {"defender": 60, "attacker": 70, "test": 50, "seed": 3}
    source = dataset(300, 0, 3)
    plain, kept = (
        dataclasses.astuple(make_splits(source, mode=mode, **sizes))
        for mode in ("disjoint", "every_class")
    )
    for one, other in zip(plain, kept, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(5))
def test_the_number_that_a_refusal_names_suffices(seed):
    source = dataset(300, 50, 40)
    sizes = {"attacker": 20, "test": 5, "seed": seed}
    with pytest.raises(UserError, match="at this seed") as error:
        make_splits(source, defender=45, **sizes)
    enough = int(re.findall(r"data\.defender to (\d+)", str(error.value))[-1])
    make_splits(source, defender=enough, **sizes)
    with pytest.raises(UserError, match=f"to {enough} or more"):
        make_splits(source, defender=enough - 1, **sizes)


@pytest.mark.parametrize(
    ("source", "change", "message"),
    [
        (
            dataset(100, 50),
            {"mode": "iid"},
            "unknown split mode 'iid'; there are .*'disjoint', 'every_class'",
        ),
        (dataset(100, 50), {"seed": -1}, r"seed is -1; it must be in \[0, 2\*\*32\)"),
        (dataset(100, 50), {"seed": 2**32}, "seed is 4294967296; it must"),
        (dataset(100, 50), {"attacker": -2}, "attacker is -2; it must be 0 or more"),
        (dataset(100, 50), {"test": 51}, "has 50 test rows, fewer than test = 51"),
        (
            dataset(100, 50),
            {"attacker": 90},
            "has 100 training rows, but defender 20 \\+ attacker 90 need 110",
        ),
        (
            dataset(100),
            {"attacker": 60, "test": 30},
            "100 training rows and no test split, but .* \\+ test 30 need 110",
        ),
        (
            dataset(100, 50),
            {"mode": "official", "attacker": 101},
            "100 training rows, fewer than attacker = 101",
        ),
        (
            dataset(100),
            {"mode": "official", "attacker": 100, "test": 60},
            "leave [0-9]+ of its 100 rows, fewer than test = 60",
        ),
        (
            dataset(100, 50, num_classes=30),
            {"defender": 29},
            "defender's 29 rows of 'ramp' hold none of class [0-9]+ and [0-9]+ others: "
            "raise data.defender to 30 or more, and set data.split to 'every_class'",
        ),
        (
            dataset(100, 50, num_classes=30),
            {"defender": 40, "attacker": 60},  # no more rows are left
            "none of class [0-9]+ and [0-9]+ others: set data.split to 'every_class'$",
        ),
        (
            dataset(100, 50, num_classes=30),
            {"defender": 29, "mode": "every_class"},
            "hold none of class [0-9]+: raise data.defender to 30 or more$",
        ),
        (
            dataset(100, 50, num_classes=30),
            {"defender": 40, "mode": "official"},
            "none of class [0-9]+ .*: set data.split to 'every_class'$",
        ),
        (dataset(100, 50), {"defender": 0}, "defender's 0 rows .* none of class 0"),
        (
            Dataset("odd", np.zeros((100, 1)), np.zeros(100, np.int32), 2, 100),
            {"test": 10},
            r"'odd' has no training row of class 1 \(of 2\)",
        ),
    ],
)
def test_errors(source, change, message):
    sizes = {"defender": 20, "attacker": 30, "test": 40, "seed": 0}
    with pytest.raises(UserError, match=message) as error:
        make_splits(source, **{**sizes, **change})
    assert "\n" not in str(error.value)
