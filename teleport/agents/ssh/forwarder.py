"""Opens sockets as a login user, and joins each to two pipes of the agent. Started by `endpoints` as a script.

Nothing of ours is imported but `child.become`. Orders come, and answers go, as JSON over a socket that keeps messages
apart; an order for a connection brings the pipes. The agent never holds a socket of the user's, so that every rule
about who opened, owns or writes to one applies to the user. When the agent is gone, so are the sockets and their files.
"""

from __future__ import annotations

import array
import errno
import json
import os
import resource
import runpy
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:  # without importing what only types need: this starts with every session
    from typing import Any

_ORDER = 16 * 1024
_CHUNK = 256 * 1024
_TURNS = 8
"""Chunks that one connection may move before others have their turn."""
_WAITING = 64
"""Connections that were accepted and of which the agent has said nothing yet."""
_DESCRIPTORS = 4096


class Way:
    """One direction: from a pipe to a socket, or the other way round. It waits for its source or for its sink."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink
        self.full = self.ended = False

    def move(self) -> None:
        """Move what can be moved now. Raises OSError when the sink takes no more for good."""
        moved = 0
        try:
            for _ in range(_TURNS):
                count = os.splice(self.source, self.sink, _CHUNK, flags=os.SPLICE_F_NONBLOCK)
                if not count:
                    self.ended = True
                    return
                moved += count
        except BlockingIOError:
            if not moved:  # what we waited for is there, so it is the other that is missing
                self.full = not self.full


class Joined:
    """A socket, the pipe that leads to it, and the one that leads from it."""

    def __init__(self, loop: Loop, sock: socket.socket, pipes: tuple[int, int]) -> None:
        self._loop, self._sock = loop, sock
        self._upward, self._downward = pipes
        self._open = set(pipes)
        self._up, self._down = Way(self._upward, sock.fileno()), Way(sock.fileno(), self._downward)
        sock.setblocking(False)
        for pipe in pipes:
            os.set_blocking(pipe, False)
        self._watch()

    def _watch(self) -> None:
        """Wait for what either direction waits for; the agent's end of the pipe is watched in any case."""
        up, down = self._up, self._down
        mask = 0 if down.ended or down.full else select.EPOLLIN
        if up.full and not up.ended:
            mask |= select.EPOLLOUT
        self._loop.watch(self._sock.fileno(), mask, self._socket_ready)
        if not up.ended:
            self._loop.watch(self._upward, 0 if up.full else select.EPOLLIN, self._upward_ready)
        if not down.ended:
            mask = select.EPOLLOUT if down.full else 0
            self._loop.watch(self._downward, mask, self._downward_ready, always=True)

    def _socket_ready(self, events: int) -> None:
        self._move(
            up=self._up.full and bool(events & ~select.EPOLLIN), down=not self._down.full and events != select.EPOLLOUT
        )

    def _upward_ready(self, _: int) -> None:
        self._move(up=True, down=False)

    def _downward_ready(self, events: int) -> None:
        if events & select.EPOLLERR:  # the agent reads no more: deliver what is on its way, and that was it
            self._move(up=True, down=False)
            self.drop()
        else:
            self._move(up=False, down=True)

    def _move(self, *, up: bool, down: bool) -> None:
        """Move on what has become possible. To try without cause would lead to waiting for the wrong side."""
        try:
            for way, wanted in ((self._up, up), (self._down, down)):
                if wanted and not way.ended:
                    way.move()
                    self._end(way)
        except OSError:
            self.drop()
        else:
            self.drop() if self._up.ended and self._down.ended else self._watch()

    def _end(self, way: Way) -> None:
        """If it has ended, say so at its other side."""
        if way.ended and way is self._up:
            self._close(self._upward)
            self._sock.shutdown(socket.SHUT_WR)
        elif way.ended:
            self._close(self._downward)

    def _close(self, pipe: int) -> None:
        if pipe in self._open:
            self._open.discard(pipe)
            self._loop.forget(pipe)
            os.close(pipe)

    def drop(self) -> None:
        """Close everything, whatever was on its way."""
        self._up.ended = self._down.ended = True
        self._loop.gone(self)
        self._loop.forget(self._sock.fileno())
        self._sock.close()
        self._close(self._upward)
        self._close(self._downward)


