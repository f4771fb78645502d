"""The processes of one session, wherever they went: other process groups too, as a shell's jobs are.

A process belongs by the kernel's session, or by the audit session that came with the login uid; the latter nobody
without privileges leaves, not even with setsid(2). Knows nothing of SSH.
"""

import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Look", "audit_session", "find", "ignores", "send"]

_NONE: Final = 0xFFFFFFFF
"""The audit session of what no login has begun."""


def audit_session(pid: int | str) -> int | None:
    """The audit session that a process began or inherited, unless it is none or this service's own."""
    number = _read_audit_session(pid)
    return None if number in (None, _NONE, _read_audit_session("self")) else number


@dataclass(frozen=True)
class Look:
    """The processes that live, by the kernel's session and by the audit session they are of."""

    by_session: dict[int, list[int]]
    by_audit: dict[int, list[int]]

    @classmethod
    def take(cls) -> "Look":
        found = cls(defaultdict(list), defaultdict(list))
        for pid in _every():
            session = _session(pid)
            if session is not None:
                found.by_session[session].append(pid)
                audit = _read_audit_session(pid)
                if audit is not None:
                    found.by_audit[audit].append(pid)
        return found

    def of(self, leader: int, audit: int | None) -> list[int]:
        """The session that `leader` began, and an audit session if one is known."""
        of_audit = self.by_audit.get(audit, ()) if audit is not None else ()
        return sorted({*self.by_session.get(leader, ()), *of_audit})


def find(leader: int, audit: int | None) -> list[int]:
    """Those that live of the session that `leader` began, and of an audit session if one is known."""
    return Look.take().of(leader, audit)


def send(pid: int, number: int, *, leader: int, audit: int | None) -> None:
    """Signal a process, if it is still the one that was found: process ids are used again."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(pid)
        try:
            if _belongs(pid, leader, audit):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def ignores(pid: int, number: int) -> bool:
    """Whether a process lets a signal pass, as what `nohup` started does with SIGHUP. Who is gone ignores nothing."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False
    return bool(int(status.split(b"\nSigIgn:", 1)[1].split(None, 1)[0], 16) >> (number - 1) & 1)


def _every() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _belongs(pid: int, leader: int, audit: int | None) -> bool:
    session = _session(pid)
    return session is not None and (session == leader or (audit is not None and _read_audit_session(pid) == audit))


def _session(pid: int) -> int | None:
    """The kernel's session of a process that lives."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(after_name[3]) if after_name[0] not in (b"Z", b"X") else None


def _read_audit_session(pid: int | str) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/sessionid").read_text())
    except (OSError, ValueError):
        return None
