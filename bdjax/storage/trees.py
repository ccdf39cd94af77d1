"""Arrays replaced as a whole: a tree with its JSON, such as a fitted detector.

And single files of named arrays in the safetensors format, which any framework reads.
"""

import contextlib
import os
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from bdjax.storage import checkpoint, files
from bdjax.storage.shield import uninterrupted
from bdjax.types import PyTree, UserError

_SCHEMA = 2
_META = "meta.json"
_TREE = re.compile(r"tree-(\d+)(\..*)?")


@uninterrupted()
def save_tree(
    directory: str | os.PathLike[str],
    tree: PyTree,
    meta: dict[str, Any],
    *,
    kind: str,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Writes a tree and its JSON; a kill at any moment leaves the old pair or the new.

    Args:
      directory: missing, empty, or written by this function with the same `kind`.
      tree: nested dicts of arrays (JAX or NumPy) of any shape, numbers or bool.
      meta: what `files.json_text` takes.
      kind: says what the directory holds; `load_tree` asks for it.
      provenance: what it was made from, likewise JSON.

    Raises:
      UserError: the directory holds something else, the tree something else than
        arrays, or the place cannot be written.
    """
    directory = Path(directory)
    files.refuse_foreign(directory, what=kind, sign=_META, ours=_TREE.fullmatch)
    if (directory / _META).exists():
        _read_meta(directory, kind)
    # The new tree stands beside the old; replacing the JSON that points is the commit.
    old = {p: m for p in directory.glob("tree-*") if (m := _TREE.fullmatch(p.name))}
    name = f"tree-{1 + max((int(m[1]) for m in old.values()), default=0)}"
    provenance = files.as_json(provenance or {})
    owner = f"{kind} {files.digest(provenance)}"
    writer = checkpoint.Writer()
    with contextlib.closing(writer), checkpoint.writing(kind, directory):
        writer.save(directory / name, tree, owner=owner)
        writer.wait()
    meta_file = files.header(_SCHEMA, kind) | {
        "tree": name,
        "provenance": provenance,
        "meta": meta,
    }
    files.write_json(directory / _META, meta_file)
    for path in old:
        shutil.rmtree(path, ignore_errors=True)


def load_tree(
    directory: str | os.PathLike[str],
    *,
    kind: str,
    provenance: dict[str, Any] | None = None,
) -> tuple[PyTree, dict[str, Any]]:
    """Reads what `save_tree` wrote.

    Args:
      directory: its directory.
      kind: what it must hold.
      provenance: what it must have been made from; not compared if None.

    Returns:
      The tree, of NumPy arrays with the keys, dtypes, shapes and bits that were saved,
      and the JSON.

    Raises:
      UserError: it is missing, of another kind, of another version of bdjax, made from
        something else (the first field that differs is named), or damaged.
    """
    directory = Path(directory)
    if not (directory / _META).exists():
        raise UserError(f"no {kind} in {directory}: it has no {_META}; check the path")
    found = _read_meta(directory, kind)
    if provenance is not None:
        asked = files.as_json(provenance)
        if difference := files.difference("provenance", found["provenance"], asked):
            raise UserError(
                f"{kind} in {directory} is another one: {difference}; remove it to "
                "make it again"
            )
    tree = checkpoint.read_tree(
        directory / found["tree"],
        owner=f"{kind} {files.digest(found['provenance'])}",
        what=kind,
        fix="restore a copy or make it again",
    )
    return tree, found["meta"]


def _read_meta(directory: Path, kind: str) -> dict[str, Any]:
    fields = {"tree": str, "provenance": dict, "meta": dict}
    return files.read_header(
        directory / _META, schema=_SCHEMA, kind=kind, fields=fields,
        fix="remove it to make it again",
    )  # fmt: skip


def save_tensors(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> int:
    """Writes named arrays so that `path` never holds half of them.

    Args:
      path: the file; its folder is made where missing, an old file is replaced.
      arrays: of any shape and number dtype or bool, by name.

    Returns:
      The CRC-32 of the file: the format has no checksum of its own.

    Raises:
      UserError: the file cannot be written there.
    """
    # Copied because the format takes the buffer as it lies, whatever its strides.
    data = safetensors.numpy.save(
        {k: np.array(a, order="C") for k, a in arrays.items()}
    )
    files.write_bytes(path, data)
    return zlib.crc32(data)


def load_tensors(
    path: str | os.PathLike[str], *, crc32: int | None = None
) -> dict[str, np.ndarray]:
    """Reads what `save_tensors`, or any other writer of safetensors, wrote.

    Args:
      path: the file.
      crc32: what its CRC-32 must be; not compared if None.

    Returns:
      The arrays by name, with their dtypes, shapes and bits.

    Raises:
      UserError: the file is missing, truncated, altered or not safetensors.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}; check the path"
        ) from error
    try:
        arrays = safetensors.numpy.load(data)
    except MemoryError:
        raise
    except Exception as error:  # its own kind, and whatever a strange dtype raises
        raise UserError(
            f"{path} is no whole safetensors file ({checkpoint.reason(error)}); "
            "restore a copy or make it again"
        ) from error
    if crc32 is not None and zlib.crc32(data) != crc32:
        raise UserError(
            f"{path} is not what was written: its CRC-32 is {zlib.crc32(data)}, not "
            f"{crc32}; restore a copy or make it again"
        )
    return arrays
