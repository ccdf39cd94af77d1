"""Tiny populations on disk that tests damage, and how they compare them."""

import json
import os
import shutil

import jax
import numpy as np
import pytest
from tiny import populate, train
from trees import flip_a_byte, largest_file

from bdjax.population import run
from bdjax.population.train import train_shared


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A population of six in chunks of two, never to be changed."""
    directory = tmp_path_factory.mktemp("population") / "shadow-jumbo"
    return directory, populate(directory, 6)


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "copy")


@pytest.fixture(scope="module")
def parts(made, tmp_path_factory):
    """The same six in two populations, chunk 1 in both."""
    folder = tmp_path_factory.mktemp("parts")
    train(folder / "a", range(3))
    train(folder / "b", range(2, 6))
    return folder


@pytest.fixture
def trained(monkeypatch):
    """The numbers of models of all calls to `train_shared` from here on."""
    calls = []

    def spy(*args, **options):
        calls.append(len(args[3]))
        return train_shared(*args, **options)

    monkeypatch.setattr(run, "train_shared", spy)
    return calls


def stamps(directory, *but):
    """When each file was last written, but those of some chunks."""
    apart = [directory / "chunks" / str(n) for n in but]
    return {
        path: path.stat().st_mtime_ns
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock" and not {*apart} & {*path.parents}
    }


def flip(chunk):
    flip_a_byte(largest_file(chunk))


def truncate(chunk):
    file = largest_file(chunk)
    os.truncate(file, file.stat().st_size // 2)


def swap(chunk):
    """Every checksum holds, but it is another chunk."""
    shutil.rmtree(chunk)
    shutil.copytree(chunk.with_name("0"), chunk)


def assert_same_bits(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
