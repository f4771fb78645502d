"""Files of policy that commands write: whole or not at all, and never over what somebody else put there."""

import contextlib
import os
import tempfile
from pathlib import Path

from teleport.core.errors import BadInput, Conflict

__all__ = ["create_file", "put_file", "replace_file"]


def replace_file(path: Path, text: str) -> None:
    """Put a text in the place of a file, keeping its mode and owner. Raises BadInput where that cannot be."""
    try:
        status = path.stat()
        _put(path, text, mode=status.st_mode & 0o7777, owner=(status.st_uid, status.st_gid))
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from None


def create_file(path: Path, text: str) -> None:
    """Make a file and the folders that lead to it. Raises Conflict where there is one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Conflict(f"{path} exists", hint="change it there, or name another file") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from None


def put_file(path: Path, text: str) -> None:
    """Write a file, whatever was there, and the folders that lead to it. Raises BadInput where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, text, mode=0o644, owner=(-1, -1))
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from None


def _put(path: Path, text: str, *, mode: int, owner: tuple[int, int]) -> None:
    """Hidden until it is whole: whoever reads the folder meanwhile passes it over."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            with contextlib.suppress(PermissionError):  # only root gives files away
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
