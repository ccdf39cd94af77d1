"""The processes of one job, as `jax.distributed` knows them; one without it."""

import concurrent.futures
import contextlib
import json
import os
import platform
import threading
import time
import zlib
from collections.abc import Callable

import jax
import orbax.checkpoint as ocp

from bdjax.types import UserError

_PATIENCE_SECONDS = 7 * 24 * 3600  # a process may have many more chunks to train
_POLL_SECONDS = 0.5
_LEFT = "bdjax left"  # the key under which the first to end early says why

_parted = threading.Event()


def is_first() -> bool:
    """Whether this process acts for all."""
    return jax.process_index() == 0


def are_tied() -> bool:
    """Whether this is one of several processes that have not parted yet."""
    return (
        ocp.multihost.is_jax_distributed_client_initialized()
        and jax.process_count() > 1
        and not _parted.is_set()
    )


def share(chunks: range, name: str) -> list[int]:
    """Those of a population's chunks that this process trains.

    Every name begins at another process, so that small populations spread.

    Args:
      chunks: all that are wanted.
      name: the population's, the same in all processes.
    """
    first = zlib.crc32(name.encode())
    index, count = jax.process_index(), jax.process_count()
    return [n for n in chunks if (n + first) % count == index]


def barrier(name: str) -> None:
    """Returns once every process of the job is here; at once where there is one.

    Waits on the coordination service, not on a device, so that it works on any
    backend and for as long as the slowest process trains.

    Args:
      name: of the place, the same in all processes.

    Raises:
      UserError: the others did not come.
    """
    if not are_tied():
        return
    everyone = set(range(jax.process_count()))
    sync = ocp.multihost.get_barrier_sync_fn(processes=everyone)
    met: concurrent.futures.Future[None] = concurrent.futures.Future()

    def wait() -> None:
        try:
            met.set_result(
                sync(key=f"bdjax {name}", timeout_ms=_PATIENCE_SECONDS * 1000)
            )
        except BaseException as error:
            met.set_exception(error)

    # Not in this thread: no signal ends a wait inside JAX.
    threading.Thread(target=wait, daemon=True).start()
    try:
        met.result()
    except jax.errors.JaxRuntimeError as error:
        text = str(error).splitlines()[0]
        raise UserError(
            f"the processes did not meet at {name!r} ({text}); run again"
        ) from error


def part() -> None:
    """Ends the job's ties, at its end: all call this together, and may exit then.

    Without it JAX makes the first to exit wait five minutes for the last, then fails.

    Raises:
      UserError: the others did not come.
    """
    if not are_tied():
        return
    barrier("part")
    _parted.set()
    jax.distributed.shutdown()


def leave(status: int, why: str) -> None:
    """Tells the others that this process ends early; call it right before it does.

    Process 0, whose end ends theirs, stays a moment for them to hear it.

    Args:
      status: the exit status that they should end with.
      why: a few words.
    """
    if not are_tied():
        return
    _parted.set()
    me = f"process {jax.process_index()} on {platform.node()}"
    client = ocp.multihost.get_jax_distributed_client()
    with contextlib.suppress(Exception):  # another was first
        client.key_value_set(_LEFT, json.dumps([status, f"{me} ended: {why}"]))
    if is_first():
        time.sleep(4 * _POLL_SECONDS)


def watch(ended: Callable[[int, str], None]) -> None:
    """Listens in a thread for another process to `leave`.

    One that is killed cannot say so; JAX ends the others when it misses its heartbeat.

    Args:
      ended: called once as `ended(status, why)`. This process is ended by force where
        it has not done so a minute later.
    """
    client = ocp.multihost.get_jax_distributed_client()

    def listen() -> None:
        while not _parted.wait(_POLL_SECONDS):
            try:
                status, why = json.loads(client.key_value_try_get(_LEFT))
            except jax.errors.JaxRuntimeError:  # not there, or JAX is about to end us
                continue
            ended(status, why)
            time.sleep(60)
            os._exit(status)

    threading.Thread(target=listen, daemon=True).start()
