"""PyTorch in processes of its own, so that its threads and JAX's never meet.

Imports torch only in the workers.
"""

import contextlib
import multiprocessing
import multiprocessing.util
import shutil
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

from bdjax.benchmarks.timing import DidNotRunError, Sample

PATIENCE = 600.0  # seconds that a worker may take to start, or over one job
RUNS = 20  # of each contender: what is left of the time, by this, is one run's

_scratch: set[str] = set()


class Pool:
    """Some processes that all do the same job, each with so many threads."""

    def __init__(self, processes: int, threads: int):
        """Starts the processes; :meth:`close` ends them."""
        self.processes, self.threads = processes, threads
        self.version = ""
        self.device = "cpu"
        self.starts = 0
        self._start()

    def _start(self) -> None:
        self.starts += 1
        self._workers: list[tuple[Any, Connection]] = []
        spawn = multiprocessing.get_context("spawn")
        # Kept, as workers open it by name.
        self._barrier = spawn.Barrier(self.processes)
        for _ in range(self.processes):
            ours, theirs = spawn.Pipe()
            worker = spawn.Process(
                target=serve, args=(theirs, self._barrier, self.threads), daemon=True
            )
            worker.start()
            theirs.close()
            self._workers.append((worker, ours))

    def hello(self) -> None:
        """Waits for torch to be imported everywhere; sets version and device."""
        self.version, self.device = self.ask("hello")[0]

    def ask(self, command: str, *args: Any, patience: float = PATIENCE) -> list[Any]:
        """Has every worker carry out a command, side by side; returns their answers.

        Where one does not answer in time, all start anew and have forgotten their jobs.

        Raises:
          DidNotRunError: one failed, died or took longer than ``patience``; says how.
        """
        for _, connection in self._workers:
            with contextlib.suppress(OSError):
                connection.send((command, *args))
        answers = []
        failure = ""
        for _, connection in self._workers:
            try:
                if not connection.poll(patience):
                    self.close(patience=0)
                    self._start()
                    raise DidNotRunError(f"did not run: no answer in {patience:.0f} s")
                good, answer = connection.recv()
            except (EOFError, OSError):
                good, answer = False, "the PyTorch process died"
            answers.append(answer)
            failure = failure or ("" if good else answer)
        if failure:
            raise DidNotRunError(f"did not run: {failure}")
        return answers

    def close(self, patience: float = 5) -> None:
        """Ends the processes."""
        for _, connection in self._workers:
            with contextlib.suppress(OSError):
                connection.send(("stop",))
        for worker, connection in self._workers:
            worker.join(patience)
            worker.terminate()
            connection.close()


class Torch:
    """A job of :data:`bdjax.benchmarks.pytorch.reference.JOBS` as a contender."""

    def __init__(self, name: str, pool: Pool, job: str, **arguments: Any):
        """Nothing is made before the first run."""
        self.name, self._pool = name, pool
        self.device = "-"
        self._job, self._arguments = job, arguments
        self._made = 0

    def run(self, seconds: float) -> Sample:
        """Every worker does the job once, all from the same moment on.

        Rates add up: in the steady state no worker waits for another.
        """
        pool, patience = self._pool, max(1.0, seconds)
        if self._made != pool.starts:
            if not pool.version:
                pool.hello()
            made = pool.starts
            pool.ask("make", self.name, self._job, self._arguments, patience=patience)
            self.device = f"{pool.processes} x {pool.device}"
            self._made = made
        answers = pool.ask("run", self.name, seconds / RUNS, patience=patience)
        rate = sum(units / took for took, units in answers)
        slowest = max(took for took, _ in answers)
        return Sample(slowest, rate * slowest)


@contextlib.contextmanager
def noted(scratch: str) -> Iterator[None]:
    """Has :func:`abandon` remove a directory."""
    _scratch.add(scratch)
    yield
    _scratch.remove(scratch)


def abandon() -> None:
    """Ends all processes at once and removes their files, from any thread.

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

    from bdjax.benchmarks.pytorch import reference

    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU, XLA's default there
    if command == "hello":
        return torch.__version__, reference.device().type
    if command == "make":
        name, job, arguments = args
        jobs[name] = reference.JOBS[job](**arguments)
        return None
    name, *rest = args
    barrier.wait(PATIENCE)
    return jobs[name].run(*rest)
