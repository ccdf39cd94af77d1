"""PyTorch in processes of its own, so that its threads and JAX's never meet.

Imports torch only in the workers.
"""

import contextlib
import importlib.util
import multiprocessing
import multiprocessing.util
import shutil
import signal
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

from bdjax.benchmarks.timing import Absent, Contender, DidNotRunError, Sample

MISSING = "PyTorch is not installed (pip install 'bdjax[bench]')"
PATIENCE = 600.0  # seconds that a worker may take over one job

_scratch: set[str] = set()


class Pool:
    """Some processes that all do the same job, each with so many threads."""

    def __init__(self, processes: int, threads: int):
        """Starts the processes; :meth:`close` ends them."""
        self.processes, self.threads = processes, threads
        self.version = ""
        self.device = "cpu"
        self._workers: list[tuple[Any, Connection]] = []
        spawn = multiprocessing.get_context("spawn")
        self._barrier = spawn.Barrier(processes)  # kept: workers open it by name
        for _ in range(processes):
            ours, theirs = spawn.Pipe()
            worker = spawn.Process(
                target=serve, args=(theirs, self._barrier, threads), daemon=True
            )
            worker.start()
            theirs.close()
            self._workers.append((worker, ours))

    def hello(self) -> None:
        """Waits for torch to be imported everywhere; sets version and device."""
        self.version, self.device = self.ask("hello")[0]

    def ask(self, command: str, *args: Any) -> list[Any]:
        """Has every worker carry out a command, side by side; returns their answers.

        Raises:
          DidNotRunError: one failed or died; says how.
        """
        for _, connection in self._workers:
            with contextlib.suppress(OSError):
                connection.send((command, *args))
        answers = []
        failure = ""
        for _, connection in self._workers:
            try:
                if not connection.poll(PATIENCE):
                    raise DidNotRunError(f"did not run: no answer in {PATIENCE:.0f} s")
                good, answer = connection.recv()
            except (EOFError, OSError):
                good, answer = False, "the PyTorch process died"
            answers.append(answer)
            failure = failure or ("" if good else answer)
        if failure:
            raise DidNotRunError(f"did not run: {failure}")
        return answers

    def close(self) -> None:
        """Ends the processes."""
        for _, connection in self._workers:
            with contextlib.suppress(OSError):
                connection.send(("stop",))
        for worker, connection in self._workers:
            worker.join(5)
            worker.terminate()
            connection.close()


class Torch:
    """A job of :data:`bdjax.benchmarks.torch_reference.JOBS` as a contender."""

    def __init__(self, name: str, pool: Pool, job: str, **arguments: Any):
        """Nothing is made before the first run."""
        self.name, self._pool = name, pool
        self.device = "-"
        self._job, self._arguments = job, arguments
        self._made = False

    def run(self) -> Sample:
        """Every worker does the job once, all from the same moment on.

        Rates add up: in the steady state no worker waits for another.
        """
        if not self._made:
            if not self._pool.version:
                self._pool.hello()
            self._pool.ask("make", self.name, self._job, self._arguments)
            self.device = f"{self._pool.processes} x {self._pool.device}"
            self._made = True
        answers = self._pool.ask("run", self.name)
        rate = sum(units / seconds for seconds, units in answers)
        slowest = max(seconds for seconds, _ in answers)
        return Sample(slowest, rate * slowest)


class Pools:
    """PyTorch as a user would start it on this machine."""

    def __init__(
        self, whole: Pool | None = None, cores: Pool | None = None, scratch: str = ""
    ):
        """Without pools PyTorch is absent and every contender says so.

        Args:
          whole: one process with all threads.
          cores: a single-threaded process a core.
          scratch: a directory that goes with the pools.
        """
        self.whole, self.cores, self.scratch = whole, cores, scratch

    @property
    def version(self) -> str | None:
        """PyTorch's version; None if it is absent or never ran."""
        return (self.whole.version or None) if self.whole else None

    def contender(
        self, name: str, job: str, *, per_core: bool = False, **arguments: Any
    ) -> Contender:
        """A contender in one process with all threads.

        Args:
          name: what its row is called after "PyTorch".
          job: key in ``torch_reference.JOBS``.
          per_core: in single-threaded processes instead, one a core, side by side.
          **arguments: of the job.
        """
        pool = self.cores if per_core else self.whole
        name = f"PyTorch {name}{', per core' if per_core else ''}"
        if pool is None:
            return Absent(name, MISSING)
        return Torch(name, pool, job, **arguments)


@contextlib.contextmanager
def pools(cores: int) -> Iterator[Pools]:
    """Starts PyTorch's processes, if it is installed, and ends them after."""
    if importlib.util.find_spec("torch") is None:
        yield Pools()
        return
    with (
        tempfile.TemporaryDirectory(prefix="bdjax-bench-") as scratch,
        _known(scratch),
        contextlib.closing(Pool(1, cores)) as whole,
        contextlib.closing(Pool(cores, 1)) as single,
    ):
        for pool in (whole, single):
            with contextlib.suppress(DidNotRunError):  # its rows will say so
                pool.hello()
        yield Pools(whole, single, scratch)


@contextlib.contextmanager
def _known(scratch: str) -> Iterator[None]:
    _scratch.add(scratch)
    yield
    _scratch.remove(scratch)


def abandon() -> None:
    """Ends the processes at once and removes their files, from any thread.

    For a process that is about to end without Python's own tidying.
    """
    # Python's own: workers would complain that nobody listens, semaphores would leak.
    multiprocessing.util._exit_function()  # type: ignore[attr-defined]
    for scratch in list(_scratch):
        shutil.rmtree(scratch, ignore_errors=True)


def serve(connection: Connection, barrier: Barrier, threads: int) -> None:
    """A worker's life: answers ``(good, answer)`` to every command until ``stop``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    jobs: dict[str, Any] = {}
    while True:
        try:
            command, *args = connection.recv()
        except (EOFError, OSError):
            return
        if command == "stop":
            return
        try:
            answer = True, _carry_out(jobs, barrier, threads, command, *args)
        except Exception as error:  # the parent puts it in the row
            lines = str(error).strip().splitlines() or [""]
            answer = False, f"{type(error).__name__}: {lines[0]}"
        connection.send(answer)


def _carry_out(
    jobs: dict[str, Any], barrier: Barrier, threads: int, command: str, *args: Any
) -> Any:
    import torch

    from bdjax.benchmarks import torch_reference

    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU, XLA's default there
    if command == "hello":
        return torch.__version__, torch_reference.device().type
    if command == "make":
        name, job, arguments = args
        jobs[name] = torch_reference.JOBS[job](**arguments)
        return None
    barrier.wait(PATIENCE)
    return jobs[args[0]].run(*args[1:])
