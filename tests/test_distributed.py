"""Several processes train one population: flags and ends of all kinds."""

import dataclasses
import json
import os
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
import slurm
from forks import Forker
from tiny import EXAMPLES, assert_same, content, tiny_tasks  # noqa: F401

from bdjax import storage
from bdjax.cli import arguments, processes
from bdjax.population import load_population
from bdjax.types import UserError

MODELS, CHUNK = 12, 2
CONFIG = """
from bdjax.experiments import configurations
from bdjax.experiments.overrides import change

def get_config(arguments=""):
    return change(configurations.load("mntd_mnist5k:smoke"), {{
        "zoo.task": "tiny",
        "zoo.data.source": "npz",
        "zoo.data.path": {path!r},
        "zoo.data.defender": 30,
        "zoo.data.attacker": 30,
        "zoo.data.test": 17,
        "zoo.groups.recipes.steps": 9,
        "zoo.groups.recipes.batch_size": 8,
        "zoo.groups.shadow.models": ({models},),
    }})
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Starts commands on data and a configuration of their own."""
    folder = tmp_path_factory.mktemp("processes")
    np.savez(folder / "data.npz", x_train=EXAMPLES.x, y_train=EXAMPLES.y)
    config = folder / "tiny_config.py"
    config.write_text(CONFIG.format(path=str(folder / "data.npz"), models=MODELS))
    forker = Forker(folder)

    def start(workdir, count, *more, pause=0.0):
        """`count` processes, or those of a job that `more` makes of them."""
        common = (config, f"--workdir={folder / workdir}", *more)
        common += ("--only=shadow-jumbo", "--heartbeat_seconds=10")
        port = slurm.free_ports(1)[0]
        several = (f"--coordinator=localhost:{port}", f"--num_processes={count}")
        return [
            forker.start(
                *common,
                *((*several, f"--process_id={i}") if count > 1 else ()),
                pause=pause,
            )
            for i in range(count)
        ]

    def chunks(workdir):
        path = folder / workdir / "populations" / "shadow-jumbo" / "chunks"
        names = os.listdir(path) if path.exists() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def population(workdir):
        return load_population(folder / workdir / "populations" / "shadow-jumbo")

    yield SimpleNamespace(
        start=start, chunks=chunks, population=population, folder=folder
    )
    forker.close()


@pytest.fixture(scope="module")
def alone(house):
    """What one process trains."""
    [job] = house.start("alone", 1)
    assert job.wait() == 0, job.text
    assert job.lines == []
    return content(house.population("alone"))


def stamps(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("chunks/*/*")}


