"""One job a directory: a lock that dies with its process."""

import contextlib
import errno
import os
import platform
import warnings
from pathlib import Path

import filelock

from bdjax.types import UserError

NAME = "lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


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
        path = directory / NAME
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
