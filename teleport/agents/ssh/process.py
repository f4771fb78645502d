"""Runs one program as a login user, on a terminal or on pipes, and sees to it that nothing of it stays behind."""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from teleport.agents.ssh import members
from teleport.agents.ssh.census import Census
from teleport.agents.ssh.pump import wide_pipe
from teleport.agents.ssh.reaping import Reaper
from teleport.agents.ssh.spawning import Spawned, Spawner
from teleport.agents.ssh.terminal import open_terminal
from teleport.core.errors import AccessDenied, Unavailable

__all__ = ["Account", "Cgroups", "Custody", "Leash", "Program", "account", "start"]

_CHILD: Final = Path(__file__).with_name("child.py")
_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/games"
_ROOT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_ORDERS: Final = 256 * 1024
"""Bytes of arguments and environment; the kernel takes no argument longer than half of it."""
GRACE: Final = 5.0
"""Seconds a program has between being told to stop and being killed."""
LEAVING: Final = 1.0
"""Seconds a program has to end by itself when the client is gone, and its input and terminal with it."""
_LOOK: Final = 0.25
"""Seconds between looks at all processes: a look costs more than asking for one group."""
_KILLINGS: Final = 20
"""What forks while it is killed is found the next time."""


@dataclass(frozen=True)
class Account:
    """A login of the operating system."""

    entry: pwd.struct_passwd
    groups: tuple[int, ...]

    @property
    def shell(self) -> str:
        return self.entry.pw_shell or "/bin/sh"

    def environment(self, host: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        """Its variables; those that the host sets for everybody leave it who it is."""
        return {
            "PATH": _ROOT_PATH if self.entry.pw_uid == 0 else _PATH,
            "MAIL": f"/var/mail/{self.entry.pw_name}",
            **host,
            "USER": self.entry.pw_name,
            "LOGNAME": self.entry.pw_name,
            "HOME": self.entry.pw_dir,
            "SHELL": self.shell,
        }


def account(login: str, *, forbidden_uid: int | None) -> Account:
    """The account of a login. Raises AccessDenied where this host cannot or must not serve it.

    `forbidden_uid` is the uid that the auth service runs as in this very process: its sessions could read the CA.
    """
    try:
        entry = pwd.getpwnam(login)
    except KeyError:
        raise AccessDenied(f"login {login} does not exist on this host") from None
    if forbidden_uid is not None and entry.pw_uid == forbidden_uid:
        raise AccessDenied(
            f"login {login} is the user that the auth service runs as, which is never served on its own host",
            hint="run the SSH agent as a process of its own, or try things out with `teleport start --demo`",
        )
    if os.geteuid() not in (0, entry.pw_uid):
        own = pwd.getpwuid(os.geteuid()).pw_name
        raise AccessDenied(f"this agent does not run as root, so it serves only its own user {own}, not {login}")
    if entry.pw_uid != 0 and Path("/etc/nologin").exists():
        raise AccessDenied("logins are closed on this host (/etc/nologin)")
    return Account(entry, tuple(os.getgrouplist(login, entry.pw_gid)))


class Cgroups:
    """A control group a session where the kernel lets us, so that not even `setsid` escapes the end."""

    def __init__(self, base: Path | None = None) -> None:
        self._base = base if base is not None else _own_cgroup()

    def create(self, sid: str) -> Path | None:
        if self._base is None:
            return None
        folder = self._base / f"session-{sid}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        return folder if (folder / "cgroup.kill").exists() else None


def _own_cgroup() -> Path | None:
    try:
        line = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    base = Path("/sys/fs/cgroup") / line[3:].lstrip("/") / "teleport-sessions"
    return base if os.access(base.parent, os.W_OK) else None


Find = Callable[[], Awaitable[list[int]]]


@dataclass(frozen=True)
class Leash:
    """What ends a program for certain: its control group where there is one, and whoever outlives the agent."""

    cgroup: Path | None = None
    reaper: Reaper | None = None
    census: Census = field(default_factory=Census)
    """Who is asked what lives of it; shared, because many are often ended together."""
    spawner: Spawner | None = None
    """Who begins it; None for a process of the agent itself, which takes longer."""


class Custody:
    """A host's means to begin what it runs, and to end it."""

    def __init__(self) -> None:
        self._cgroups, self._census, self._reaper, self._spawner = Cgroups(), Census(), Reaper(grace=GRACE), Spawner()

    def leash(self, sid: str) -> Leash:
        """For one program of a session."""
        return Leash(self._cgroups.create(sid), self._reaper, self._census, self._spawner)

    def close(self) -> None:
        """Nothing is started any more; what is still there ends now."""
        self._reaper.close()
        self._spawner.close()


@dataclass(eq=False)
class Program:
    """A running program. Descriptors are non-blocking and belong to whoever pumps them; -1 where there is none.

    On a terminal `output` is its master, which takes the input too, and `errors` is -1.
    """

    process: "subprocess.Popen[bytes] | Spawned"
    input: int
    output: int
    errors: int
    leash: Leash = field(default_factory=Leash)
    audit: int | None = None
    """The audit session, once it is known."""

    async def wait(self) -> int:
        """The exit status; negative for the signal that killed it."""
        process = self.process
        for descriptor in process.watch() if isinstance(process, Spawned) else [os.pidfd_open(process.pid)]:
            await _readable(descriptor)
        self._note_audit_session()
        return self.process.wait()

    def signal(self, number: int) -> None:
        """To the whole process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    async def stop(self) -> None:
        """Hang up, then terminate, then kill everything that is left of the session and its control group."""
        self._note_audit_session()
        everything = partial(self.leash.census.find, self.process.pid, self.audit)
        await self._signal_all(everything, signal.SIGHUP, signal.SIGCONT, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._gone(everything)
        await self._kill(everything)
        self._kill_cgroup()
        await asyncio.to_thread(self.process.wait)
        self._unleash()

    async def hang_up(self) -> None:
        """The client is gone, though not the right to what runs: end it as the loss of a terminal does.

        A program that now ends by itself is one that ended: what it left in the background goes on. Otherwise the
        kernel's session is hung up and after the grace killed, but for what ignores being hung up, as `nohup` has it.
        What has left for a session of its own, as daemons do, is let alone.
        """
        if not await self._ends(LEAVING):
            await self._signal_all(self._heeding, signal.SIGHUP, signal.SIGCONT)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    while await self._heeding():  # noqa: ASYNC110
                        await asyncio.sleep(_LOOK)
            await self._kill(self._heeding)
        self._let_go()

    async def _ends(self, seconds: float) -> bool:
        """Whether the program has ended, or does within some time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self.process.poll() is None:
                    await self.wait()
        return self.process.returncode is not None

    async def _gone(self, everything: Find) -> None:
        """Wait until nothing of the session is left; nobody tells."""
        while self.process.poll() is None or _group_lives(self.process.pid):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        while await everything():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)

    async def _kill(self, find: Find) -> None:
        for _ in range(_KILLINGS):
            if not await self._signal_all(find, signal.SIGKILL):
                break
            await asyncio.sleep(0.01)

    async def _heeding(self) -> list[int]:
        """Those of the kernel's session that end when they are hung up, or say how they do."""
        found = await self.leash.census.find(self.process.pid, None)
        return [pid for pid in found if not members.ignores(pid, signal.SIGHUP)]

    async def _signal_all(self, find: Find, *numbers: int) -> int:
        """To those that are found; how many there are."""
        found = await find()
        for number in numbers:
            for pid in found:
                members.send(pid, number, leader=self.process.pid, audit=self.audit)
        return len(found)

    def _note_audit_session(self) -> None:
        """While the program can still be asked: once it is reaped there is nobody to ask."""
        if self.audit is None and self.process.returncode is None:
            self.audit = members.audit_session(self.process.pid)

    def _let_go(self) -> None:
        """A program that still runs does so on its own; once it ends, nothing of it stays here either."""
        self.release()
        if self.process.poll() is not None:
            return
        loop, descriptor = asyncio.get_running_loop(), os.pidfd_open(self.process.pid)

        def reap() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self.process.wait()
            self.release()

        loop.add_reader(descriptor, reap)

    def release(self) -> None:
        """The program ended by itself; what it left running in the background may go on, as under sshd."""
        self._unleash()
        if self.leash.cgroup is not None:
            with contextlib.suppress(OSError):
                self.leash.cgroup.rmdir()

    def _unleash(self) -> None:
        if self.leash.reaper is not None:
            self.leash.reaper.release(self.process.pid)

    def _kill_cgroup(self) -> None:
        cgroup = self.leash.cgroup
        if cgroup is None:
            return
        with contextlib.suppress(OSError):
            (cgroup / "cgroup.kill").write_text("1")
        with contextlib.suppress(OSError):
            cgroup.rmdir()


