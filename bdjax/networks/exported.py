"""Files of ``jax.export``, told by what is in them, whatever they are called."""

import dataclasses
import mmap
import os
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jax.custom_batching import sequential_vmap

from bdjax.networks import functions, weights
from bdjax.networks.base import Apply, Given, Opened, no_features
from bdjax.types import PyTree, UserError

_ENDINGS = (".jax", ".jaxexport", ".jaxexp")
_MAGIC = b"ML\xefR"  # MLIR's bytecode, which is in the middle of such a file
_DIALECT = b"StableHLO_v"
_CALLBACK = re.compile(rb"xla_\w*python\w*callback")
_HOW = "export.export(jax.jit(f))(x).serialize(vjp_order=1)"


def recognises(source: Any) -> bool:
    """A file with a serialised StableHLO program, or with such an ending."""
    if not isinstance(source, str | os.PathLike):
        return False
    path = Path(source)
    if not path.is_file():
        return False
    return path.suffix in _ENDINGS or _has_program(path)


def _has_program(path: Path) -> bool:
    """Whether the file, no archive, has StableHLO's bytecode in it."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = data.find(_MAGIC)
            return start >= 0 and data.find(_DIALECT, start, start + 64) >= 0


def open(source: Any, given: Given) -> Opened:
    """Opens it; see :func:`bdjax.networks.open_network`."""
    path = Path(source)
    exported = _read(path)
    variables, x = _arguments(path, exported, given)
    # Sizes that are free are symbols.
    batch, *sizes = (size if isinstance(size, int) else None for size in x.shape)
    shape = tuple(size for size in sizes if size is not None)
    call = _call(exported, x)
    if batch is not None:
        call = _in_batches(call, batch)
    opened = functions.jax_function(
        path.name,
        call,
        variables,
        kind="jax.export program",
        shapes=given.shapes if None in sizes else (shape,),
        shape=tuple(sizes),
        weights=weights.named(variables) if variables else None,
    )
    closed = "a program of jax.export is closed: its layers cannot be seen"
    opened = dataclasses.replace(
        opened, find_features=lambda shape, layer: no_features(closed)
    )
    if exported.has_vjp():
        return opened
    note = f"it only answers: the file has no gradients; write it by {_HOW}"
    return dataclasses.replace(opened, apply=None, notes=(*opened.notes, note))


def _read(path: Path) -> export.Exported:
    """What is in a file, if it is safe and for this device."""
    try:
        exported = export.deserialize(bytearray(path.read_bytes()))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}; check the path"
        ) from error
    except Exception as error:  # whatever the bytes of another file make of it
        raise UserError(
            f"{path} is no program of jax.export, or one of a newer JAX "
            f"({functions.brief(error) or type(error).__name__}); write it by {_HOW}"
        ) from error
    # A callback is an address in the memory of the process that exported it.
    programs = [exported, *([exported.vjp()] if exported.has_vjp() else [])]
    if any(_CALLBACK.search(one.mlir_module_serialized) for one in programs):
        raise UserError(f"{path} calls back into Python; export it without callbacks")
    platform = jax.default_backend()
    names = {"gpu": {"cuda", "rocm"}}.get(platform, {platform})
    if not names & set(exported.platforms):
        raise UserError(
            f"{path} is exported for {', '.join(exported.platforms)}, and this is "
            f"{platform}; export it with platforms=('cpu', 'cuda', 'tpu')"
        )
    if exported.nr_devices != 1:
        raise UserError(
            f"{path} is exported for {exported.nr_devices} devices; export it for one"
        )
    return exported


def _arguments(
    path: Path, exported: export.Exported, given: Given
) -> tuple[PyTree, Any]:
    """The variables that it is called with, and what it says of its inputs."""
    args, kwargs = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    leaves = jax.tree.leaves(args[-1]) if args else []
    if kwargs or len(args) not in (1, 2) or len(leaves) != 1:
        raise UserError(
            f"{path} takes {len(exported.in_avals)} arrays; export a function of x, or "
            "of (variables, x)"
        )
    (x,) = leaves
    if not x.shape or not jnp.issubdtype(x.dtype, jnp.floating):
        raise UserError(
            f"{path} takes {x.dtype} {x.shape}; export it for float32 [N, ...]"
        )
    if len(args) == 1:
        given.check_alone(path)
        return {}, x
    if given.weights is not None:
        arrays = weights.read(given.weights)
        return weights.fitted(arrays, args[0], given.weights), x
    if given.variables is None:
        raise UserError(
            f"{path} is a function of (variables, x); give its weights, a .safetensors "
            "file"
        )
    return given.variables, x


def _call(exported: export.Exported, x: Any) -> Apply:
    """The program as a function that can be mapped over and differentiated once."""

    def once(variables: PyTree, inputs: jax.Array) -> jax.Array:
        inputs = inputs.astype(x.dtype)
        args = (variables, inputs) if variables else (inputs,)
        return functions.answer_of(exported.call(*args), len(inputs), "the program")

    def pull(variables: PyTree, inputs: jax.Array, cotangent: jax.Array) -> PyTree:
        return jax.vjp(once, variables, inputs)[1](cotangent)

    # An exported program cannot be batched otherwise.
    mapped, pulled = sequential_vmap(once), sequential_vmap(pull)
    call = jax.custom_vjp(lambda variables, inputs: mapped(variables, inputs))
    call.defvjp(
        lambda variables, inputs: (mapped(variables, inputs), (variables, inputs)),
        lambda kept, cotangent: pulled(*kept, cotangent),
    )
    return call


def _in_batches(call: Apply, size: int) -> Apply:
    """A program of one batch size for any number of inputs."""

    def apply(variables: PyTree, x: jax.Array) -> jax.Array:
        count = -(-len(x) // size)
        widths = [(0, count * size - len(x)), *[(0, 0)] * (x.ndim - 1)]
        blocks = jnp.pad(x, widths, "edge").reshape(count, size, *x.shape[1:])
        answers = jax.lax.map(lambda block: call(variables, block), blocks)
        return answers.reshape(count * size, *answers.shape[2:])[: len(x)]

    return apply
