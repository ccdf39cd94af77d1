"""Chunks and manifests on disk: resume, refusals, kills and damage."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from trees import assert_same, flip_a_byte, largest_file, make_tree

from bdjax import storage
from bdjax.storage import checkpoint, processes, shield
from bdjax.types import UserError

RECIPE = {
    "task": "mnist",
    "chunk_size": 4,
    "steps": 100,
    "layers": (16, 32),
    "poison": {"rate": 0.1},
}
IDS = range(100)


def run_python(code, *args, devices=1, wait=True):
    """Starts another process; returns it, or (if `wait`) checks that it went well."""
    env = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    process = subprocess.Popen(
        [*command, *map(str, args)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return finished(process) if wait else process


def finished(process):
    """Waits for a process that must end well; returns what it printed."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out, err


# Chunks


def test_chunks_come_back_as_saved(tmp_path):
    tree = make_tree()
    with storage.open_population(tmp_path / "new" / "population", RECIPE, IDS) as store:
        assert store.committed() == []
        for n in (10, 2, 0):
            store.save(n, tree)
        assert_same(store.load(0), tree)  # The save in flight is waited for.
        assert store.committed() == [0, 2, 10]
        assert (
            store.size_bytes()
            > 3 * tree["variables"]["params"]["Dense_0"]["kernel"].nbytes
        )
    reader = storage.read_population(tmp_path / "new" / "population")
    assert reader.committed() == [0, 2, 10]
    assert_same(reader.load(10), tree)
    assert reader.recipe == json.loads(json.dumps(RECIPE))
    assert reader.manifest["schema"] == 4
    assert reader.manifest["versions"]["jax"] == jax.__version__


def test_buffers_are_free_once_save_returns(tmp_path):
    array = np.ones((64, 1 << 14), np.float32)
    device = jnp.ones((64, 1 << 14))
    with storage.open_population(tmp_path / "p", {}, IDS) as store:
        store.save(0, {"host": array, "device": device})
        array[:] = 2
        device.delete()
    loaded = storage.read_population(tmp_path / "p").load(0)
    assert (loaded["host"] == 1).all()
    assert (loaded["device"] == 1).all()


def test_any_orbax_reads_a_chunk(tmp_path):
    tree = {"params": {"w": np.arange(6, dtype=np.float32), "b": np.zeros(3, bool)}}
    with storage.open_population(tmp_path, {}, IDS) as store:
        store.save(0, tree)
    with ocp.StandardCheckpointer() as checkpointer:
        found = checkpointer.restore(tmp_path / "chunks" / "0")
    chex.assert_trees_all_equal(found, tree)


def test_device_count_does_not_matter(tmp_path):
    run_python(
        """
        import sys, jax, numpy as np
        from bdjax import storage
        assert len(jax.devices()) == 4
        mesh = jax.sharding.Mesh(np.array(jax.devices()), "models")
        sharding = jax.NamedSharding(mesh, jax.P("models"))
        x = jax.device_put(np.arange(32.0, dtype="f").reshape(8, 4), sharding)
        with storage.open_population(sys.argv[1], {}, range(9)) as store:
            store.save(0, {"x": x})
        """,
        tmp_path / "p",
        devices=4,
    )
    loaded = storage.read_population(tmp_path / "p").load(0)
    assert_same(loaded, {"x": np.arange(32, dtype=np.float32).reshape(8, 4)})