@pytest.mark.slow
def test_two_processes_train_what_one_does(house, alone):
    jobs = house.start("two", 2)
    assert [job.wait() for job in jobs] == [0, 0], jobs[0].text + jobs[1].text
    for i, job in enumerate(jobs):
        assert job.lines == [f"process {i} of 2 trained {MODELS // 2} models"]
    # The first tells of all, the second of nothing.
    assert f"training {MODELS}/{MODELS} models in" in jobs[0].text
    assert "training" not in jobs[1].text
    assert_same(content(house.population("two")), alone)
    workdir = house.folder / "two"
    rows = [json.loads(r) for r in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["models"] for row in rows] == [CHUNK] * (MODELS // CHUNK // 2)
    # One process finds nothing to do.
    before = stamps(workdir)
    assert len(before) >= MODELS // CHUNK
    [job] = house.start("two", 1)
    assert job.wait() == 0
    assert stamps(workdir) == before
    assert "(on disk)" in job.text


@pytest.mark.slow
def test_a_killed_process_ends_all_and_others_go_on(house, alone):
    jobs = house.start("killed", 2, pause=1)
    jobs[1].until(lambda: house.chunks("killed"))
    jobs[1].kill(signal.SIGKILL)
    start = time.monotonic()
    assert jobs[1].wait() == -signal.SIGKILL
    # Process 0 trains its chunks or waits for the other's: JAX ends it.
    assert jobs[0].wait() not in (0, None)
    assert time.monotonic() - start < 40
    assert "another task died" in jobs[0].text
    done = house.chunks("killed")
    assert 1 <= len(done) < MODELS // CHUNK
    before = stamps(house.folder / "killed")
    # Another number of processes, whose chunks are others.
    jobs = house.start("killed", 3)
    assert [job.wait() for job in jobs] == [0, 0, 0], jobs[0].text
    after = stamps(house.folder / "killed")
    assert {p: after[p] for p in before if int(p.parent.name) in done} == before
    assert_same(content(house.population("killed")), alone)


@pytest.mark.slow
def test_where_one_ends_early_all_do(house, alone):
    # Process 1 is told to go, as by a machine that shuts down.
    jobs = house.start("ended", 2, pause=1)
    jobs[1].until(lambda: house.chunks("ended"))
    start = time.monotonic()
    jobs[1].kill(signal.SIGTERM)
    assert [job.wait() for job in jobs] == [143, 143]
    assert time.monotonic() - start < 10  # no heartbeat had to be missed
    assert jobs[1].lines == ["terminated; the same command goes on from here"]
    [line] = jobs[0].lines
    assert line.startswith("process 1 on ")
    assert line.endswith("ended: terminated; the same command goes on from here")
    # Process 0 alone sees that the directory is another experiment's.
    jobs = house.start("alone", 2, "--seed=1")
    assert [job.wait() for job in jobs] == [2, 2]
    assert "holds another run: seed: 0 on disk, 1 asked" in jobs[0].text
    assert jobs[0].text.startswith("error: ")
    assert "run: seed: 0" in jobs[1].lines[-1]
    assert_same(content(house.population("alone")), alone)


def test_processes_that_do_not_meet_say_so(house):
    def start(i, port):
        job = (f"--coordinator=localhost:{port}", "--num_processes=2")
        return house.start("never", 1, *job, f"--process_id={i}", "--start_seconds=1")

    [absent, free] = slurm.free_ports(2)
    with slurm.socket.create_server(("", 0)) as server:
        taken = server.getsockname()[1]
        jobs = [*start(1, absent), *start(0, free), *start(0, taken), *start(1, taken)]
        statuses = [job.wait() for job in jobs]
    messages = (
        f"coordinator localhost:{absent} is not reached (Connection refused) within 1 s"
        "; start process 0 there",
        "not all of the 2 processes came within 1 s; start each with --coordinator=",
        f"--coordinator=localhost:{taken}: process 0 cannot listen on port {taken} (",
        f"coordinator localhost:{taken} or another process did not answer within 1 s",
    )
    for job, message in zip(jobs, messages, strict=True):
        [line] = job.lines
        assert line.startswith(f"error: {message}")
    assert statuses == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("signum", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_a_process_that_waits_for_the_others(house, signum, status, word):
    [port] = slurm.free_ports(1)
    job = (f"--coordinator=localhost:{port}", "--num_processes=2", "--process_id=0")
    [waits] = house.start("waits", 1, *job)

    def listens():
        with slurm.socket.socket() as probe:
            return probe.connect_ex(("localhost", port)) == 0

    waits.until(listens)
    time.sleep(0.2)
    start = time.monotonic()
    waits.kill(signum)
    assert waits.wait() == status
    assert time.monotonic() - start < 5
    assert waits.lines == [f"{word}; the same command goes on from here"]


# Flags and clusters.


def parsed(*argv, **environment):
    """The job of arguments and variables."""
    return processes.job_of(arguments.parse(["population", "x", *argv]), environment)


def test_flags_name_a_job():
    job = parsed("--coordinator=a:1", "--process_id=2", "--num_processes=3")
    assert dataclasses.astuple(job) == ("a:1", 2, 3)


def test_one_process_is_no_job():
    assert parsed() is None
    job = ("--coordinator=a:1", "--process_id=0", "--num_processes=1")
    assert parsed(*job) is None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--process_id=0"], "--coordinator and --num_processes missing"),
        (["--coordinator=a:1", "--process_id=0"], "--num_processes missing; "),
        (["--coordinator=", "--process_id=0", "--num_processes=2"], "--coordinator mi"),
    ],
)
def test_an_incomplete_job_is_refused(argv, message):
    with pytest.raises(UserError, match=message):
        parsed(*argv)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("a", 0, 2), "--coordinator is 'a'; give HOST:PORT"),
        ((":80", 0, 2), "--coordinator is ':80'"),
        (("a:x", 0, 2), "--coordinator is 'a:x'"),
        (("a:0", 0, 2), "with a port from 1 to 65535"),
        (("a:65536", 0, 2), "with a port from 1 to 65535"),
        (("a:1", 0, 0), "--num_processes is 0; it must be at least 1"),
        (("a:1", 2, 2), "--process_id is 2; with --num_processes=2 it must be 0 to 1"),
        (("a:1", -1, 2), "--process_id is -1; "),
    ],
)
def test_a_wrong_job_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        processes.Job(*values)


def test_a_cluster_is_asked_where_several_tasks_run():
    asked = processes.Job()
    assert parsed(SLURM_STEP_NUM_TASKS="2") == asked
    assert parsed(OMPI_COMM_WORLD_SIZE="4") == asked
    assert parsed(TPU_WORKER_HOSTNAMES="a,b") == asked
    # A shell on machines held for later, one task, one worker.
    assert parsed(SLURM_NTASKS="8", SLURM_JOB_ID="1", SLURM_PROCID="0") is None
    assert parsed(SLURM_STEP_NUM_TASKS="1", SLURM_NTASKS="8") is None
    assert parsed(OMPI_COMM_WORLD_SIZE="1", TPU_WORKER_HOSTNAMES="a") is None
    job = ("--coordinator=a:1", "--process_id=0", "--num_processes=3")
    assert parsed(*job, SLURM_STEP_NUM_TASKS="2").num_processes == 3


def test_a_task_alone_on_its_node_has_all_devices():
    def ids(**environment):
        return processes._device_ids(environment)

    assert ids() == ids(SLURM_STEP_NUM_TASKS="3", SLURM_STEP_NUM_NODES="3") == []
    assert ids(SLURM_STEP_NUM_TASKS="4", SLURM_STEP_NUM_NODES="2") is None
    assert ids(JAX_LOCAL_DEVICE_IDS="1") is None


def test_one_process_has_no_ties():
    assert not storage.are_tied()
    assert storage.is_first()
    storage.barrier("nothing")
    storage.part()
    storage.leave(1, "nothing")
    assert not storage.are_tied()
