"""The one place that runs a solver: cases over devices, iterations in programs."""

import abc
import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import engine, telemetry, tree
from bdjax.tnd.config import Execution
from bdjax.types import PyTree

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)``, iterations of all batches together."""

Shown = Progress | bool | None
"""A function to tell; True, or None on a terminal: show a bar; False: nothing."""

# Images of a program on a CPU, whose activations then stay in the cache: measured.
_CACHED = 400
_LOOK_EVERY = 20  # iterations between two looks at whether all cases are done
_FIX = "set a smaller label_batch in tnd.Execution, or give fewer images"


class Problem(abc.ABC):
    """One problem for every case (a candidate label, say), solved side by side.

    Hashable, with functions and settings only: equal problems share a compilation.
    Every leaf of cases and of a state has the K cases as leading axis.

    Attributes:
      length: iterations, at most.
    """

    length: Any

    @abc.abstractmethod
    def init(self, cases: PyTree, shared: PyTree) -> Any:
        """State before the first iteration."""

    @abc.abstractmethod
    def step(self, i: jax.Array, state: Any, cases: PyTree, shared: PyTree) -> Any:
        """One iteration; ``i`` is its number, int32 scalar."""

    def done(self, state: Any) -> jax.Array:
        """Bool ``[K]``: cases whose state no longer changes; by default none."""
        return jnp.zeros(tree.count(state), bool)


@contextlib.contextmanager
def telling(progress: Shown, description: str) -> Iterator[Progress]:
    """What to tell of progress, as a detector's caller wishes."""
    if callable(progress):
        yield progress
        return
    with telemetry.reporter(
        description, unit="iterations", enabled=progress
    ) as reported:
        yield reported


def solve(
    problem: Problem,
    cases: PyTree,
    shared: PyTree,
    *,
    execution: Execution,
    images: int = 1,
    progress: Progress | None = None,
    note: engine.Note = print,
) -> Any:
    """Iterates a problem to its end.

    Args:
      problem: what to solve.
      cases: what the problems differ in, NumPy, leading axis ``[K]``; padded here to
        whole batches.
      shared: arrays that all cases see, such as variables and images.
      execution: batches, devices and stride.
      images: that a case asks the network at every iteration.
      progress: told after every program; iterations of all batches together.
      note: told where batches are halved, as memory ran out.

    Returns:
      The final state, NumPy, leading axis ``[K]`` as given.

    Raises:
      CapacityError: the devices' memory is too small for one case each.
    """
    count, batch = tree.count(cases), _batch(execution, cases, images)
    total = -(-count // batch) * problem.length
    devices = execution.local_devices()[:batch]
    width, states, start = batch // len(devices), [], 0
    layout = engine.Layout(tuple(devices))
    # Once: every iteration may be a program of its own.
    shared = layout.everywhere(shared)
    while start < count:
        size = width * len(devices)
        some = tree.index(cases, np.minimum(np.arange(start, start + size), count - 1))
        here = min(size, count - start)

        def told(i: int, start: int = start, here: int = here) -> None:
            share = (start * problem.length + here * i) / (count * problem.length)
            assert progress is not None
            progress(int(share * total + 1e-9), total)

        try:
            state = _solve_batch(
                problem, layout, some, shared, execution, told if progress else None
            )
            states.append(state)
        except jax.errors.JaxRuntimeError as error:
            width = engine.halved(width, error, note, _FIX)
        else:
            start += size
    return tree.index(tree.concatenate(states), slice(count))


def _solve_batch(
    problem: Problem,
    layout: engine.Layout,
    cases: PyTree,
    shared: PyTree,
    execution: Execution,
    told: Callable[[int], None] | None,
) -> Any:
    cases = layout.spread(cases)
    is_cpu = layout.devices[0].platform == "cpu"
    stride = execution.stride or (1 if is_cpu else _LOOK_EVERY)
    state, i = _init(problem, layout, cases, shared), 0
    while i < problem.length:
        many = min(stride, problem.length - i)
        state = _advance(problem, many, layout, jnp.int32(i), state, cases, shared)
        looks = i // _LOOK_EVERY
        i += many
        if told:
            jax.block_until_ready(state)  # told of what is computed, not under way
            told(i)
        if i // _LOOK_EVERY > looks and bool(problem.done(state).all()):
            break
    if told:
        told(problem.length)
    return jax.device_get(state)


def solve_all(
    problems: list[tuple[Problem, PyTree]],
    shared: PyTree,
    *,
    execution: Execution,
    images: int = 1,
    progress: Progress | None = None,
) -> list[Any]:
    """:func:`solve` one problem and its cases after the other, under one progress.

    Raises:
      CapacityError: as :func:`solve`.
    """
    lengths = [
        -(-tree.count(cases) // _batch(execution, cases, images)) * problem.length
        for problem, cases in problems
    ]
    states = []
    for n, (problem, cases) in enumerate(problems):

        def told(done: int, _: int, before: int = sum(lengths[:n])) -> None:
            assert progress is not None
            progress(before + done, sum(lengths))

        state = solve(
            problem, cases, shared, execution=execution, images=images,
            progress=told if progress else None,
        )  # fmt: skip
        states.append(state)
    return states


def _batch(execution: Execution, cases: PyTree, images: int) -> int:
    """Cases of a program: whole devices' worth."""
    count, devices = tree.count(cases), execution.local_devices()
    batch = min(execution.label_batch or count, count)
    if not execution.label_batch and devices[0].platform == "cpu":
        parts = max(1, round(count * images / _CACHED))
        batch = max(1, -(-count // parts))
    used = min(len(devices), batch)
    return -(-batch // used) * used


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(
    problem: Problem, layout: engine.Layout, cases: PyTree, shared: PyTree
) -> Any:
    return layout.shard(problem.init, cases, shared)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def _advance(
    problem: Problem,
    many: int,
    layout: engine.Layout,
    first: jax.Array,
    state: Any,
    cases: PyTree,
    shared: PyTree,
) -> Any:
    def local(mapped, shared):
        (state, cases), (first, shared) = mapped, shared
        if many == 1:  # no loop at all, see Execution.stride
            return problem.step(first, state, cases, shared)
        return jax.lax.fori_loop(
            first,
            first + many,
            lambda i, state: problem.step(i, state, cases, shared),
            state,
        )

    return layout.shard(local, (state, cases), (first, shared))