def test_processes_of_one_run_each_commit_their_own_chunks(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    code = """
        import sys, jax, numpy as np
        jax.distributed.initialize(f"localhost:{sys.argv[2]}", 2, int(sys.argv[3]))
        from bdjax import storage
        me = jax.process_index()
        assert jax.process_count() == 2
        with storage.open_population(sys.argv[1], {"a": 1}, range(9)) as store:
            # Uneven on purpose: nobody may wait for the other.
            for n in (0, 2) if me == 0 else (1, 3, 5, 7):
                store.save(n, {"x": np.full((2, 3), n, np.float32)})
            store.wait()
            assert store.load(me)["x"][0, 0] == me
        """
    both = [run_python(code, tmp_path / "p", port, i, wait=False) for i in range(2)]
    for process in both:
        finished(process)
    store = storage.read_population(tmp_path / "p")
    assert store.committed() == [0, 1, 2, 3, 5, 7]
    for n in store.committed():
        assert_same(store.load(n), {"x": np.full((2, 3), n, np.float32)})


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1])
def test_kill_keeps_what_is_committed(tmp_path, delay):
    code = """
        import sys, numpy as np
        from bdjax import storage
        store = storage.open_population(sys.argv[1], {"a": 1}, range(9))
        big = {"x": np.full((64, 1 << 18), 3, np.float32)}
        store.save(0, {"x": np.arange(5, dtype=np.int32)})
        store.wait()
        print("go", flush=True)
        n = 1
        while True:
            store.save(n, big)
            n += 1
        """
    process = run_python(code, tmp_path / "p", wait=False)
    assert process.stdout.readline() == "go\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with storage.open_population(tmp_path / "p", {"a": 1}, IDS) as store:
        committed = store.committed()
        assert committed == list(range(len(committed)))
        assert_same(store.load(0), {"x": np.arange(5, dtype=np.int32)})
        for n in committed[1:]:
            assert (store.load(n)["x"] == 3).all()
        for n in range(len(committed), len(committed) + 2):
            store.save(n, {"x": np.arange(3)})
        assert_same(store.load(n), {"x": np.arange(3)})


def test_one_job_at_a_time_may_write_and_any_may_read(tmp_path):
    with storage.open_population(tmp_path, RECIPE, IDS) as store:
        store.save(0, make_tree())
        store.wait()
        manifest = (tmp_path / "manifest.json").read_text()
        for recipe in (RECIPE, {}):  # who holds it is said before what differs
            with pytest.raises(
                UserError, match=f"is being written to by process {os.getpid()} on "
            ):
                storage.open_population(tmp_path, recipe, range(200))
        assert (tmp_path / "manifest.json").read_text() == manifest
        assert_same(storage.read_population(tmp_path).load(0), make_tree())
        store.save(1, make_tree())
    for _ in range(2):
        with storage.open_population(tmp_path, RECIPE, IDS) as store:
            assert store.committed() == [0, 1]


def test_leftover_of_a_killed_save_is_ignored_and_replaced(tmp_path):
    with storage.open_population(tmp_path, {}, IDS) as store:
        store.save(3, make_tree())
        store.wait()
        left = tmp_path / "chunks" / "3.orbax-checkpoint-tmp"
        (tmp_path / "chunks" / "3").rename(left)
        assert store.committed() == []
        store.save(3, make_tree(width=2))
        assert_same(store.load(3), make_tree(width=2))
        assert not left.exists()


@pytest.mark.parametrize("how", ["truncated", "emptied", "flipped", "removed", "tree"])
def test_damaged_chunk_is_named_and_can_be_made_again(tmp_path, how):
    with storage.open_population(tmp_path, RECIPE, IDS) as store:
        for n in (0, 1):
            store.save(n, make_tree(width=1000))
        store.wait()
        victim = largest_file(tmp_path / "chunks" / "1")
        if how == "truncated":
            os.truncate(victim, victim.stat().st_size // 2)
        elif how == "emptied":
            os.truncate(victim, 0)
        elif how == "flipped":
            flip_a_byte(victim)
        elif how == "removed":
            victim.unlink()
        else:
            os.truncate(tmp_path / "chunks" / "1" / "_METADATA", 100)
        with pytest.raises(UserError, match=r"chunk 1 in .* is damaged") as caught:
            store.load(1)
        assert str(tmp_path / "chunks" / "1") in str(caught.value)
        assert "\n" not in str(caught.value)
        assert_same(store.load(0), make_tree(width=1000))

        store.discard(1)
        assert store.committed() == [0]
        store.save(1, make_tree())
        assert_same(store.load(1), make_tree())


def test_missing_and_repeated_chunks(tmp_path):
    with storage.open_population(tmp_path, RECIPE, IDS) as store:
        store.save(0, make_tree())
        with pytest.raises(UserError, match="chunk 0 is already in"):
            store.save(0, make_tree())
        with pytest.raises(UserError, match="no chunk 7"):
            store.load(7)
        with pytest.raises(ValueError, match="count from 0"):
            store.save(-1, make_tree())
        store.discard(7)
    reader = storage.read_population(tmp_path)
    with pytest.raises(RuntimeError, match="reading only"):
        reader.save(1, make_tree())
    with pytest.raises(RuntimeError, match="reading only"):
        reader.discard(0)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {"b": [np.ones(2)]}}, r"a\.b: list is not an array"),
        ({"a": {"b": "text"}}, r"a\.b: str is not an array"),
        ({"a": np.ones((0, 3))}, r"a: it is empty, shape \(0, 3\)"),
        ({"a": np.array(["x"])}, "a: dtype <U1"),
        ({"a": np.array([None])}, "a: dtype object"),
        ({"a": {1: np.ones(2)}}, r"a\.1: keys must be strings"),
        ({"a/b": np.ones(2)}, "a/b: keys must be strings"),
        ({"a": jax.random.key(0)}, "jax.random.key_data"),
        ({"a": {}}, "is not nested dicts"),
        (np.ones(2), "is not nested dicts"),
    ],
)
def test_what_is_not_a_tree_of_arrays_is_refused(tmp_path, tree, message):
    with storage.open_population(tmp_path, {}, IDS) as store:
        with pytest.raises(UserError, match=message):
            store.save(0, tree)
        store.save(0, {"a": np.ones(2)})
    assert store.committed() == [0]


