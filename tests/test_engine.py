"""Stacked entries over devices, and what is done where memory runs out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.engine import Layout, halved
from bdjax.types import CapacityError


def one(entry, shared):
    return {"sum": (entry["x"] * shared).sum(), "x": entry["x"] + entry["n"]}


ENTRIES = {"x": np.arange(21, dtype=np.float32).reshape(7, 3), "n": np.arange(7)}


@pytest.mark.parametrize("devices", [1, 3, 4])
@pytest.mark.parametrize("width", [0, 1, 2])
def test_entries_are_mapped_alike_on_any_devices_at_any_width(devices, width):
    layout = Layout(tuple(jax.devices()[:devices]), width)
    shared = layout.everywhere(jnp.float32(2))
    got = jax.jit(functools.partial(layout.map, one))(ENTRIES, shared)
    np.testing.assert_allclose(got["sum"], 2 * ENTRIES["x"].sum(1))
    np.testing.assert_array_equal(got["x"], ENTRIES["x"] + ENTRIES["n"][:, None])


def test_what_is_padded_lies_on_every_device():
    layout = Layout(tuple(jax.devices()[:4]))
    padded = layout.spread(layout.pad(ENTRIES))
    assert padded["n"].tolist() == [*range(7), 6]
    assert len({shard.device for shard in padded["n"].addressable_shards}) == 4
    doubled = jax.jit(
        lambda stacked: layout.shard(lambda local, by: local * by, stacked, 2)
    )(padded["n"])
    np.testing.assert_array_equal(doubled, 2 * padded["n"])
    full = {name: leaf[:4] for name, leaf in ENTRIES.items()}
    assert layout.pad(full) is full


def test_the_width_is_halved_as_long_as_there_is_one():
    error, notes = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 bytes"), []
    assert halved(5, error, notes.append, "buy memory") == 2
    assert notes == ["out of device memory: going on with a width of 2"]
    with pytest.raises(CapacityError, match="at a width of 1; buy memory"):
        halved(1, error, notes.append, "buy memory")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        halved(4, jax.errors.JaxRuntimeError("INTERNAL"), notes.append, "")
