"""Forks a child for each program that sessions run. Started by `spawning` as a script; of ours knows but `child`.

An interpreter that starts for every program takes ten times as long as a fork of one that has done nothing yet. This
one knows no policy, no key and no session: it gets a program's descriptors and forks; what runs there comes by the
orders that `child` reads. It ends with the agent, whose programs are ended by `reaper`.

A request is one message on the socket named in the only argument, with five descriptors: the line, standard input,
output and error, and the orders. On the line come the number of the child once it leads a session of its own, and its
status once it has ended. Its number stays taken until the other end of the line is closed.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import runpy
import select
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # without importing what only types need
    from typing import Any, NoReturn

RUNS, ENDED, FAILED = b"runs", b"ended", b"failed"
DESCRIPTORS = 5
ORDERS = 3
TO_THE_AGENT = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

child: dict[str, Any] = runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py"))


class Child:
    """A child, from its fork until nobody needs its number any more."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid, self.line, self.ended = pid, line, os.pidfd_open(pid)
        self.told = self.dropped = False

    def tell(self) -> None:
        """It has ended: say how, and leave it unreaped."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert found is not None
        status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        self.told = True
        send(self.line, ENDED, status)

    def reap(self) -> None:
        os.waitpid(self.pid, 0)
        self.line.close()
        os.close(self.ended)


def main() -> None:
    for number in TO_THE_AGENT:
        signal.signal(number, signal.SIG_IGN)  # it tells by its end
    control = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()
    gc.freeze()
    serve(control, select.epoll())


def serve(control: socket.socket, waiting: select.epoll) -> None:
    """Until the agent has ended."""
    children: dict[int, Child] = {}
    waiting.register(control, select.EPOLLIN)
    while True:
        for descriptor, _ in waiting.poll():
            if descriptor in children:
                settle(descriptor, children, waiting)
                continue
            data, descriptors, _, _ = socket.recv_fds(control, 64, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
            if not data:
                return
            begun = begin(descriptors)
            if begun is not None:
                children[begun.ended] = children[begun.line.fileno()] = begun
                waiting.register(begun.ended, select.EPOLLIN)
                waiting.register(begun.line, select.EPOLLRDHUP)


def begin(descriptors: list[int]) -> Child | None:
    """Fork, and keep the line alone of what was sent."""
    if not descriptors:
        return None  # there is no room for any; the agent hears that the line is closed
    first, *its = descriptors
    line = socket.socket(fileno=first)
    try:
        if len(its) != DESCRIPTORS - 1:
            raise OSError(errno.EMFILE, "")
        pid = os.fork()
        if not pid:
            become(its, line)
        return attended(pid, line)
    except OSError as error:
        send(line, FAILED, error.errno or errno.EAGAIN)
        line.close()
        return None
    finally:
        for descriptor in its:
            os.close(descriptor)


def attended(pid: int, line: socket.socket) -> Child:
    try:
        return Child(pid, line)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # it waits for its orders
        os.waitpid(pid, 0)
        raise


def become(descriptors: list[int], line: socket.socket) -> NoReturn:
    """In the child: nothing stays of this one but standard input, output and error, and the orders."""
    try:
        for ignored in TO_THE_AGENT:
            signal.signal(ignored, signal.SIG_DFL)
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        send(line, RUNS, os.getpid())
        os.closerange(ORDERS + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        child["main"](ORDERS)
    except BaseException as error:
        child["fail"](error)
    os._exit(254)


def send(line: socket.socket, word: bytes, number: int) -> None:
    with contextlib.suppress(OSError):  # the agent asks no more
        line.send(b"%s %d" % (word, number), socket.MSG_DONTWAIT)


def settle(descriptor: int, children: dict[int, Child], waiting: select.epoll) -> None:
    """A child has ended, or its line has been let go; when both are so, nothing of it stays."""
    known = children[descriptor]
    waiting.unregister(descriptor)
    if descriptor == known.ended:
        known.tell()
    else:
        known.dropped = True
    if known.told and known.dropped:
        del children[known.ended], children[known.line.fileno()]
        known.reap()


if __name__ == "__main__":
    main()
    sys.exit(0)
