"""How many models train side by side: chosen by memory, halved without it."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny import (
    CLASSES,
    EXAMPLES,
    RECIPE,
    SHAPE,
    SPEC,
    TASK,
    assert_close,
    content,
    make_network,
    populate,
    tiny_tasks,  # noqa: F401
)

from bdjax.attacks import get_attack
from bdjax.population import Execution, batching, load_population, run
from bdjax.types import UserError

FOOTPRINT = 1000
VARIED = dataclasses.replace(
    SPEC, recipe=dataclasses.replace(RECIPE, poisoned_length="official", diversity=0.5)
)


def choose(limit, chunk_size=24, **execution):
    return batching.choose_width(
        make_network(), get_attack("jumbo", task=TASK), RECIPE,
        EXAMPLES, chunk_size=chunk_size, execution=Execution(**execution),
        limit_bytes=limit,
    )  # fmt: skip


@pytest.fixture
def footprint(monkeypatch):
    monkeypatch.setattr(batching, "model_footprint", lambda *_, **__: FOOTPRINT)


@pytest.mark.parametrize(("chunk_size", "devices"), [(24, 1), (24, 4), (7, 1), (7, 4)])
def test_width_grows_with_memory_and_divides_a_device_s_models(
    footprint, chunk_size, devices
):
    models = -(-chunk_size // devices)
    limits = range(1, 40 * FOOTPRINT, FOOTPRINT // 4)
    widths = [choose(n, chunk_size, devices=devices) for n in limits]
    assert widths == sorted(widths)
    # All divisors have their turn, from a device too small to one with room for all.
    assert sorted(set(widths)) == [w for w in range(1, models + 1) if models % w == 0]
    for limit, chosen in zip(limits, widths, strict=True):
        assert chosen == 1 or chosen * FOOTPRINT < limit


def test_width_follows_the_measured_footprint():
    attack = get_attack("jumbo", task=TASK, locations="all")
    one = batching.model_footprint(make_network(), attack, RECIPE, EXAMPLES)
    assert one > 4 * (np.prod(SHAPE) + 1) * CLASSES
    assert choose(8 * one, 8, devices=1) == 4
    assert choose(20 * one, 8, devices=1) == 8


def test_a_width_that_was_asked_for_is_taken(footprint):
    assert choose(1, width=5) == 5
    assert choose(None, width=5) == 5


def test_on_a_cpu_models_train_one_by_one():
    assert choose(None) == 1
    assert choose(0, 24, devices=2) == 12  # a device that does not tell tries them all


# Out of memory.

OUT = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 81604378624 bytes."


@pytest.fixture
def small(monkeypatch):
    """`small(most)`: a device on which `most` models fit; returns the widths tried."""
    train_shared = run.train_shared

    def limit(most, error=OUT):
        tried = []

        def train(*args, execution, **options):
            tried.append(execution.width)
            if execution.width > most:
                raise jax.errors.JaxRuntimeError(error)
            return train_shared(*args, execution=execution, **options)

        monkeypatch.setattr(run, "train_shared", train)
        return tried

    return limit


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("width") / "p"
    return populate(directory, 8, VARIED, chunk_size=4, devices=1, width=1)


def test_out_of_memory_halves_the_width_and_goes_on(undisturbed, small, tmp_path):
    tried, notes = small(1), []
    got = populate(
        tmp_path / "p", 8, VARIED, chunk_size=4, devices=1, width=4, note=notes.append
    )
    assert tried == [4, 2, 1, 1]
    assert notes == [
        f"out of device memory: going on with a width of {w}" for w in (2, 1)
    ]
    assert got.ids_M.tolist() == list(range(8))
    assert_close(content(got), content(undisturbed))


def test_memory_that_runs_out_later_costs_no_committed_chunk(
    undisturbed, small, tmp_path
):
    tried, notes = small(4), []
    populate(
        tmp_path / "p", 4, VARIED, chunk_size=4, devices=1, width=4, note=notes.append
    )
    first = tmp_path / "p" / "chunks" / "0"
    before = {p: p.stat().st_mtime_ns for p in first.rglob("*")}
    tried = small(2)
    populate(
        tmp_path / "p", 8, VARIED, chunk_size=4, devices=1, width=4, note=notes.append
    )
    assert tried == [4, 2]
    assert len(notes) == 1
    assert {p: p.stat().st_mtime_ns for p in first.rglob("*")} == before
    got = load_population(tmp_path / "p")
    assert_close(content(got), content(undisturbed))


def test_one_model_that_does_not_fit_is_an_error(small, tmp_path):
    tried = small(0)
    with pytest.raises(UserError, match=r"width of 1; lower execution.chunk_size"):
        populate(tmp_path / "p", 4, chunk_size=4, devices=1, width=2, note=str)
    assert tried == [2, 1]


def test_other_errors_of_the_device_pass_through(small, tmp_path):
    tried = small(0, "INTERNAL: cuDNN is unwell")
    with pytest.raises(jax.errors.JaxRuntimeError, match="cuDNN is unwell"):
        populate(tmp_path / "p", 4, chunk_size=4, devices=1, width=2, note=str)
    assert tried == [2]


# Neither width nor devices change a model.


@pytest.mark.parametrize(
    ("devices", "width"), [(1, 4), (2, 1), (2, 2), (4, 1)], ids=str
)
def test_a_population_is_the_same_on_any_devices_at_any_width(
    undisturbed, tmp_path, devices, width
):
    got = populate(
        tmp_path / "p", 8, VARIED, chunk_size=4, devices=devices, width=width
    )
    assert_close(content(got), content(undisturbed))
    # Its models do train for different lengths.
    assert len(np.unique(undisturbed.quality.loss)) == 8