async def _readable(descriptor: int) -> None:
    """Until a descriptor is; it is closed then."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def start(
    who: Account, arguments: Sequence[str], environment: Mapping[str, str], *, program: str,
    terminal: tuple[Mapping[int, int], int, int] | None, leash: Leash,
) -> Program:  # fmt: skip
    """Start a program as a user. `terminal` is modes, rows and columns, None for pipes. Raises Unavailable."""
    orders_out, orders_in = os.pipe()
    ours: list[int] = []
    theirs: list[int] = []
    try:
        fcntl.fcntl(orders_in, fcntl.F_SETPIPE_SZ, _MAX_ORDERS)
        if terminal is not None:
            master, slave = open_terminal(who.entry, *terminal)
            ours, theirs = [master], [slave, slave, slave]
            environment = {**environment, "SSH_TTY": os.ttyname(slave)}
        else:
            for end in range(3):
                reading, writing = wide_pipe() if end < 2 else os.pipe()
                ours.append(writing if end == 0 else reading)
                theirs.append(reading if end == 0 else writing)
            for descriptor in ours:
                os.set_blocking(descriptor, False)
        orders = json.dumps(_orders(who, arguments, environment, program=program, terminal=terminal is not None))
        if len(orders) > _MAX_ORDERS:
            raise OSError(errno.E2BIG, "the command or the environment is too long")
        process = _begin([*theirs, orders_out], leash.spawner)
        if leash.cgroup is not None:
            with contextlib.suppress(OSError):
                (leash.cgroup / "cgroup.procs").write_text(str(process.pid))
        if leash.reaper is not None:
            leash.reaper.watch(process.pid, leash.cgroup)
        os.write(orders_in, orders.encode())  # the child has waited for it, so it is in its group by now
    except (OSError, MemoryError) as error:
        for descriptor in ours:
            os.close(descriptor)
        why = "out of memory" if isinstance(error, MemoryError) else error.strerror or error
        raise Unavailable(f"the program cannot be started: {why}") from error
    finally:
        for descriptor in {orders_in, orders_out, *theirs}:
            os.close(descriptor)
    if terminal is not None:
        return Program(process, ours[0], ours[0], -1, leash)
    return Program(process, ours[0], ours[1], ours[2], leash)


def _begin(descriptors: Sequence[int], spawner: Spawner | None) -> "subprocess.Popen[bytes] | Spawned":
    """A child that waits for its orders, given standard input, output, error and where they come. Raises OSError."""
    if spawner is not None:
        return spawner.spawn(descriptors)
    *standard, orders = descriptors
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_CHILD), str(orders)],
        stdin=standard[0], stdout=standard[1], stderr=standard[2], pass_fds=(orders,), start_new_session=True,
        env={}, cwd="/",
    )  # fmt: skip


def _orders(
    who: Account, arguments: Sequence[str], environment: Mapping[str, str], *, program: str, terminal: bool
) -> dict[str, Any]:
    return {
        "uid": who.entry.pw_uid,
        "gid": who.entry.pw_gid,
        "groups": list(who.groups),
        "home": who.entry.pw_dir,
        "program": program,
        "arguments": list(arguments),
        "environment": dict(environment),
        "terminal": terminal,
    }
