"""Ctrl-C and SIGTERM at any moment: one line and a status, and no commit lost."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bdjax import storage

ROOT = Path(__file__).parents[1]
SMOKE = "mntd_mnist5k:smoke"
# Whoever runs these tests may ignore SIGINT, as a shell's background jobs do.
HEEDS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
IGNORES = HEEDS.replace("SIG_DFL", "SIG_IGN")

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads which signals are caught"
)


@contextlib.contextmanager
def started(folder, *argv, heeds=HEEDS, stderr=subprocess.STDOUT):
    """A Python process that hears signals; both outputs in one pipe by default."""
    process = subprocess.Popen(
        [sys.executable, "-c", heeds, *map(str, argv)],
        cwd=ROOT,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
        },
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def listens(process):
    """Whether it catches SIGTERM, which Python by itself does not."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def script(code):
    return "-W", "error", "-c", textwrap.dedent(code)


def ended(process, signum):
    """What it printed after a signal, and its status."""
    process.send_signal(signum)
    out, _ = process.communicate(timeout=20)
    return out, process.returncode


@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.8, 1.5])
@pytest.mark.parametrize("name", ["population", "bench", "scan"])
def test_an_interrupt_amid_imports_is_one_line(tmp_path, name, seconds):
    arguments = [SMOKE, f"--workdir={tmp_path}/run"]
    if name == "bench":
        arguments = [f"--out={tmp_path}/bench.json"]
    if name == "scan":
        (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
        arguments = ["slow:network"]
    with started(tmp_path, "-m", "bdjax", name, *arguments) as process:
        while not listens(process):
            time.sleep(0.005)
        time.sleep(seconds)
        out, status = ended(process, signal.SIGINT)
    assert re.fullmatch(r"interrupted.*\n", out), out
    assert status == (2 if name == "scan" else 130)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2.0, 2.6, 3.2, 4.0, 5.0])
def test_an_interrupt_of_a_run_that_compiles(tmp_path, seconds):
    arguments = (SMOKE, f"--workdir={tmp_path}/run")
    with started(tmp_path, "-m", "bdjax", "run", *arguments) as process:
        while not listens(process):
            time.sleep(0.005)
        time.sleep(seconds)
        out, status = ended(process, signal.SIGINT)
    *before, last = out.splitlines()
    assert last.startswith("interrupted"), out
    assert all(line.startswith(("training ", "reading data ")) for line in before), out
    assert status == 130


@pytest.mark.slow
def test_an_interrupt_of_the_benchmark_leaves_nothing_behind(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    arguments = ("-m", "bdjax", "bench", "--quick", f"--out={tmp_path}/bench.json")
    with started(tmp_path, *arguments) as process:
        while not list(tmp_path.glob("bdjax-bench-*")):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.5)  # PyTorch's processes are starting
        out, status = ended(process, signal.SIGINT)  # all of them: they hold the pipe
    *before, last = out.splitlines()
    assert (last, status) == ("interrupted", 130), out
    assert all(line.startswith("benchmark ") for line in before), out
    assert list(tmp_path.glob("bdjax-bench-*")) == []


STUCK = {
    "a callback, whose exceptions are lost": """
        gc.callbacks.append(lambda *event: stay())
        gc.collect()
        """,
    "a finaliser, likewise": """
        class Stays:
            def __del__(self):
                stay()

        Stays()
        """,
    "an import that takes any exception for a missing module": """
        try:
            stay()
        except BaseException as error:
            raise ImportError("initialization failed") from error
        """,
    "C, which handlers wait for": """
        print("go", flush=True)
        naps = ctypes.CDLL(None).nanosleep, (ctypes.c_long * 2)(30, 0)
        while True:
            naps[0](naps[1], None)
        """,
    "a pipe that nobody reads": """
        print("go", flush=True)
        r, w = os.pipe()
        os.dup2(w, 1)
        while True:
            print("x" * 9999)
        """,
}


