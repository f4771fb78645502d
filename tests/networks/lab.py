"""Machines on a network of their own: namespaces of the kernel, joined by links that can lose, delay and be cut.

A `Link` is a pair of tunnel devices whose packets this process carries, so that nothing but the kernel's namespaces,
`ip` and `nft` is needed.
"""

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.world import missing

_TUNSETIFF: Final = 0x400454CA
_TUN_WITHOUT_HEADER: Final = 0x0001 | 0x1000


def unavailable() -> str:
    """Why there is no lab here, or nothing."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    return missing("ip", "nft", "nsenter")


@dataclass
class Machine:
    """A network namespace: what runs in it sees its devices, addresses and routes alone."""

    name: str

    @classmethod
    def make(cls, name: str) -> "Machine":
        machine = cls(f"{name}-{uuid.uuid4().hex[:6]}")
        run("ip", "netns", "add", machine.name)
        machine.run("ip", "link", "set", "lo", "up")
        return machine

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command is preceded by to run there. Not `ip netns exec`, which keeps a copy of everything mounted."""
        return ("nsenter", f"--net=/run/netns/{self.name}", "--")

    def run(self, *command: str, check: bool = True) -> str:
        return run(*self.prefix, *command, check=check)

    def address(self, device: str, *addresses: str) -> None:
        for one in addresses:
            self.run("ip", *(["-6"] if ":" in one else []), "addr", "add", one, "dev", device, *nodad(one))
        self.run("ip", "link", "set", device, "up")

    def masquerade(self, device: str) -> None:
        """Hide everything behind this machine's own address on a device, as a router at home does."""
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.run(
            "nft", "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; };"
            f' add rule ip nat out oifname "{device}" masquerade',
        )  # fmt: skip

    def remove(self) -> None:
        for pid in run("ip", "netns", "pids", self.name, check=False).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        run("ip", "netns", "del", self.name, check=False)


def nodad(address: str) -> list[str]:
    return ["nodad"] if ":" in address else []


def run(*command: str, check: bool = True) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert not check or ended.returncode == 0, f"{' '.join(command)}: {ended.stderr}"
    return ended.stdout


@dataclass
class Link:
    """A cable between two machines, with a device `name` at each end."""

    name: str
    loss: float = 0.0
    """The share of packets that get lost."""
    delay: float = 0.0
    """Seconds that each takes, one way."""
    cut: bool = False
    carried: int = 0
    _ends: list[int] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def between(cls, left: Machine, right: Machine, name: str) -> "Link":
        link = cls(name)
        link._ends = [_device(machine, name) for machine in (left, right)]
        link._thread = threading.Thread(target=link._carry, daemon=True)
        link._thread.start()
        return link

    def __post_init__(self) -> None:
        self._thread: threading.Thread

    def remove(self) -> None:
        self._stop.set()
        self._thread.join(5)
        for end in self._ends:
            os.close(end)

    def _carry(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []
        number, chance = 0, random.Random(7)
        while not self._stop.is_set():
            wait = max(0.0, min(0.05, waiting[0][0] - time.monotonic())) if waiting else 0.05
            for end in select.select(self._ends, [], [], wait)[0]:
                packet = os.read(end, 65536)
                if self.cut or chance.random() < self.loss:
                    continue
                number += 1
                other = self._ends[1 - self._ends.index(end)]
                heapq.heappush(waiting, (time.monotonic() + self.delay, number, other, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, other, packet = heapq.heappop(waiting)
                with contextlib.suppress(OSError):  # the device is down: what is sent there is lost
                    os.write(other, packet)
                    self.carried += 1


def _device(machine: Machine, name: str) -> int:
    """A tunnel device, moved to a machine; the descriptor that has its packets."""
    device = f"t{uuid.uuid4().hex[:10]}"
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _TUN_WITHOUT_HEADER))
    run("ip", "link", "set", device, "netns", machine.name)
    machine.run("ip", "link", "set", device, "name", name)
    machine.run("ip", "link", "set", name, "up")
    return end


@dataclass
class Lab:
    """A cluster's machine, a router that hides an edge device, and that device.

    cluster 198.51.100.1 / 2001:db8:1::1 --wan-- router 198.51.100.2 | 192.168.7.1 --lan-- edge 192.168.7.2
    """

    cluster: Machine
    router: Machine
    edge: Machine
    wan: Link
    lan: Link


CLUSTER_4: Final = "198.51.100.1"
CLUSTER_6: Final = "2001:db8:1::1"
ROUTER_4: Final = "198.51.100.2"


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        cluster, router, edge = (Machine.make(name) for name in ("cluster", "router", "edge"))
        for machine in (cluster, router, edge):
            stack.callback(machine.remove)
        wan, lan = Link.between(cluster, router, "wan"), Link.between(router, edge, "lan")
        stack.callback(wan.remove)
        stack.callback(lan.remove)
        cluster.address("wan", f"{CLUSTER_4}/24", f"{CLUSTER_6}/64")
        router.address("wan", f"{ROUTER_4}/24", "2001:db8:1::2/64")
        router.address("lan", "192.168.7.1/24", "2001:db8:7::1/64")
        edge.address("lan", "192.168.7.2/24", "2001:db8:7::2/64")
        edge.run("ip", "route", "add", "default", "via", "192.168.7.1")
        edge.run("ip", "-6", "route", "add", "default", "via", "2001:db8:7::1")
        router.masquerade("wan")
        router.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        cluster.run("ip", "-6", "route", "add", "2001:db8:7::/64", "via", "2001:db8:1::2")
        yield Lab(cluster, router, edge, wan, lan)
