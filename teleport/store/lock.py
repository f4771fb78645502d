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
        descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(
            f"the data directory {directory} cannot be used: {error.strerror or error}",
            hint="name one that this user may write: --data-dir DIR",
        ) from None
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    lock = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise Unavailable(
            f"{directory} is in use by {holder}", hint="one process per data directory: stop the other, or use another"
        ) from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}\n")
    lock.flush()
    return lock