@pytest.mark.parametrize("where", STUCK)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_it_finds_the_main_thread_in(tmp_path, where, signum):
    code = """
        import ctypes, gc, os, sys, time
        from bdjax.cli import interrupts

        def stay():
            print("go", flush=True)
            while True:
                time.sleep(0.01)

        interrupts.install()
        """
    with started(tmp_path, *script(code + STUCK[where])) as process:
        assert process.stdout.readline() == "go\n"
        time.sleep(0.05)
        out, status = ended(process, signum)
    if "pipe" not in where:
        word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[signum]
        assert out == f"{word} before anything was begun\n"
    assert status == 128 + signum


def test_what_was_ignored_stays_ignored(tmp_path):
    code = """
        import time
        from bdjax.cli import interrupts
        interrupts.install()
        print("go", flush=True)
        time.sleep({})
        print("done")
        """
    with started(tmp_path, *script(code.format(0.5)), heeds=IGNORES) as process:
        assert process.stdout.readline() == "go\n"
        assert ended(process, signal.SIGINT) == ("done\n", 0)
    with started(tmp_path, *script(code.format(30)), heeds=IGNORES) as process:
        assert process.stdout.readline() == "go\n"
        out, status = ended(process, signal.SIGTERM)
        assert (out, status) == ("terminated before anything was begun\n", 143)


SLOW = """
    import asyncio, sys, time
    import numpy as np
    from bdjax import storage
    from bdjax.storage import checkpoint
    from bdjax.cli import common, interrupts

    write = checkpoint._write

    async def slow(value, info):
        await asyncio.sleep(0.7)
        await write(value, info)

    checkpoint._write = slow
    interrupts.install()
    interrupts.on_end(common.leave)
    """


def test_the_commit_in_flight_is_finished_and_no_other_begun(tmp_path):
    code = """
    store = storage.open_population(sys.argv[1], {"a": 1}, range(9))
    store.save(0, {"x": np.arange(5)})
    print("go", flush=True)
    for n in range(1, 99):
        store.save(n, {"x": np.full(5, n)})
    """
    with started(tmp_path, *script(SLOW + code), tmp_path / "p") as process:
        assert process.stdout.readline() == "go\n"
        out, status = ended(process, signal.SIGINT)
    assert out == "interrupted; the same command goes on from here\n"
    assert status == 130
    store = storage.read_population(tmp_path / "p")
    # The main thread was in the second `save`, which waits for the first.
    assert store.committed() in ([0], [0, 1])
    np.testing.assert_array_equal(store.load(0)["x"], np.arange(5))
    left = [p.name for p in (tmp_path / "p" / "chunks").iterdir()]
    assert sorted(left) == [str(n) for n in store.committed()]


def test_a_tree_is_finished_with_its_json(tmp_path):
    code = """
    print("go", flush=True)
    storage.save_tree(sys.argv[1], {"x": np.arange(5)}, {"n": 1}, kind="fit")
    time.sleep(60)
    """
    with started(tmp_path, *script(SLOW + code), tmp_path / "t") as process:
        assert process.stdout.readline() == "go\n"
        time.sleep(0.3)
        out, status = ended(process, signal.SIGTERM)
    assert out == "terminated; the same command goes on from here\n"
    assert status == 143
    tree, meta = storage.load_tree(tmp_path / "t", kind="fit")
    np.testing.assert_array_equal(tree["x"], np.arange(5))
    assert meta == {"n": 1}


def show(terminal, shown):
    """Reads what is written to a terminal until nobody has it open."""
    with contextlib.suppress(OSError):
        while text := os.read(terminal, 4096):
            shown.append(text)


def test_a_terminal_gets_its_cursor_back(tmp_path, monkeypatch):
    code = """
    from bdjax import telemetry
    with telemetry.progress("training", total=3, unit="models") as bar:
        bar.advance()
        time.sleep(60)
    """
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with started(tmp_path, *script(SLOW + code), stderr=theirs) as process:
        os.close(theirs)
        screen = threading.Thread(target=show, args=(ours, shown := []))
        screen.start()
        while b"1/3" not in b"".join(shown):
            assert process.poll() is None
            time.sleep(0.01)
        _, status = ended(process, signal.SIGINT)
    screen.join()
    os.close(ours)
    shown = b"".join(shown).decode()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert shown.endswith("interrupted; the same command goes on from here\r\n")
    assert status == 130
