"""Several processes and hosts: ``jax.distributed`` from options or from the cluster."""

import argparse
import dataclasses
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

import jax

from bdjax import checks, storage
from bdjax.types import UserError

# Where a launcher says how many tasks really run side by side. Slurm's own
# SLURM_NTASKS also stands in a shell that merely holds the machines.
_COUNTS = {"Slurm": "SLURM_STEP_NUM_TASKS", "Open MPI": "OMPI_COMM_WORLD_SIZE"}
_TPU_HOSTS = "TPU_WORKER_HOSTNAMES"
_MORE_SECONDS = 60  # JAX aborts with a stack trace where we end with a line

_meeting = threading.Event()  # the others cannot be told anything yet


@dataclasses.dataclass(frozen=True)
class Job:
    """Which of how many processes this is.

    Attributes:
      coordinator: ``HOST:PORT`` of process 0, the same in all; empty asks the cluster.
      process_id: of this process, from 0.
      num_processes: how many there are.
    """

    coordinator: str = ""
    process_id: int = 0
    num_processes: int = 0

    def __post_init__(self):
        if not self.coordinator:
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65536:
            raise UserError(
                f"--coordinator is {self.coordinator!r}; give HOST:PORT of process 0, "
                "with a port from 1 to 65535"
            )
        checks.at_least(1, **{"--num_processes": self.num_processes})
        if not 0 <= self.process_id < self.num_processes:
            raise UserError(
                f"--process_id is {self.process_id}; with --num_processes="
                f"{self.num_processes} it must be 0 to {self.num_processes - 1}"
            )


def job_of(options: argparse.Namespace, environment: Mapping[str, str]) -> Job | None:
    """The job that the options or the cluster's variables describe, None for no job.

    Raises:
      UserError: the options are at fault.
    """
    names = ("coordinator", "process_id", "num_processes")
    if not hasattr(options, "coordinator"):
        return None  # a command that runs alone
    given: dict[str, Any] = {name: getattr(options, name) for name in names}
    missing = [f"--{name}" for name, value in given.items() if value in (None, "")]
    if missing and len(missing) < len(names):
        raise UserError(
            f"{' and '.join(missing)} missing; --coordinator, --process_id and "
            "--num_processes go together"
        )
    if not missing:
        job = Job(**given)
        return job if job.num_processes > 1 else None
    counts = [environment.get(name, "") for name in _COUNTS.values()]
    hosts = environment.get(_TPU_HOSTS, "").split(",")
    many = len(hosts) > 1 or any(c.isdecimal() and int(c) > 1 for c in counts)
    return Job() if many else None


def start(job: Job, options: argparse.Namespace) -> None:
    """Joins the processes; must come before JAX's backend starts.

    Ends the process with one line where they do not all come: JAX itself would abort.

    Raises:
      UserError: this is process 0 and its port is taken.
    """
    limit = options.start_seconds
    if job.coordinator and job.process_id == 0:
        _check_port(job)
    # JAX would take SIGTERM for itself and only note it.
    jax.config.update("jax_enable_preemption_service", False)
    _meeting.set()
    timer = threading.Timer(limit, _give_up, [job, limit])
    timer.daemon = True
    timer.start()
    jax.distributed.initialize(
        job.coordinator or None,
        job.num_processes or None,
        job.process_id if job.coordinator else None,
        local_device_ids=_device_ids(os.environ),
        initialization_timeout=limit + _MORE_SECONDS,
        heartbeat_timeout_seconds=options.heartbeat_seconds,
    )
    jax.local_devices()  # here too each waits for all
    timer.cancel()
    _meeting.clear()
    storage.watch(_end_too)


def _device_ids(environment: Mapping[str, str]) -> list[int] | None:
    """All local devices, unless Slurm runs several tasks on a machine.

    JAX's own choice under Slurm is one device a task, which would leave all but one
    idle where a task has the machine to itself.
    """
    if environment.get("JAX_LOCAL_DEVICE_IDS"):
        return None
    tasks = environment.get("SLURM_STEP_NUM_TASKS")
    if tasks and tasks != environment.get("SLURM_STEP_NUM_NODES"):
        return None
    return []


def _check_port(job: Job) -> None:
    """Binds the port for a moment: JAX crashes where it is taken."""
    port = int(job.coordinator.rpartition(":")[2])
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        raise UserError(
            f"--coordinator={job.coordinator}: process 0 cannot listen on port {port} "
            f"({error.strerror}); choose another port"
        ) from error


def _give_up(job: Job, limit: int) -> None:
    """Says why the processes did not meet, and ends this one."""
    if not job.coordinator:
        why = "the processes that the cluster started did not all meet"
        fix = "see the log of the others, or give --coordinator"
    elif job.process_id == 0:
        why = f"not all of the {job.num_processes} processes came"
        fix = f"start each with --coordinator={job.coordinator} and its --process_id"
    else:
        why = f"coordinator {job.coordinator} or another process did not answer"
        fix = "start all processes, and check the address and the firewall"
        try:
            host, _, port = job.coordinator.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except OSError as error:
            why = f"coordinator {job.coordinator} is not reached ({error.strerror})"
            fix = "start process 0 there, and check the address and the firewall"
    print(f"error: {why} within {limit} s; {fix}", file=sys.stderr, flush=True)
    os._exit(2)


_heard: list[tuple[int, str]] = []


def _end_too(status: int, why: str) -> None:
    """Another process has ended early: this one does as at a SIGTERM."""
    _heard.append((status, why))
    os.kill(os.getpid(), signal.SIGTERM)


def ending(status: int, why: str) -> tuple[int, str]:
    """Why this process ends early, for it may be that another did; tells the others.

    Args:
      status: exit status, were it this one's own end.
      why: a few words.

    Returns:
      The exit status and the words to print.
    """
    if _heard:
        status, why = _heard[0]
    if not _meeting.is_set():
        storage.leave(status, why)
    return status, why
