"""Two network namespaces and a cable between them that tests may cut: then nothing arrives, and nothing says so."""

import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

T = TypeVar("T")

_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
_NUMBERS = itertools.count()
_CLONE_NEWNET = 0x40000000


class Cable:
    """The side `near` is where servers listen, `far` is where clients are. Of each, `address` is the number."""

    near, far = "192.0.2.1", "192.0.2.2"

    def __init__(self) -> None:
        name = f"tp{os.getpid()}-{next(_NUMBERS)}"
        self._sides = {self.near: f"{name}-near", self.far: f"{name}-far"}
        self._links = {self.near: "near0", self.far: "far0"}

    def lay(self) -> None:
        near, far = self._sides.values()
        for side in (near, far):
            _ip("netns", "add", side)
        _ip("link", "add", "near0", "netns", near, "type", "veth", "peer", "name", "far0", "netns", far)
        for address, side in self._sides.items():
            _ip("-n", side, "address", "add", f"{address}/24", "dev", self._links[address])
            _ip("-n", side, "link", "set", "lo", "up")
            _ip("-n", side, "link", "set", self._links[address], "up")

    def cut(self) -> None:
        """From now on what either side sends goes to a card that nobody has."""
        for address, other in ((self.near, self.far), (self.far, self.near)):
            at = ("dev", self._links[address], "lladdr", "02:00:00:00:00:01", "nud", "permanent")
            _ip("-n", self._sides[address], "neighbour", "replace", other, *at)

    def remove(self) -> None:
        for side in self._sides.values():
            _ip("netns", "delete", side, check=False)

    def listen(self) -> socket.socket:
        """A listening socket on the near side."""
        return self._at(self.near, lambda: socket.create_server((self.near, 0), backlog=200))

    def connect(self, port: int, *, side: str = far) -> socket.socket:
        """A non-blocking socket to a port on the near side, by default from the far one."""

        def connected() -> socket.socket:
            sock = socket.create_connection((self.near, port), timeout=5)
            sock.setblocking(False)
            return sock

        return self._at(side, connected)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """A connection across the cable: its near and its far end."""
        with self.listen() as listening:
            far = self.connect(listening.getsockname()[1])
            near, _ = listening.accept()
        near.setblocking(False)
        return near, far

    def _at(self, side: str, make: Callable[[], T]) -> T:
        """What is made by a thread on that side: a socket belongs to where it was made."""
        made: list[T] = []

        def there() -> None:
            with open(f"/run/netns/{self._sides[side]}") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "the namespace cannot be entered")
            made.append(make())

        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        return made[0]


@contextmanager
def cable() -> Iterator[Cable]:
    """A cable for one test, which is skipped where there can be none."""
    if os.geteuid() != 0 or shutil.which("ip", path=_PATH) is None:
        pytest.skip("cutting a network needs root and the program ip")
    made = Cable()
    try:
        try:
            made.lay()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no networks can be made here: {error.stderr}")
        yield made
    finally:
        made.remove()


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True, env={"PATH": _PATH})
