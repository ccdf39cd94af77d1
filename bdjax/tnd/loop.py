"""The one place that runs a solver: cases over devices, iterations in programs."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bdjax import telemetry, tree
from bdjax.tnd.config import Execution
from bdjax.types import CapacityError, PyTree

Progress = Callable[[int, int], None]
"""Called as ``progress(iterations_done, iterations_total)``."""

Shown = Progress | bool | None
"""A function to tell; True, or None on a terminal: show a bar; False: nothing."""

# Images of a program on a CPU, whose activations then stay in the cache: measured.
_CACHED = 400
_LOOK_EVERY = 20  # iterations between two looks at whether all cases are done


class Problem(Protocol):
    """One problem for every case (a candidate label, say), solved side by side.

    Hashable, with functions and settings only: equal problems share a compilation.
    Every leaf of cases and of a state has the K cases as leading axis.
    """

    @property
    def length(self) -> int:
        """Iterations, at most."""
        ...

    def init(self, cases: PyTree, shared: PyTree) -> Any:
        """State before the first iteration."""
        ...

    def step(self, i: jax.Array, state: Any, cases: PyTree, shared: PyTree) -> Any:
        """One iteration; ``i`` is its number, int32 scalar."""
        ...

    def done(self, state: Any) -> jax.Array:
        """Bool ``[K]``: cases whose state no longer changes."""
        ...


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

    Returns:
      The final state, NumPy, leading axis ``[K]`` as given.
    """
    count, batch = tree.count(cases), _batch(execution, cases, images)
    used = execution.local_devices()[:batch]
    mesh = jax.make_mesh((len(used),), ("cases",), (AxisType.Auto,), devices=used)
    stride = execution.stride
    if not stride:
        stride = 1 if used[0].platform == "cpu" else _LOOK_EVERY
    starts = range(0, count, batch)
    total, states = len(starts) * problem.length, []
    # Once: every iteration may be a program of its own.
    shared = jax.device_put(shared, NamedSharding(mesh, P()))
    for n, start in enumerate(starts):
        index = np.minimum(np.arange(start, start + batch), count - 1)
        some = jax.device_put(tree.index(cases, index), NamedSharding(mesh, P("cases")))
        state = _init(problem, mesh, some, shared)
        i = 0
        while i < problem.length:
            many = min(stride, problem.length - i)
            first = jnp.int32(i)
            state = _advance(problem, many, mesh, first, state, some, shared)
            looks = i // _LOOK_EVERY
            i += many
            if progress:
                progress(n * problem.length + i, total)
            if i // _LOOK_EVERY > looks and bool(problem.done(state).all()):
                break
        states.append(jax.device_get(state))
        if progress:
            progress((n + 1) * problem.length, total)
    return tree.index(tree.concatenate(states), slice(count))


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
      CapacityError: the device's memory is too small for a batch.
    """
    sizes = [_batch(execution, cases, images) for _, cases in problems]
    counts = [tree.count(cases) for _, cases in problems]
    lengths = [
        problem.length * -(-count // size)
        for (problem, _), count, size in zip(problems, counts, sizes, strict=True)
    ]
    states = []
    for n, (problem, cases) in enumerate(problems):
        before, total = sum(lengths[:n]), sum(lengths)

        def told(done: int, _: int, before: int = before, total: int = total) -> None:
            if progress:
                progress(before + done, total)

        try:
            state = solve(
                problem, cases, shared,
                execution=execution, images=images, progress=told,
            )  # fmt: skip
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise CapacityError(
                f"{sizes[n]} problems at once do not fit into the "
                "device's memory; set a smaller label_batch in tnd.Execution"
            ) from error
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


def _over_cases(mesh: Mesh, function: Callable, axes: tuple[P, ...]) -> Callable:
    # The loop's carry starts unsharded inside each shard's own cases.
    return jax.shard_map(
        function, mesh=mesh, in_specs=axes, out_specs=P("cases"), check_vma=False
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(problem: Problem, mesh: Mesh, cases: PyTree, shared: PyTree) -> Any:
    return _over_cases(mesh, problem.init, (P("cases"), P()))(cases, shared)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def _advance(
    problem: Problem,
    many: int,
    mesh: Mesh,
    first: jax.Array,
    state: Any,
    cases: PyTree,
    shared: PyTree,
) -> Any:
    def local(first, state, cases, shared):
        if many == 1:  # no loop at all, see Execution.stride
            return problem.step(first, state, cases, shared)
        return jax.lax.fori_loop(
            first,
            first + many,
            lambda i, state: problem.step(i, state, cases, shared),
            state,
        )

    axes = P(), P("cases"), P("cases"), P()
    return _over_cases(mesh, local, axes)(first, state, cases, shared)
