"""The manifest of a population: what it is made of, and whose the directory is.

One job a directory has it, by a lock that dies with its process.
"""

import contextlib
import errno
import os
import platform
import warnings
from pathlib import Path
from typing import Any

import filelock

from bdjax.storage import files
from bdjax.types import UserError

_SCHEMA = 4
_KIND = "bdjax population"
NAME = "manifest.json"
CHUNKS = "chunks"
LOCK = "lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def claim(directory: Path, recipe: dict[str, Any], ids: range) -> None:
    """Makes the manifest, or compares it and widens its ids.

    Raises:
      UserError: the recipe differs, the ids leave a gap, or the manifest is damaged.
    """
    path = directory / NAME
    wanted = [ids.start, ids.stop]
    manifest = {**files.header(_SCHEMA, _KIND), "recipe": recipe, "ids": wanted}
    old = read(directory) if path.exists() else None
    if old is not None:
        check(directory, old, recipe)
        manifest = {**old, "ids": _joined(directory, old["ids"], wanted)}
    if manifest != old:
        files.write_json(path, manifest)
    (directory / CHUNKS).mkdir(exist_ok=True)


def check(directory: Path, manifest: dict[str, Any], recipe: dict[str, Any]) -> None:
    """Raises unless the manifest has that recipe; names the first difference."""
    if difference := files.difference("recipe", manifest["recipe"], recipe):
        raise UserError(
            f"{directory}: {difference}; use another directory or the same recipe"
        )


def is_begun(directory: str | os.PathLike[str]) -> bool:
    """Whether anything of a population is there: its manifest, or chunks without."""
    return any((Path(directory) / name).exists() for name in (NAME, CHUNKS))


def read(directory: Path) -> dict[str, Any]:
    """Reads the manifest of a population.

    Raises:
      UserError: it is missing, damaged, or of an older or newer bdjax.
    """
    if not (directory / NAME).exists():
        if is_begun(directory):
            raise UserError(
                f"{directory} has chunks and no {NAME}, which says what they are; "
                "restore it, or delete the directory to train all again"
            )
        raise UserError(
            f"no population in {directory}: it has no {NAME}; check the path"
        )
    path = directory / NAME
    fields = {"recipe": dict, "ids": list}
    manifest = files.read_header(
        path, schema=_SCHEMA, kind=_KIND, fields=fields,
        fix="train again in another directory",
    )  # fmt: skip
    ids = manifest["ids"]
    if [type(i) for i in ids] != [int, int] or not 0 <= ids[0] < ids[1]:
        raise UserError(
            f"{path} is damaged: ids is {ids}, not two ascending numbers; restore the "
            "file"
        )
    return manifest


def refuse_foreign(directory: Path) -> None:
    """Raises unless it is ours, missing, or as empty as a kill at birth leaves it."""
    files.refuse_foreign(directory, what="population", sign=NAME, ours=LOCK.__eq__)


def _joined(directory: Path, old: list[int], new: list[int]) -> list[int]:
    first, last = sorted((old, new))
    if first[1] < last[0]:
        raise UserError(
            f"{directory} has models {old[0]} to {old[1] - 1}; asked for {new[0]} to "
            f"{new[1] - 1}, which leaves a gap; use another directory or fill the gap"
        )
    return [first[0], max(first[1], last[1])]


class Lock:
    """Holds a directory until `release`, or until the process dies in any way.

    By the kernel's own lock on a file that stays: a file whose presence were the lock
    would outlive a kill. On a network file system it holds across machines where the
    system's locks do.
    """

    def __init__(self, directory: Path):
        """Makes the directory where missing and takes the lock.

        Raises:
          UserError: another job holds it, or the directory cannot be written.
        """
        path = directory / LOCK
        # Of the process, not of the thread that takes it.
        self._lock = filelock.FileLock(path, timeout=0, thread_local=False)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except filelock.Timeout as error:
            holder = ""
            with contextlib.suppress(OSError):
                holder = path.read_text(errors="replace").strip()
            raise UserError(
                f"{directory} is being written to by {holder or 'another job'}; wait "
                "for it, or use another directory"
            ) from error
        except (OSError, NotImplementedError) as error:  # the latter of older ones
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise UserError(
                    f"cannot write to {directory} ({error.strerror}); check its path "
                    "and rights"
                ) from error
            warnings.warn(
                f"{directory}: this file system has no locks, so nothing keeps a "
                "second job away",
                stacklevel=2,
            )
        with contextlib.suppress(OSError):  # on a full disk the lock still holds
            path.write_text(f"process {os.getpid()} on {platform.node()}")

    def release(self) -> None:
        """Gives the directory free; again is fine."""
        self._lock.release()
