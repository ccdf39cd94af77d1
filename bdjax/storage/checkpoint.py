"""One orbax checkpoint for one tree of arrays; the only module that imports orbax.

A plain `AsyncCheckpointer` a directory, where `CheckpointManager` is the usual: both
write at the same speed, but a manager keeps its own list of steps, blind to the chunks
that other processes commit beside it.

Every array is stored with its CRC-32, since the bits of a trained weight are as good as
random: a flipped one would pass any check of the format. And every tree says whose it
is, since another one's checksums hold as well.
"""

import asyncio
import contextlib
import logging
import re
import weakref
import zlib
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath

from bdjax.storage.shield import hold_for_good, uninterrupted
from bdjax.types import PyTree, UserError

_absl_log = logging.getLogger("absl")


# Drops what orbax logs unless one debugs: errors reach us as exceptions.
_absl_log.addFilter(
    lambda record: (
        "orbax" not in Path(record.pathname).parts
        or _absl_log.isEnabledFor(logging.DEBUG)
    )
)


async def _all(coroutines: Iterable[Coroutine]) -> list:
    """Awaits all even if one fails, so that none outlives the event loop."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


class _HostArrays(ocp.type_handlers.NumpyHandler):
    """Writes NumPy arrays from whichever process holds them.

    Orbax's own handler writes them on process 0 only and silently nothing elsewhere,
    while here each process commits chunks of its own. Any orbax reads the result.
    """

    async def serialize(
        self, values: Sequence[np.ndarray], infos: Sequence[Any], args: Any = None
    ) -> list[ocp.future.Future]:
        del args
        return [
            ocp.future.CommitFutureAwaitingContractedSignals(
                _all(map(_write, values, infos)), name="bdjax_host_arrays"
            )
        ]

    async def deserialize(
        self, infos: Sequence[Any], args: Sequence[Any] | None = None
    ) -> list[np.ndarray]:
        args = args or [ocp.RestoreArgs()] * len(infos)
        read = super().deserialize
        pairs = zip(infos, args, strict=True)
        return [a for [a] in await _all(read([info], [arg]) for info, arg in pairs)]

    async def metadata(self, infos: Sequence[Any]) -> list[Any]:
        read = super().metadata
        return [m for [m] in await _all(read([info]) for info in infos)]


async def _write(value: np.ndarray, info: Any) -> None:
    """Writes one array to the place that orbax has planned for it."""
    base = {
        "driver": "file",
        "path": f"{info.parent_dir}/",
        # One writer, in a directory of its own: and not every cluster can lock.
        "file_io_locking": {"mode": "none"},
    }
    array = await ts.open(
        {
            "driver": "zarr",
            "kvstore": {"driver": "ocdbt", "base": base, "path": f"{info.name}/"},
            # Trained weights shrink by a twelfth; it is not worth the time.
            "metadata": {"compressor": None},
            # Orbax takes an absent array for a lost one, also where it is all zero.
            "store_data_equal_to_fill_value": True,
        },
        create=True,
        dtype=ts.dtype(value.dtype),
        shape=value.shape,
        chunk_layout=ts.ChunkLayout(chunk_shape=value.shape),
        context=info.ts_context,
    )
    await array.write(value, can_reference_source_data_indefinitely=True)


def _alone() -> ocp.options.MultiprocessingOptions:
    """This process reads and writes by itself, without barriers with the others."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"bdjax{me}"
    )


def _handler() -> ocp.PyTreeCheckpointHandler:
    registry = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, _HostArrays())
    )
    return ocp.PyTreeCheckpointHandler(
        multiprocessing_options=_alone(), type_handler_registry=registry
    )


def _map(fn: Callable, tree: PyTree, path: tuple[str, ...] = ()) -> PyTree:
    """Maps `fn(path, leaf)` over nested dicts in their own order (JAX would sort)."""
    if isinstance(tree, dict):
        return {key: _map(fn, child, (*path, key)) for key, child in tree.items()}
    return fn(path, tree)


def _host_copy(path: tuple[str, ...], leaf: Any) -> np.ndarray:
    """Copies a leaf to the host: it may be donated or changed during the save."""
    name = ".".join(map(str, path)) or "the tree"
    if not all(isinstance(key, str) and re.fullmatch(r"[^./]+", key) for key in path):
        raise UserError(
            f"cannot store {name}: keys must be strings, not empty, without '.' and '/'"
        )
    if not isinstance(leaf, np.ndarray | np.generic | jax.Array | int | float):
        raise UserError(
            f"cannot store {name}: {type(leaf).__name__} is not an array; a stored "
            "tree is nested dicts of arrays"
        )
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raise UserError(f"cannot store {name}: a key; store jax.random.key_data of it")
    array = np.array(leaf, order="C")
    if array.size == 0:
        raise UserError(f"cannot store {name}: it is empty, shape {array.shape}")
    if array.dtype.kind in "OSUMm":
        raise UserError(
            f"cannot store {name}: dtype {array.dtype}; use numbers or bool"
        )
    return array


