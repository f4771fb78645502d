"""Becomes a login user and runs one program. In a fork of `spawner`, or started by `process` as a script, with nothing
of ours imported.

Reads its orders as JSON from the descriptor named in its only argument, then gives up everything it was started
with, in this order: session and terminal, audit login uid, groups, gid, uid. No path is touched before that.
What goes wrong is told on standard error, and the exit status is 254.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import sys
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:  # without importing what only types need: this starts with every session
    from typing import Any, NoReturn

MESSAGES = ("/run/motd.dynamic", "/etc/motd")
MAX_MESSAGE = 16 * 1024


def main(channel: int) -> None:
    with os.fdopen(channel, "rb") as orders:
        wanted = json.load(orders)
    if wanted["terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    become(wanted)
    os.umask(0o022)
    go_home(wanted["home"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    lower_descriptor_limit()
    if wanted["terminal"] and wanted["arguments"][0].startswith("-") and not os.path.exists(".hushlogin"):
        greet()
    heed_signals()
    os.execve(wanted["program"], wanted["arguments"], wanted["environment"])  # noqa: S606 - the program is the shell


def become(wanted: dict[str, Any]) -> None:
    """Take on the user's identity for good."""
    if os.geteuid() != 0:
        if os.geteuid() != wanted["uid"]:
            raise PermissionError(f"only root can become uid {wanted['uid']}")
        return
    try:
        with open("/proc/self/loginuid", "w") as file:
            file.write(str(wanted["uid"]))
    except OSError:
        pass  # containers and kernels without audit; the session is recorded all the same
    os.setgroups(wanted["groups"])
    os.setresgid(wanted["gid"], wanted["gid"], wanted["gid"])
    os.setresuid(wanted["uid"], wanted["uid"], wanted["uid"])
    if wanted["uid"] != 0:
        try:
            os.setuid(0)
        except PermissionError:
            return
        raise PermissionError("privileges were not given up")


def go_home(home: str) -> None:
    try:
        os.chdir(home)
    except OSError:
        os.chdir("/")


def lower_descriptor_limit() -> None:
    """The service raised its own; programs that use select(2) break on numbers beyond the customary limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))


def greet() -> None:
    """Show what the host has to say to who logs in, as pam_motd and sshd do."""
    for path in MESSAGES:
        try:
            with open(path, "rb") as file:
                os.write(1, file.read(MAX_MESSAGE))
        except OSError:
            continue


def heed_signals() -> None:
    """What this interpreter and the service ignore, SIGPIPE for one, programs decide about themselves."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def fail(error: BaseException) -> NoReturn:
    sys.stderr.write(f"teleport: the program could not be started: {error}\r\n")
    sys.stderr.flush()
    os._exit(254)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except BaseException as error:
        fail(error)