def test_failed_write_names_the_chunk(tmp_path):
    with storage.open_population(tmp_path, {}, IDS) as store:
        (tmp_path / "chunks").rmdir()
        (tmp_path / "chunks").write_text("in the way")

        def save_and_wait():
            store.save(4, make_tree())
            store.wait()

        with pytest.raises(UserError, match=r"chunk 4 could not be written to .*4 \("):
            save_and_wait()
        (tmp_path / "chunks").unlink()
        (tmp_path / "chunks").mkdir()
        save_and_wait()
        assert_same(store.load(4), make_tree())


def test_a_failure_that_orbax_repeats_hides_nothing_and_frees_the_directory(
    tmp_path, monkeypatch
):
    def fail(writer):
        raise OSError(28, "No space left on device")

    close = checkpoint.Writer.close
    monkeypatch.setattr(checkpoint.Writer, "wait", fail)
    monkeypatch.setattr(checkpoint.Writer, "close", lambda w: (close(w), fail(w)))
    store = storage.open_population(tmp_path, RECIPE, IDS)
    store.save(4, make_tree())
    with pytest.raises(UserError, match=r"chunk 4 could not .*No space left"):
        store.close()
    monkeypatch.undo()
    storage.open_population(tmp_path, RECIPE, IDS).close()


def test_nothing_is_logged_at_info_level(tmp_path):
    out, err = run_python(
        """
        import sys, absl.logging, numpy as np
        absl.logging.set_verbosity(absl.logging.INFO)
        from bdjax import storage
        with storage.open_population(sys.argv[1] + "/p", {}, range(9)) as store:
            store.save(0, {"x": np.ones(3)})
            store.save(1, {"x": np.ones(3)})
            store.load(0)
        storage.save_tree(sys.argv[1] + "/t", {"x": np.ones(3)}, {}, kind="t")
        storage.load_tree(sys.argv[1] + "/t", kind="t")
        absl.logging.warning("still heard")
        """,
        tmp_path,
    )
    assert out == ""
    assert err.strip().endswith("still heard")
    assert err.count("\n") == 1


# Manifests


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 200}, "recipe.steps: 100 on disk, 200 asked; use another directory"),
        ({"poison": {"rate": 0.2}}, "recipe.poison.rate: 0.1 on disk, 0.2 asked"),
        ({"layers": [16, 64]}, "recipe.layers.1: 32 on disk, 64 asked"),
        ({"layers": [16]}, r"recipe.layers: \[16, 32\] on disk, \[16\] asked"),
        ({"extra": None}, "recipe.extra: absent on disk, null asked"),
        ({"poison": {}}, "recipe.poison.rate: 0.1 on disk, absent asked"),
        ({"task": "x" * 99}, r'recipe.task: "mnist" on disk, "x{56}\.\.\. asked'),
    ],
)
def test_other_recipe_is_refused_by_field(tmp_path, change, message):
    storage.open_population(tmp_path, RECIPE, IDS).close()
    before = (tmp_path / "manifest.json").read_text()
    with pytest.raises(UserError, match=message):
        storage.open_population(tmp_path, {**RECIPE, **change}, IDS)
    assert (tmp_path / "manifest.json").read_text() == before
    storage.open_population(tmp_path, RECIPE, IDS).close()


