"""Single files of named arrays in the safetensors format, which any framework reads."""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from bdjax.storage import checkpoint, files
from bdjax.types import UserError


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
