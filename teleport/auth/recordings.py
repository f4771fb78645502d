"""Recordings at rest: one folder a session, written by the host the session ran on and by nobody else.

Parts arrive at offsets, so an upload can be resumed after anything; sealing checks the digests that the host
signed against what arrived.
"""

import asyncio
import hashlib
import json
import os
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from teleport.audit.files import write_durably
from teleport.audit.recording import META, OUTPUT, TIMING
from teleport.core.errors import AccessDenied, BadInput, Conflict, NotFound, Unavailable

__all__ = ["RecordingStore"]

T = TypeVar("T")

_SID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_OWNER: Final = "owner"
_CHUNK: Final = 256 * 1024
_MAX_META: Final = 64 * 1024
_FIELDS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("user", "login", "server_hostname", "started", "stopped"), str),
    "interactive": bool, "output_bytes": int,
}  # fmt: skip
"""What every description must say, because it is what recordings are listed and judged by."""


class RecordingStore:
    """A directory of recordings."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def append(self, sid: str, owner: str, name: str, offset: int, data: bytes) -> int:
        """Write bytes of a file where they belong; its length afterwards. Raises Conflict for a gap."""
        return await self._io(self._append, sid, owner, name, offset, data)

    async def seal(self, sid: str, owner: str, meta: Mapping[str, Any], *, of: str = "") -> None:
        """Complete a recording whose digests agree with what arrived. Raises Conflict where they do not.

        It is `of` the host that the session ran on, if that is another than whoever brings it.
        """
        await self._io(self._seal, sid, owner, of or owner, meta)

    async def all(self) -> list[dict[str, Any]]:
        """The `meta.json` of every complete recording, newest first."""
        return await asyncio.to_thread(self._all)

    async def meta(self, sid: str) -> dict[str, Any]:
        """Raises NotFound."""
        found = await asyncio.to_thread(_read_meta, self._folder(sid))
        if found is None:
            raise NotFound(f"recording {sid} does not exist, or is not complete yet")
        return found

    async def read(self, sid: str, name: str, offset: int) -> AsyncGenerator[bytes]:
        """The bytes of a file from an offset on. Raises NotFound."""
        path = self._folder(sid) / name
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except FileNotFoundError:
            raise NotFound(f"recording {sid} has no {name}") from None
        with file:
            file.seek(offset)
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield chunk

    async def _io(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.to_thread(function, *arguments)
        except OSError as error:
            raise Unavailable(f"the recording cannot be stored: {error.strerror or error}") from None

    def _folder(self, sid: str) -> Path:
        if _SID.match(sid) is None:
            raise BadInput("a session id is a UUID in lower case")
        return self._directory / sid

    def _own(self, sid: str, owner: str) -> Path:
        """The folder of a session, claimed by the first host that writes to it."""
        folder = self._folder(sid)
        try:
            folder.mkdir(mode=0o700, parents=True)
            write_durably(folder / _OWNER, owner.encode())
        except FileExistsError:
            try:
                claimed = (folder / _OWNER).read_text()
            except FileNotFoundError:
                claimed = owner
                write_durably(folder / _OWNER, owner.encode())
            if claimed != owner:
                raise AccessDenied("the recording belongs to another host", details={"final": True}) from None
        if (folder / META).exists():
            raise Conflict(f"the recording {sid} is complete already", details={"complete": True})
        return folder

    def _append(self, sid: str, owner: str, name: str, offset: int, data: bytes) -> int:
        if name not in (OUTPUT, TIMING):
            raise BadInput(f"a recording has no file {name}")
        path = self._own(sid, owner) / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if offset > size:
                raise Conflict(f"bytes from {size} to {offset} are missing", details={"size": size})
            os.pwrite(descriptor, data, offset)
            os.ftruncate(descriptor, offset + len(data))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return offset + len(data)

    def _seal(self, sid: str, owner: str, of: str, meta: Mapping[str, Any]) -> None:
        text = json.dumps(meta, indent=1).encode() + b"\n"
        if len(text) > _MAX_META or meta.get("sid") != sid or meta.get("server_id") != of:
            raise BadInput("the description does not belong to this recording")
        wrong = [name for name, kind in _FIELDS.items() if type(meta.get(name)) is not kind]
        if wrong:
            raise BadInput(f"the description of the recording lacks {', '.join(wrong)}")
        folder = self._own(sid, owner)
        for name in (OUTPUT, TIMING):
            path = folder / name
            actual = _sha256(path) if path.exists() else ""
            if actual != meta.get(f"{name}_sha256"):
                raise Conflict(f"{name} differs from what the host sealed", hint="the host sends it again")
        write_durably(folder / META, text)

    def _all(self) -> list[dict[str, Any]]:
        if not self._directory.exists():
            return []
        found = [_read_meta(folder) for folder in self._directory.iterdir() if _SID.match(folder.name)]
        return sorted((meta for meta in found if meta is not None), key=lambda meta: str(meta["started"]), reverse=True)


def _read_meta(folder: Path) -> dict[str, Any] | None:
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return meta


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
