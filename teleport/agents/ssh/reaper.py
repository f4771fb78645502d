"""Outlives the agent for a few seconds, so that what its sessions run does not. Started by `reaping` as a script.

Nothing of ours is imported but `members`. A line on standard input names a program that runs from now on, or one that
is over. When the input ends, the agent has: what is left of its programs is told to hang up, and killed after a grace,
the seconds of which are the only argument.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # without importing what only types need
    from typing import Any

_LOOK = 0.1
_NOTE = 1.0
"""Seconds until a program, which begins as the agent's user, has become its login's."""
_KILLINGS = 20
"""What forks while it is killed is found the next time."""

members: dict[str, Any] = runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "members.py"))


class Watched:
    """A program: the leader of a kernel session, recognised by when it began, for numbers are given again."""

    def __init__(self, pid: int, cgroup: str) -> None:
        self.pid, self.began, self._cgroup = pid, _began(pid), cgroup
        self.audit: int | None = None

    def note(self) -> None:
        """Learn its audit session while it can still be asked."""
        if self.audit is None:
            self.audit = members["audit_session"](self.pid)

    def left(self) -> list[int]:
        """What lives of it; nothing if its number is another's now."""
        if _began(self.pid) not in (0, self.began):
            return []
        found: list[int] = members["find"](self.pid, self.audit)
        return found

    def send(self, number: int) -> int:
        """Signal all of it; how many there are."""
        found = self.left()
        for pid in found:
            members["send"](pid, number, leader=self.pid, audit=self.audit)
        return len(found)

    def kill_group(self) -> None:
        if not self._cgroup:
            return
        try:
            with open(os.path.join(self._cgroup, "cgroup.kill"), "w") as file:
                file.write("1")
            os.rmdir(self._cgroup)
        except OSError:
            pass  # its members are gone, or it is


def main() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the agent, which tells by its end
    end(list(listen(0).values()), grace=float(sys.argv[1]))


def listen(descriptor: int) -> dict[int, Watched]:
    """Keep the list until the agent ends; what was running then."""
    running: dict[int, Watched] = {}
    fresh: list[Watched] = []
    rest = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], _NOTE if fresh else None)
        if not ready:
            for program in fresh:
                program.note()
            fresh = []
            continue
        data = os.read(descriptor, 65536)
        if not data:
            for program in fresh:
                program.note()
            return running
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if order["runs"]:
                running[order["pid"]] = Watched(order["pid"], order["cgroup"])
                fresh.append(running[order["pid"]])
            else:
                running.pop(order["pid"], None)


def end(programs: list[Watched], *, grace: float) -> None:
    """Hang up, terminate, and after a grace kill."""
    for number in (signal.SIGHUP, signal.SIGCONT, signal.SIGTERM):
        for program in programs:
            program.send(number)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and any(program.left() for program in programs):
        time.sleep(_LOOK)
    for _ in range(_KILLINGS):
        if not sum([program.send(signal.SIGKILL) for program in programs]):
            break
        time.sleep(0.01)
    for program in programs:
        program.kill_group()


def _began(pid: int) -> int:
    """When a process began, in ticks since the host did; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0


if __name__ == "__main__":
    main()
    sys.exit(0)