def test_recipe_is_compared_as_json(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Attack:
        rate: float
        sizes: tuple[int, ...]

    def recipe():
        attack = Attack(rate=float("nan"), sizes=(1, 2))
        return {"attack": attack, "ids": np.arange(3), "seed": np.int64(3)}

    storage.open_population(tmp_path, recipe(), IDS).close()
    with storage.open_population(tmp_path, recipe(), IDS) as store:
        assert store.recipe["ids"] == [0, 1, 2]
    with pytest.raises(UserError, match=r"recipe.seed: 3 on disk, 4 asked"):
        storage.open_population(tmp_path, {**recipe(), "seed": 4}, IDS)


def test_directories_that_are_not_ours(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds thesis.tex and no manifest.json"):
        storage.open_population(tmp_path / "other", RECIPE, IDS)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        storage.open_population(tmp_path / "file", RECIPE, IDS)
    with pytest.raises(UserError, match=r"no population in .*missing"):
        storage.read_population(tmp_path / "missing")
    with pytest.raises(UserError, match=r"cannot write to .*below \(Not a"):
        storage.open_population(tmp_path / "file" / "below", RECIPE, IDS)


def test_kill_at_birth_leaves_a_directory_that_opens(tmp_path):
    (tmp_path / ".manifest.json.123.tmp").write_text('{"sch')
    storage.open_population(tmp_path, RECIPE, IDS).close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1, "kind": "bdj', "manifest.json is not JSON"),
        (
            '{"kind": "holiday plans"}',
            "of kind 'holiday plans', not 'bdjax population'",
        ),
        ("[]", "of kind 'list'"),
        ('{"kind": "bdjax population", "schema": 5}', "newer bdjax"),
        ('{"kind": "bdjax population"}', "schema is None"),
        ('{"kind": "bdjax population", "schema": 4}', "no 'recipe'"),
        (
            '{"kind": "bdjax population", "schema": 4, "recipe": {}}',
            "is damaged: no 'ids'",
        ),
        (
            '{"kind": "bdjax population", "schema": 4, "recipe": {}, "ids": [3]}',
            r"is damaged: ids is \[3\], not two",
        ),
        (
            '{"kind": "bdjax population", "schema": 3, "recipe": {}}',
            "schema 3 comes from an older bdjax, this one reads 4; train again",
        ),
    ],
)
def test_bad_manifests(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    for open_ in (
        storage.read_population,
        lambda d: storage.open_population(d, {}, IDS),
    ):
        with pytest.raises(UserError, match=message):
            open_(tmp_path)


@pytest.fixture
def heeded():
    """SIGINT raises KeyboardInterrupt, though it be ignored, as by background jobs."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_for_what_is_being_written(signum):
    seen = []
    old = signal.signal(signum, lambda *event: seen.append("handled"))
    try:
        with shield.uninterrupted():
            os.kill(os.getpid(), signum)
            time.sleep(0.01)
            seen.append("written")
        assert seen == ["written", "handled"]
        os.kill(os.getpid(), signum)
        time.sleep(0.01)
        assert seen == ["written", "handled", "handled"]
    finally:
        signal.signal(signum, old)


def test_a_signal_that_is_ignored_stays_so():
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with shield.uninterrupted():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, old)


def test_an_interrupt_comes_after_the_chunk_was_read(tmp_path, monkeypatch, heeded):
    with storage.open_population(tmp_path, {"chunk_size": 1}, range(1)) as store:
        store.save(0, {"a": np.ones(3)})
    read = checkpoint._handler

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        return read()

    monkeypatch.setattr(checkpoint, "_handler", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.read_population(tmp_path).load(0)


def test_every_process_compares_and_the_first_chooses_the_chunks(tmp_path, monkeypatch):
    storage.open_population(tmp_path, {"steps": 1, "chunk_size": 4}, IDS).close()
    monkeypatch.setattr(processes, "is_first", lambda: False)
    with storage.open_population(tmp_path, {"steps": 1, "chunk_size": 2}, IDS) as store:
        assert store.recipe["chunk_size"] == 4
    with pytest.raises(UserError, match=r"recipe.steps: 1 on disk, 2 asked"):
        storage.open_population(tmp_path, {"steps": 2, "chunk_size": 4}, IDS)
    with pytest.raises(UserError, match="damaged: ids is"):
        edit(tmp_path, ids=[2, 0])


def edit(directory, **changes):
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    storage.read_population(directory)
