"""SFTP on a host: which program serves it, and the audit events of what it does, by a watch on its bytes."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from teleport.agents.ssh.copies import Copy
from teleport.agents.ssh.process import Account
from teleport.agents.ssh.pump import Brake
from teleport.agents.ssh.recorded import Recording
from teleport.audit.events import CommandExecuted, Event, FileCopied, FileTransferred
from teleport.core.errors import AccessDenied, Unavailable
from teleport.wire.sftp import Operation, Unfollowable, Watch

__all__ = ["FileAudit", "as_text", "refused_copy", "sftp_server"]

_SERVERS: Final = (
    "/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server", "/usr/libexec/ssh/sftp-server", "/usr/local/libexec/sftp-server",
    "/usr/lib/sftp-server",
)  # fmt: skip
"""Where systems keep it: Debian, Fedora, Arch and SUSE, BSD, and others."""
_CLOSED_SHELLS: Final = frozenset({"nologin", "false"})
_MAX_TEXT: Final = 4096
_UNWRITTEN: Final = 256
"""Events not written yet at which the client is made to wait."""
_AT_ONCE: Final = 100


def sftp_server(who: Account, places: Sequence[str] = _SERVERS) -> str:
    """The system's SFTP server. Raises Unavailable where there is none, AccessDenied for a login without a shell."""
    if os.path.basename(who.shell) in _CLOSED_SHELLS:
        raise AccessDenied(f"login {who.entry.pw_name} is closed on this host: its shell is {who.shell}")
    for place in places:
        if os.access(place, os.X_OK) and Path(place).is_file():
            return place
    raise Unavailable(
        "this host has no sftp-server program, so SFTP and today's scp do not work; `scp -O` may",
        hint="install OpenSSH's server on it (Debian: openssh-sftp-server)",
    )


def as_text(name: bytes) -> str:
    """A name for an event: what is no UTF-8 as `\\xNN`, and not without end."""
    text = name.decode("utf-8", "backslashreplace")
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def refused_copy(copy: Copy, about: Mapping[str, Any], why: str, *, command: str) -> Event:
    """The event of a copy that is not permitted; `about` is what every event of its connection says."""
    common = {**about, "outcome": "E", "error": why}
    if copy.program == "sftp":
        return FileTransferred(**common, action="disallowed")
    if copy.program == "scp":
        return FileCopied(**common, action="disallowed", path=copy.path, exitError=why)
    return CommandExecuted(**common, command=command, exitCode=255, exitError=why)


class FileAudit:
    """Follows the bytes of one SFTP session. `unfollowable` is called once, with why, if that is not possible."""

    def __init__(self, recording: Recording, *, home: str, brake: Brake, unfollowable: Callable[[str], None]) -> None:
        self._recording, self._home, self._brake, self._unfollowable = recording, home, brake, unfollowable
        self._watch = Watch()
        self._unwritten: deque[Operation] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._lost = False

    def client(self, data: bytes) -> bool:
        """Look at bytes from the client; whether the server may have them."""
        return self._follow(partial(self._watch.client, data))

    def server(self, data: bytes) -> bool:
        """Look at bytes from the server; whether the client may have them."""
        return self._follow(lambda: self._tell(self._watch.server(data)))

    async def finish(self) -> None:
        """Both ends are gone: tell what they left open, and write the rest."""
        self._tell(self._watch.end())
        if self._writing is not None:
            await asyncio.wait([self._writing])

    def _follow(self, look: Callable[[], None]) -> bool:
        if self._lost:
            return False
        try:
            look()
        except Unfollowable as error:
            self._lost = True
            self._tell(error.told)
            self._unfollowable(f"this is no SFTP that can be followed, as the audit log demands: {error}")
            return False
        self._mind_brake()
        return True

    def _mind_brake(self) -> None:
        self._brake.hold("answers", self._watch.congested)
        self._brake.hold("events", len(self._unwritten) > _UNWRITTEN)

    def _tell(self, operations: Sequence[Operation]) -> None:
        self._unwritten.extend(operations)
        if self._unwritten and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._unwritten:
            count = min(_AT_ONCE, len(self._unwritten))
            await self._recording.note(self._event(self._unwritten.popleft()) for _ in range(count))
            self._mind_brake()

    def _event(self, done: Operation) -> Event:
        error = done.error if done.answered else "the session ended before it was answered"
        return FileTransferred(
            **self._recording.about(), outcome="E" if done.error else "I", error=error, action=done.action,
            path=as_text(done.path), target_path=as_text(done.target), working_directory=self._home,
            flags=done.flags, attributes=dict(done.attributes), bytes_read=done.read, bytes_written=done.written,
        )  # fmt: skip
