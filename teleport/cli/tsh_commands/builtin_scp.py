"""Copies for systems without scp: over SFTP, between here and one host. Names that a host sends are not trusted."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Final

import asyncssh

from teleport.cli.tsh_commands.builtin_ssh import connected
from teleport.cli.tsh_commands.scp import CopyCall, Remote
from teleport.core.errors import BadInput, Unavailable

__all__ = ["run_builtin"]

_KNOWN_FLAGS: Final = frozenset({"-r", "-p", "-q"})


def run_builtin(call: CopyCall) -> int:
    """Copy everything; 0. Raises BadInput for what needs scp, Unavailable where the copy fails."""
    unknown = [flag for flag in call.flags if flag not in _KNOWN_FLAGS]
    if unknown:
        raise BadInput(f"{unknown[0]} needs an scp program, and there is none", hint="install OpenSSH's client")
    *sources, target = call.ends
    if len({(end.login, end.host) for end in call.ends if isinstance(end, Remote)}) != 1 or (
        isinstance(target, Remote) == any(isinstance(source, Remote) for source in sources)
    ):
        raise BadInput("only an scp program copies between hosts, and there is none", hint="install OpenSSH's client")
    try:
        asyncio.run(_copy(call))
    except (asyncssh.Error, OSError) as error:
        raise Unavailable(f"the copy ended: {error}") from None
    return 0


async def _copy(call: CopyCall) -> None:
    *sources, target = call.ends
    recursive, preserve = "-r" in call.flags, "-p" in call.flags
    async with connected(call) as connection, connection.start_sftp_client() as sftp:
        if isinstance(target, Remote):
            local = [os.fsencode(source) for source in sources if isinstance(source, str)]
            await sftp.put(
                local, os.fsencode(target.path or "."), preserve=preserve, recurse=recursive, follow_symlinks=True
            )
            return
        download = Download(sftp, recursive=recursive, preserve=preserve)
        for source in sources:
            assert isinstance(source, Remote)
            for path in await sftp.glob(os.fsencode(source.path or ".")):
                await download.fetch(_bytes(path), _place(_bytes(path), Path(target)))


class Download:
    """Fetches files and folders from a host, into nothing but the folder that was asked for."""

    def __init__(self, sftp: asyncssh.SFTPClient, *, recursive: bool, preserve: bool) -> None:
        self._sftp, self._recursive, self._preserve = sftp, recursive, preserve

    async def fetch(self, source: bytes, target: Path) -> None:
        """Fetch one file, or a folder with all that is in it. Raises BadInput, OSError and asyncssh's errors."""
        attributes = await self._sftp.stat(source)
        if not stat.S_ISDIR(attributes.permissions or 0):
            await self._sftp.get(source, target, preserve=self._preserve)
            return
        if not self._recursive:
            raise BadInput(f"{os.fsdecode(source)} is a folder", hint="-r copies folders")
        target.mkdir(exist_ok=True)
        for entry in await self._sftp.readdir(source):
            name = _bytes(entry.filename)
            if name not in (b".", b".."):
                await self.fetch(source + b"/" + name, target / _single(name))


def _place(source: bytes, target: Path) -> Path:
    """Where something goes: into the target if that is a folder, otherwise there."""
    name = os.path.basename(source)
    return target / _single(name) if target.is_dir() and name not in (b"", b".", b"..") else target


def _single(name: bytes) -> str:
    """A name that is no path. Raises BadInput."""
    if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
        raise BadInput(f"the host sent {os.fsdecode(name)!r} as the name of a file")
    return os.fsdecode(name)


def _bytes(name: bytes | str) -> bytes:
    return name if isinstance(name, bytes) else os.fsencode(name)
