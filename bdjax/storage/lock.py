"""One job a directory: a lock that dies with its process."""

import contextlib
import errno
import fcntl
import os
import platform
import warnings
from pathlib import Path

from bdjax.types import UserError

NAME = "lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Lock:
    """Holds a directory until `release`, or until the process dies in any way.

    The kernel's own lock on a file that stays: a file whose presence were the lock
    would outlive a kill. On a network file system it holds across machines where the
    system's locks do.
    """

    def __init__(self, directory: Path):
        """Makes the directory where missing and takes the lock.

        Raises:
          UserError: another job holds it, or the directory cannot be written.
        """
        path = directory / NAME
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(
                f"cannot write to {directory} ({error.strerror}); check its path and "
                "rights"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._file, 200, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise UserError(
                f"{directory} is being written to by {holder or 'another job'}; wait "
                "for it, or use another directory"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(self._file)
                raise
            warnings.warn(
                f"{directory}: this file system has no locks, so nothing keeps a "
                "second job away",
                stacklevel=2,
            )
        with contextlib.suppress(OSError):  # on a full disk the lock still holds
            os.ftruncate(self._file, 0)
            name = f"process {os.getpid()} on {platform.node()}"
            os.pwrite(self._file, name.encode(), 0)

    def release(self) -> None:
        """Gives the directory free; again is fine."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
