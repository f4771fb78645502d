"""One process per data directory: a lock on a file in it, held as long as the process lives."""

import fcntl
import os
from pathlib import Path
from typing import IO, Final

from teleport.core.errors import Unavailable

__all__ = ["lock_directory"]

_LOCK_FILE: Final = "lock"


def lock_directory(directory: Path) -> IO[str]:
    """Take a data directory, making it if need be; closing what is returned lets it go.

    The file belongs to the owner of the directory, whoever takes it first: root may restore what a service will use.
    Raises Unavailable when another process has it, or when it cannot be made or written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _opened(directory)
        try:
            _take(lock, directory)
        except BaseException:
            lock.close()
            raise
    except OSError as error:
        raise Unavailable(
            f"the data directory {directory} cannot be used: {error.strerror or error}",
            hint="name one that this user may write: --data-dir DIR",
        ) from None
    return lock


def _opened(directory: Path) -> IO[str]:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.fdopen(os.open(directory / _LOCK_FILE, flags, 0o600), "r+")
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(lock.fileno(), owner.st_uid, owner.st_gid)
    return lock


def _take(lock: IO[str], directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        raise Unavailable(
            f"{directory} is in use by {holder}", hint="one process per data directory: stop the other, or use another"
        ) from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}\n")
    lock.flush()
