"""Training jobs in processes of their own, to be killed.

As a script: imports everything once, then forks a job for every line that it reads,
since a killed job should cost its test no second import. A job trains a population of
`tiny` models by way of `bdjax.cli.common`, as commands do.
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE_SECONDS = 60


class Job:
    """A forked job. `out`, `err`: what it printed; `begun`: first ids of its chunks."""

    def __init__(self, server, pid, base):
        self._server, self.pid, self._base = server, pid, base
        self.status = None

    def text(self, kind):
        return Path(f"{self._base}.{kind}").read_text()

    @property
    def begun(self):
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in self.text("begun").splitlines()]
        return []

    def wait(self):
        """Its exit status, minus the signal where one killed it."""
        if self.status is None:
            self.status = self._server.ask(wait=self.pid)
        return self.status

    def end(self, signum):
        os.kill(self.pid, signum)
        return self.wait()

    def until(self, happened):
        """Sleeps until `happened()`; the job must not end before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not happened():
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2]
            assert state.split()[0] != "Z", self.text("err")
            assert time.monotonic() < deadline, self.text("err")
            time.sleep(0.002)


class Server:
    """Forks jobs; `prefix` is a command that runs it, such as one that mounts."""

    def __init__(self, folder, prefix=()):
        folder.mkdir(exist_ok=True)
        self._folder, self._jobs = folder, []
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-W", "error", __file__],
            env=os.environ
            | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder / "cache")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def ask(self, **line):
        print(json.dumps(line), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the server of jobs has died"
        return json.loads(answer)

    def start(self, directory, models, *, first=0, **options):
        """Trains the models `first` to `models - 1`; see `_run`."""
        base = self._folder / f"job{len(self._jobs)}"
        job = {"directory": str(directory), "ids": [first, models], **options}
        self._jobs.append(Job(self, self.ask(job=job, base=str(base)), base))
        return self._jobs[-1]

    def shell(self, command):
        """Runs a command where the jobs run; its exit status."""
        return self.ask(shell=command)

    def close(self):
        for job in self._jobs:
            if job.status is None:
                job.end(signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _run(base, directory, ids, chunk_size=4, steps=63):
    """The job itself, in the fork; never returns."""
    import tiny

    from bdjax import prng
    from bdjax.cli import common
    from bdjax.population import run

    model_keys, train_shared, first = prng.model_keys, run.train_shared, []

    def keys_spy(key, ids):
        first.append(int(ids[0]))
        return model_keys(key, ids)

    def train_spy(*args, **options):
        out = train_shared(*args, **options)
        with open(f"{base}.begun", "a") as file:
            print(first[-1], file=file)
        return out

    def work():
        common.set_up_jax()
        recipe = dataclasses.replace(tiny.RECIPE, steps=steps)
        spec = dataclasses.replace(tiny.SPEC, recipe=recipe)
        tiny.train(directory, range(*ids), spec, chunk_size=chunk_size, devices=0)

    prng.model_keys, run.train_shared = keys_spy, train_spy
    tiny.register()
    common.guarded(work)
    sys.exit()


def _serve():
    # Imported before the fork, and no device touched: threads do not survive one.
    import jax
    import tiny  # noqa: F401

    import bdjax.cli.common  # noqa: F401

    # A shell's background jobs, such as these tests may run in, ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = None
        if "job" in asked:
            answer = os.fork()
            if not answer:
                for number, kind in enumerate(("in", "out", "err")):
                    name = f"{asked['base']}.{kind}" if number else os.devnull
                    file = os.open(name, os.O_CREAT | os.O_RDWR)
                    os.dup2(file, number)
                _run(asked["base"], **asked["job"])
        elif "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = subprocess.run(asked["shell"], shell=True).returncode
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    _serve()