class Listener:
    """Sockets that listen under one number, and the files that were made for them."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.sockets: list[socket.socket] = []
        self.path = self._folder = ""
        self.port = 0
        self._made = (0, 0)
        try:
            if "port" in order:
                self._listen_first(order["port"], order.get("ports", 1))
            else:
                self._listen_unix(order.get("path", ""))
        except BaseException:
            self.close()
            raise

    def _listen_first(self, port: int, count: int) -> None:
        """On the first of so many ports that is free."""
        for one in range(port, port + count):
            try:
                self._listen_tcp(one)
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE or one == port + count - 1:
                    raise
                self.close()

    def _listen_tcp(self, port: int) -> None:
        """On the loopback addresses that there are, with one number."""
        self._bind(socket.AF_INET, ("127.0.0.1", port))
        self.port = self.sockets[0].getsockname()[1]
        if os.path.exists("/proc/net/if_inet6") and _has_loopback6():
            self._bind(socket.AF_INET6, ("::1", self.port))

    def _bind(self, family: int, address: tuple[str, int]) -> None:
        sock = socket.socket(family, socket.SOCK_STREAM)
        self.sockets.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(128)

    def _listen_unix(self, path: str) -> None:
        """At a path, where nothing is yet, or in a new folder that nobody else may enter."""
        if not path:
            folder = f"/tmp/ssh-{os.urandom(8).hex()}"  # noqa: S108 - made, not found, or it fails
            os.mkdir(folder)
            os.chmod(folder, 0o700)
            self._folder, path = folder, f"{folder}/agent.{os.getpid()}"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sockets.append(sock)
        sock.bind(path)
        self.path = path
        made = os.lstat(path)
        self._made = (made.st_dev, made.st_ino)
        sock.listen(128)

    def close(self) -> None:
        while self.sockets:
            self.sockets.pop().close()
        try:
            found = os.lstat(self.path) if self.path else None
            if found is not None and (found.st_dev, found.st_ino) == self._made and stat.S_ISSOCK(found.st_mode):
                os.unlink(self.path)
            if self._folder:
                os.rmdir(self._folder)
        except OSError:
            pass


def _has_loopback6() -> bool:
    with open("/proc/net/if_inet6") as file:
        return any(line.startswith("0" * 31 + "1 ") for line in file)


class Loop:
    """Serves the agent's orders until it hangs up."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._listeners: dict[int, Listener] = {}
        self._accepted: dict[int, socket.socket] = {}
        self._joined: dict[int, Joined] = {}
        self._connected: deque[tuple[int, socket.socket | None, str, tuple[int, int]]] = deque()
        self._news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._count = 0

    def run(self) -> None:
        self.watch(self._control.fileno(), select.EPOLLIN, self._order)
        self.watch(self._news, select.EPOLLIN, self._take_connected)
        try:
            while True:
                for descriptor, events in self._epoll.poll():
                    watched = self._watched.get(descriptor)
                    if watched is not None:
                        watched[1](events)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass
        finally:
            for listener in self._listeners.values():
                listener.close()

    # -- for what is joined

    def watch(self, descriptor: int, mask: int, ready: Callable[[int], None], *, always: bool = False) -> None:
        """Call back on these events. A mask of 0 means on none, with `always` on errors."""
        known = self._watched.get(descriptor)
        if mask or always:
            if known is None:
                self._epoll.register(descriptor, mask)
            elif known[0] != mask:
                self._epoll.modify(descriptor, mask)
            self._watched[descriptor] = (mask, ready)
        elif known is not None:
            self.forget(descriptor)

    def forget(self, descriptor: int) -> None:
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def gone(self, joined: Joined) -> None:
        for number in [number for number, one in self._joined.items() if one is joined]:
            del self._joined[number]

    # -- orders

    def _order(self, _: int) -> None:
        data, pipes = receive(self._control)
        if not data:
            raise EOFError
        order = json.loads(data)
        number = order["id"]
        try:
            answer = getattr(self, f"_{order['do']}")(number, order, pipes)
        except OSError as error:
            for pipe in pipes:
                os.close(pipe)
            answer = {"error": error.strerror or str(error)}
        if answer is not None:
            self._say({"id": number, **answer})

    def _say(self, message: dict[str, Any]) -> None:
        self._control.send(json.dumps(message).encode())

    def _connect(self, number: int, order: dict[str, Any], pipes: tuple[int, int]) -> None:
        """In a thread of its own, for names take as long as they like."""
        work = threading.Thread(target=self._connect_now, args=(number, order, pipes), daemon=True)
        try:
            work.start()
        except RuntimeError as error:
            raise OSError(str(error)) from None

    def _connect_now(self, number: int, order: dict[str, Any], pipes: tuple[int, int]) -> None:
        sock, error = None, ""
        try:
            sock = _connected_to(order)
        except Exception as problem:
            error = getattr(problem, "strerror", "") or str(problem)
        self._connected.append((number, sock, error, pipes))
        os.eventfd_write(self._news, 1)

    def _take_connected(self, _: int) -> None:
        os.eventfd_read(self._news)
        while self._connected:
            number, sock, error, pipes = self._connected.popleft()
            if sock is not None:
                self._joined[number] = Joined(self, sock, pipes)
                self._say({"id": number})
            else:
                for pipe in pipes:
                    os.close(pipe)
                self._say({"id": number, "error": error})

    def _listen(self, number: int, order: dict[str, Any], _: tuple[int, int]) -> dict[str, Any]:
        listener = self._listeners[number] = Listener(order)
        for sock in listener.sockets:
            sock.setblocking(False)
            self.watch(sock.fileno(), select.EPOLLIN, lambda _, sock=sock: self._accept(number, sock))  # type: ignore[misc]
        return {"port": listener.port, "path": listener.path}

    def _accept(self, number: int, sock: socket.socket) -> None:
        try:
            accepted, peer = sock.accept()
        except OSError:
            time.sleep(0.05)  # too many descriptors: nothing that waiting could not mend
            return
        if len(self._accepted) >= _WAITING:
            accepted.close()
            return
        self._count += 1
        self._accepted[self._count] = accepted
        self._say({"accepted": self._count, "listener": number, "peer": list(peer[:2]) if peer else []})

    def _take(self, number: int, order: dict[str, Any], pipes: tuple[int, int]) -> dict[str, Any]:
        self._joined[number] = Joined(self, self._accepted.pop(order["accepted"]), pipes)
        return {}

    def _refuse(self, number: int, order: dict[str, Any], _: tuple[int, int]) -> None:
        self._accepted.pop(order["accepted"]).close()

    def _close(self, number: int, order: dict[str, Any], _: tuple[int, int]) -> None:
        """Close a listener, or drop a connection."""
        listener = self._listeners.pop(number, None)
        if listener is not None:
            for sock in listener.sockets:
                self.forget(sock.fileno())
            listener.close()
        if number in self._joined:
            self._joined[number].drop()


def _connected_to(order: dict[str, Any]) -> socket.socket:
    if "path" in order:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(order["path"])
        except BaseException:
            sock.close()
            raise
        return sock
    host = order["host"].encode()  # as bytes: for text a codec would be loaded, from where the user may not read
    sock = socket.create_connection((host, order["port"]))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def receive(control: socket.socket) -> tuple[bytes, tuple[int, ...]]:
    """One message and the descriptors that came with it."""
    data, ancillary, _, _ = control.recvmsg(_ORDER, socket.CMSG_SPACE(8), socket.MSG_CMSG_CLOEXEC)
    return data, tuple(_descriptors(ancillary))


def _descriptors(ancillary: list[Any]) -> Iterator[int]:
    for level, kind, body in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(body[: len(body) - len(body) % numbers.itemsize])
            yield from numbers


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    wanted = json.loads(control.recv(_ORDER))
    become = runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py"))["become"]
    become(wanted)
    os.umask(0o177)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, hard), hard))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    control.send(b"{}")
    Loop(control).run()


if __name__ == "__main__":
    main()
