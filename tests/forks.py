"""Commands forked from one process that has imported everything: quick to start.

As a script: forks `bdjax population` for every line of arguments that it reads, with
the `tiny` task known and every chunk a little slower, so that it can be hit.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 60


class Fork:
    """One command, forked."""

    def __init__(self, forker, pid, out):
        self._forker, self.pid, self._out = forker, pid, out
        self._status = None

    @property
    def text(self):
        """Both outputs, in the order of writing."""
        return self._out.read_text()

    @property
    def lines(self):
        """Without those of progress."""
        lines = self.text.splitlines()
        return [line for line in lines if not line.startswith("training ")]

    def wait(self):
        """Its exit status, minus the signal where one killed it."""
        if self._status is None:
            self._status = self._forker.ask(wait=self.pid)
        return self._status

    def kill(self, signum):
        os.kill(self.pid, signum)

    def until(self, happened):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not happened():
            assert time.monotonic() < deadline, self.text
            time.sleep(0.01)


class Forker:
    def __init__(self, folder):
        self._folder, self._forks = folder, []
        environment = {k: v for k, v in os.environ.items() if "SLURM" not in k}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            env=environment
            | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder / "cache")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **line):
        print(json.dumps(line), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def start(self, *argv, pause=0.0):
        out = self._folder / f"fork{len(self._forks)}.out"
        pid = self.ask(argv=list(map(str, argv)), pause=pause, out=str(out))
        self._forks.append(Fork(self, pid, out))
        return self._forks[-1]

    def close(self):
        for fork in self._forks:
            if fork._status is None:
                with contextlib.suppress(ProcessLookupError):
                    fork.kill(signal.SIGKILL)
                fork.wait()
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _run(argv, pause, out):
    """In the fork; never returns."""
    import tiny

    from bdjax.population import run

    train_shared = run.train_shared

    def slow(*args, **options):
        time.sleep(pause)
        return train_shared(*args, **options)

    run.train_shared = slow
    tiny.register()
    file = os.open(out, os.O_CREAT | os.O_RDWR)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    from bdjax.cli import main

    main(["population", *argv])
    sys.exit()


def _serve():
    # Imported before the fork, and no device touched: threads do not survive one.
    import jax
    import tiny  # noqa: F401

    import bdjax.cli.common
    import bdjax.cli.population  # noqa: F401

    signal.signal(signal.SIGINT, signal.default_int_handler)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    for line in sys.stdin:
        asked = json.loads(line)
        if "argv" in asked:
            answer = os.fork()
            if not answer:
                _run(**asked)
        else:
            _, status = os.waitpid(asked["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    _serve()