def _entry(path: tuple[str, ...], array: np.ndarray) -> list:
    """What must be found again for a leaf: its dtype, shape and CRC-32."""
    del path
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return [array.dtype.name, list(array.shape), zlib.crc32(data)]


_writers: "weakref.WeakSet[Writer]" = weakref.WeakSet()


class Writer:
    """Commits trees to disk in the background, one at a time."""

    def __init__(self) -> None:
        _writers.add(self)
        self._checkpointer = ocp.AsyncCheckpointer(
            _handler(),
            # If it failed in the background, orbax's threads would wait minutes for it.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            multiprocessing_options=_alone(),
        )

    @uninterrupted()
    def save(self, path: Path, tree: PyTree, *, owner: str) -> None:
        """Copies `tree` and begins to commit it; waits for the save before it.

        Args:
          path: the directory to make; it appears, whole, when the save is done.
          tree: nested dicts of arrays of any shape and number dtype or bool.
          owner: whose it is; `read_tree` asks for it.

        Raises:
          UserError: `tree` is not of that form.
          Exception: whatever orbax raised over this save or the one before.
        """
        arrays = _map(_host_copy, tree)
        if not (isinstance(arrays, dict) and jax.tree.leaves(arrays)):
            raise UserError("cannot store this tree: it is not nested dicts of arrays")
        about = {"owner": owner, "layout": _map(_entry, arrays)}
        self._checkpointer.save(
            path.absolute(), args=ocp.args.PyTreeSave(arrays, custom_metadata=about)
        )

    @uninterrupted()
    def wait(self) -> None:
        """Waits until the last save is committed; raises what orbax raised over it."""
        self._checkpointer.wait_until_finished()

    @uninterrupted()
    def close(self) -> None:
        """Waits, and frees the threads."""
        self._checkpointer.close()


def settle() -> None:
    """Finishes the commit in flight and lets no other begin; from any thread.

    For a process that is about to end. What cannot be written is not told: it is to be
    made again anyhow.
    """
    hold_for_good()
    for writer in list(_writers):
        with contextlib.suppress(Exception):
            writer.wait()


@uninterrupted()
def _restore(path: Path, owner: str) -> PyTree:
    """Reads a tree and compares its owner, and every leaf with its entry."""
    handler = _handler()
    # Asked of the handler, because a checkpointer makes None of what it cannot read.
    about = handler.metadata(epath.Path(path)).custom_metadata
    if not (about and about.get("layout") and isinstance(about.get("owner"), str)):
        raise ValueError("its layout or owner is missing")
    if about["owner"] != owner:
        raise ValueError(f"it belongs to {about['owner']}, not to {owner}")
    layout = about["layout"]
    as_numpy = _map(lambda *_: ocp.RestoreArgs(restore_type=np.ndarray), layout)
    with ocp.Checkpointer(handler, multiprocessing_options=_alone()) as checkpointer:
        restored = checkpointer.restore(
            path, args=ocp.args.PyTreeRestore(restore_args=as_numpy)
        )

    def checked(keys: tuple[str, ...], entry: list) -> np.ndarray:
        array = restored
        for key in keys:
            array = array[key]
        if _entry(keys, array) != entry:
            raise ValueError(f"{'.'.join(keys)} is not what was saved")
        return array

    return _map(checked, layout)


def read_tree(path: Path, *, owner: str, what: str, fix: str) -> PyTree:
    """Reads what `Writer.save` committed, on any number of devices and processes.

    Args:
      path: the directory of the checkpoint.
      owner: whose it must be.
      what: what it holds, to name it in an error.
      fix: what the user can do where it is damaged.

    Returns:
      Nested dicts of NumPy arrays: keys in the order, and leaves with the dtypes,
      shapes and bits, that were saved.

    Raises:
      UserError: something of it is missing or altered, or it is another's.
    """
    try:
        return _restore(path.absolute(), owner)
    except MemoryError:
        raise
    except Exception as error:  # Orbax, tensorstore and json raise a dozen kinds.
        raise UserError(
            f"{what} in {path} is damaged ({reason(error)}); {fix}"
        ) from error


@contextlib.contextmanager
def writing(what: str, path: Path) -> Iterator[None]:
    """Turns whatever orbax and the disk raise while `what` is written into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{what} could not be written to {path} ({reason(error)}); check free "
            "space and permissions and run again"
        ) from error


def reason(error: Exception) -> str:
    """Makes one short line of an exception."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    text = re.sub(r" \[(source locations|tensorstore_spec|os_error_code)=.*", "", text)
    # Tensorstore says what it was doing, then (last) what went wrong.
    return text if len(text) <= 160 else f"{text[:60]} ... {text[-90:]}"
