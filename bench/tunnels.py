"""Tunnels of agents: what idle ones cost the proxy, and how all of them come back when it is started again."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.rows import Row
from teleport.core.identity import Identity
from teleport.pki.authority import new_authority
from teleport.pki.credentials import issue_tls
from teleport.pki.keys import new_tls_key, private_pem

IDLE = 10_000
HERD = 2_000
WATCHED_SECONDS = 30.0
"""How long the idle ones are looked at: several heartbeats of each."""
PROCESSES = 2


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        enrol(Path(folder), IDLE)
        return [*idle(Path(folder), IDLE), *herd(Path(folder), HERD)]


def enrol(folder: Path, count: int) -> None:
    """Certificates for a proxy and so many agents, by one authority; the agents share a key."""
    now = time.time()
    authority = new_authority("host", "bench", now=now)
    (folder / "authority").write_bytes(authority.public.encode())
    key = new_tls_key()

    def write(name: str, identity: Identity, names: list[str]) -> None:
        certificate = issue_tls(authority, identity, key.public_key(), now=now, names=names)
        trust = authority.public.certificates
        body = {"certificate": certificate, "key": private_pem(key), "trust": trust}
        (folder / f"{name}.json").write_text(json.dumps(body))

    expires = int(now) + 86400
    write("proxy", Identity("host", "proxy", "proxy", "bench", expires, ("Proxy",)), ["proxy.bench"])
    for number in range(count):
        write(f"agent-{number}", Identity("host", f"a{number}", f"h-{number}", "bench", expires, ("Node",)), [])


@dataclass
class Proxy:
    """The proxy's process."""

    folder: Path
    port: int
    process: "subprocess.Popen[str]" = field(init=False)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "bench.tunnel_proxy", str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def agents(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self._line())

    @property
    def memory(self) -> int:
        """Kilobytes that are its own and resident."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
        raise SystemExit("the proxy is gone")

    @property
    def cpu(self) -> float:
        """Seconds it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def agents(folder: Path, port: int, count: int) -> Iterator[None]:
    share = -(-count // PROCESSES)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.tunnel_agents", str(folder), str(port), str(first),
             str(min(share, count - first))],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for first in range(0, count, share)
    ]  # fmt: skip
    for one in processes:
        assert one.stdout is not None
        threading.Thread(target=one.stdout.read, daemon=True).start()
    try:
        yield
    finally:
        for one in processes:
            one.kill()
            one.wait()


def idle(folder: Path, count: int) -> list[Row]:
    proxy = Proxy(folder, 23_080)
    try:
        before = proxy.memory
        with agents(folder, proxy.port, count):
            wait_for_all(proxy, count, within=600)
            time.sleep(15)  # until what the handshakes took is given back
            spent, began = proxy.cpu, time.monotonic()
            time.sleep(WATCHED_SECONDS)
            share = (proxy.cpu - spent) / (time.monotonic() - began)
            each = (proxy.memory - before) / count
            assert proxy.agents() == count
        return [
            Row(f"memory of an idle tunnel, of {count:,}", each, "the most", 40, "KB", "≤ 1 ×"),
            Row(f"heartbeats of {count:,} idle tunnels", 100 * share, "the most", 10, "% CPU", "≤ 1 ×"),
        ]
    finally:
        proxy.kill()


def herd(folder: Path, count: int) -> list[Row]:
    proxy = Proxy(folder, 23_081)
    try:
        with agents(folder, proxy.port, count):
            wait_for_all(proxy, count, within=300)
            time.sleep(12)  # so that the connections count as stable
            proxy.kill()
            time.sleep(5)
            proxy = Proxy(folder, 23_081)
            began = time.monotonic()
            back = wait_for_all(proxy, count, within=120)
            share = proxy.cpu / (time.monotonic() - began)
        return [
            Row(f"{count:,} agents back after the proxy's restart (its CPU: {share:.0%})", back, "the most", 60, "s",
                "≤ 1 ×"),
        ]  # fmt: skip
    finally:
        proxy.kill()


def wait_for_all(proxy: Proxy, count: int, *, within: float) -> float:
    """Seconds until every agent is connected."""
    began = time.monotonic()
    while proxy.agents() < count:
        if time.monotonic() - began > within:
            raise SystemExit(f"only {proxy.agents()} of {count} agents came within {within:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - began
