"""Kills, signals, full disks and second jobs: real processes, real damage."""

import hashlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from jobs import Server
from tiny import (
    assert_close,
    assert_same,
    content,
    populate,
    tiny_tasks,  # noqa: F401
)

from bdjax.population import load_population

CHUNK = 4
LONG = {"steps": 400_000}  # a chunk of these takes several seconds
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="jobs are watched through /proc"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("durability")


@pytest.fixture(scope="module")
def server(folder):
    server = Server(folder)
    yield server
    server.close()


@pytest.fixture(scope="module")
def whole(server, folder):
    """A population that nothing disturbed, longer than the others."""
    assert server.start(folder / "whole", 400).wait() == 0
    return load_population(folder / "whole")


def committed(directory):
    """What is on disk of every committed chunk: hashes and times of all its files."""
    chunks = directory / "chunks"
    if not chunks.is_dir():
        return {}
    return {
        int(chunk.name): {
            file.relative_to(chunk): (
                hashlib.sha256(file.read_bytes()).hexdigest(),
                file.stat().st_mtime_ns,
            )
            for file in chunk.rglob("*")
            if file.is_file()
        }
        for chunk in chunks.iterdir()
        if chunk.name.isdecimal()
    }


def count(directory):
    chunks = directory / "chunks"
    return sum(n.isdecimal() for n in os.listdir(chunks)) if chunks.is_dir() else 0


def end_somewhere(job, directory, rng, signum):
    """Ends a job at a random moment: at its start, or some chunks and a bit later."""
    if rng.random() < 0.2:
        pause = rng.uniform(0.1, 1.5)
    else:
        enough = count(directory) + rng.integers(1, 6)
        job.until(lambda: count(directory) >= enough)
        pause = rng.uniform(0, 0.06)  # a chunk is trained and committed in about that
    time.sleep(pause)
    return job.end(signum)


def disturb(server, directory, tries, seed, signum):
    """Ends a job after another; returns their chunks, commits and statuses by try."""
    rng = np.random.default_rng(seed)
    kept, statuses, lines = {}, [], []
    for _ in range(tries):
        job = server.start(directory, 400)
        statuses.append(end_somewhere(job, directory, rng, signum))
        lines.append(job.text("out") + job.text("err"))
        # What was committed was neither begun again nor touched.
        assert not {first // CHUNK for first in job.begun} & set(kept)
        found = committed(directory)
        assert found | kept == found
        kept = found
    return kept, statuses, lines


@pytest.mark.slow
def test_twenty_kills_cost_nothing_that_was_committed(server, folder, whole):
    directory = folder / "killed"
    kept, statuses, _ = disturb(server, directory, 20, seed=0, signum=signal.SIGKILL)
    assert statuses == [-signal.SIGKILL] * 20
    assert 20 < len(kept) < 100
    last = server.start(directory, 400)
    assert last.wait() == 0, last.text("err")
    assert last.begun == [n * CHUNK for n in range(100) if n not in kept]
    found = committed(directory)
    assert found | kept == found
    assert_same(content(load_population(directory)), content(whole))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "status", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_at_any_moment_is_a_tidy_end(
    server, folder, whole, signum, status, word
):
    directory = folder / word
    kept, statuses, lines = disturb(server, directory, 5, seed=1, signum=signum)
    assert statuses == [status] * 5
    assert lines == [f"{word}; the same command goes on from here\n"] * 5
    last = server.start(directory, 400)
    assert last.wait() == 0, last.text("err")
    assert last.begun == [n * CHUNK for n in range(100) if n not in kept]
    assert_same(content(load_population(directory)), content(whole))


@pytest.mark.slow
def test_a_signal_does_not_wait_for_a_long_chunk(server, folder):
    directory = folder / "long"
    for signum, status in [(signal.SIGTERM, 143), (signal.SIGINT, 130)]:
        job = server.start(directory, 8, **LONG)
        job.until(lambda job=job: job.begun)
        start = time.monotonic()
        time.sleep(0.2)
        assert job.end(signum) == status
        assert time.monotonic() - start < 2
        assert job.begun == [0]
        assert count(directory) == 0


@pytest.mark.slow
def test_a_second_job_is_refused_until_the_first_is_dead(server, folder):
    directory = folder / "shared"
    first = server.start(directory, 8, **LONG)
    first.until(lambda: first.begun)
    second = server.start(directory, 8, **LONG)
    assert second.wait() == 2
    assert second.begun == []
    assert second.text("out") == ""
    assert re.fullmatch(
        rf"error: {directory} is being written to by process {first.pid} on \S+; "
        r"wait for it, or use another directory\n",
        second.text("err"),
    )
    first.until(lambda: True)  # runs on
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    third = server.start(directory, 8, **LONG)
    third.until(lambda: third.begun)
    assert third.end(signal.SIGKILL) == -signal.SIGKILL
    # Nor does a refusal disturb the one that goes on.
    first = server.start(folder / "both", 40, steps=40_000)
    first.until(lambda: first.begun)
    second = server.start(folder / "both", 80, steps=40_000)
    assert (second.wait(), first.wait()) == (2, 0)
    assert first.begun == list(range(0, 40, CHUNK))
    assert len(load_population(folder / "both")) == 40


def can_mount():
    try:
        probe = [*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"]
        return subprocess.run(probe, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="needs unprivileged mounts (unshare -Urm)")
def test_a_full_disk_is_one_line_and_training_goes_on_when_there_is_room(folder, whole):
    place = folder / "disk"
    place.mkdir()
    mount = f'mount -t tmpfs -o size=1m none "{place}" && exec "$@"'
    server = Server(folder / "disk-jobs", [*NAMESPACE, "sh", "-c", mount, "sh"])
    # The same place as the jobs see it.
    inside = Path(f"/proc/{server.pid}/root{place}") / "p"
    directory = place / "p"
    try:
        for _ in range(2):
            full = server.start(directory, 400)
            assert full.wait() == 2
            kept = committed(inside)
            assert 5 < len(kept) < 90
            n = len(kept)
            assert sorted(kept) == list(range(n))
            assert re.fullmatch(
                rf"error: chunk {n} could not be written to {directory}/chunks/{n} "
                r"\(.*No space left on device.*\); check free space and permissions "
                r"and run again\n",
                full.text("err"),
            ), full.text("err")
            assert full.text("out") == ""
            some = load_population(inside, range(n * CHUNK))
            assert_same(content(some), content(whole[: n * CHUNK]))
        assert server.shell(f'mount -o remount,size=50m "{place}"') == 0
        last = server.start(directory, 400)
        assert last.wait() == 0, last.text("err")
        assert last.begun == list(range(n * CHUNK, 400, CHUNK))
        found = committed(inside)
        assert found | kept == found
        assert_same(content(load_population(inside)), content(whole))
    finally:
        server.close()


def test_a_job_gives_what_the_library_gives(folder, whole):
    here = populate(folder / "here", 16, chunk_size=CHUNK)
    assert_close(content(here), content(whole[:16]))
