"""Populations: chunk after chunk of models trained and committed."""

import collections
import dataclasses
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import prng, storage, tree
from bdjax.engine import Note, halved
from bdjax.population.bank import prepare_bank
from bdjax.population.batching import FIX, choose_width
from bdjax.population.examples import Examples
from bdjax.population.judge import Quality
from bdjax.population.model_files import trigger_dict
from bdjax.population.recipe import Execution, chunk_size_for
from bdjax.population.spec import PopulationSpec
from bdjax.population.train import Shared, share, train_shared
from bdjax.types import PyTree, UserError

Callback = Callable[[int, Quality | None], None]

_POLL_SECONDS = 0.02


def train_population(
    directory: str | os.PathLike[str],
    spec: PopulationSpec,
    ids: range,
    *,
    examples: Examples,
    subset_N: np.ndarray,
    test_N: np.ndarray,
    provenance: dict[str, Any],
    execution: Execution,
    callback: Callback | None = None,
    note: Note = print,
) -> None:
    """Trains those of the models ``ids`` that are not on disk yet.

    Memory is bounded by the chunk, not by the population. A kill loses at most the
    chunks in flight; calling it again goes on from there. Under ``jax.distributed``
    every process trains chunks of its own, and all return once all are committed.

    Args:
      directory: the population's own directory, made where missing.
      spec: what to train.
      ids: which models, a range of step 1. Other ids than before extend the
        population, and must adjoin or overlap those that it has.
      examples: the data set, NumPy or on the device.
      subset_N: int, rows of ``examples`` to train on.
      test_N: int, rows of ``examples`` to judge on.
      provenance: JSON that identifies data and split; part of the manifest.
      execution: chunks, width, devices. A population keeps the chunk size that it
        was begun with.
      callback: called as ``callback(models, quality)`` after every chunk of this
        process, with ``quality`` None for a chunk that was already there.
      note: told, in one sentence, what the user should know.

    Raises:
      UserError: the directory is another population's (the field that differs is
        named), is not one of ours, another job is writing to it, a chunk cannot be
        written, or one model does not fit into the device's memory.
    """
    if not ids or ids.step != 1 or ids.start < 0:
        raise UserError(
            f"{spec.name}: asked for models {ids}; ask for 1 or more, from 0 on, in "
            "steps of 1"
        )
    recipe = {**spec.to_dict(), **provenance}
    recipe["chunk_size"] = _chunk_size(directory, execution, ids)
    with storage.open_population(directory, recipe, ids) as store:
        size = store.recipe["chunk_size"]  # as the first process chose
        mine = storage.share(store.chunks_of(ids), spec.name)
        done = set(store.committed())

        def finish(n: int, chunk: dict[str, Any] | None) -> None:
            # A chunk's ends may not have been asked for.
            first, stop = max(ids.start - n * size, 0), min(ids.stop - n * size, size)
            quality = None
            if chunk is not None:
                store.save(n, chunk)
                quality = Quality(**tree.index(chunk["quality"], slice(first, stop)))
            if callback:
                callback(stop - first, quality)

        for n in filter(done.__contains__, mine):
            finish(n, None)
        bank = prepare_bank(store, spec, examples, subset_N)
        if todo := [n for n in mine if n not in done]:
            parts = spec.network, spec.attack, spec.recipe
            width = choose_width(
                *parts, examples, chunk_size=size, execution=execution,
                trained=len(subset_N), bank=bank,
            )  # fmt: skip
            execution = dataclasses.replace(execution, width=width)
            shared = share(
                *parts, subset_N, test_N, examples, execution=execution, bank=bank
            )
            train = functools.partial(_train_chunk, spec, size, shared)
            _train_chunks(train, todo, finish, execution, note)
        store.wait()
        storage.barrier(f"trained {directory}")


def _train_chunk(
    spec: PopulationSpec, size: int, shared: Shared, n: int, execution: Execution
) -> PyTree:
    """Trains chunk ``n`` of ``size`` models; what a chunk on disk holds."""
    ids = jnp.arange(n * size, (n + 1) * size)
    keys = prng.model_keys(prng.stream(prng.root(spec.seed), spec.name), ids)
    variables, triggers, quality = train_shared(
        spec.network, spec.attack, spec.recipe, keys, shared,
        execution=execution, control=spec.control,
    )  # fmt: skip
    return {
        "ids": ids,
        "variables": variables,
        "triggers": trigger_dict(triggers),
        "quality": quality._asdict(),
    }


def _train_chunks(
    train: Callable[[int, Execution], PyTree],
    todo: list[int],
    finish: Callable[[int, dict[str, Any]], None],
    execution: Execution,
    note: Note,
) -> None:
    """Trains chunks in order, an accelerator's next one queued before one is fetched.

    Where memory runs out, goes on with half the width.
    """
    ahead = 1 if execution.local_devices()[0].platform == "cpu" else 2
    waiting = collections.deque(todo)
    flying: collections.deque[tuple[int, PyTree]] = collections.deque()
    while waiting or flying:
        try:
            while waiting and len(flying) < ahead:
                flying.append((waiting[0], train(waiting[0], execution)))
                waiting.popleft()
            chunk = _fetch(flying[0][1])
        except jax.errors.JaxRuntimeError as error:
            width = halved(execution.width, error, note, FIX)
            execution = dataclasses.replace(execution, width=width)
            waiting.extendleft(n for n, _ in reversed(flying))
            flying.clear()
            continue
        finish(flying.popleft()[0], chunk)


def _fetch(chunk: PyTree) -> PyTree:
    """The chunk as NumPy, once it is trained.

    Polls, because a signal cannot end a wait inside JAX: Ctrl-C and SIGTERM would
    have to sit out the chunk.
    """
    pause = 0.0005
    for leaf in jax.tree.leaves(chunk):
        while not leaf.is_ready():
            time.sleep(pause)
            pause = min(2 * pause, _POLL_SECONDS)
    return jax.device_get(chunk)


def _chunk_size(
    directory: str | os.PathLike[str], execution: Execution, ids: range
) -> int:
    try:
        return storage.read_population(directory).recipe["chunk_size"]
    except (UserError, KeyError):  # new, or damaged: opening it will say
        if execution.chunk_size:
            return execution.chunk_size
        devices = execution.local_devices()
        cpu = devices[0].platform == "cpu"
        return chunk_size_for(len(ids), len(devices), cpu=cpu)
