"""The proxy's spliced path by itself: CPU for each gigabyte against HAProxy in TCP mode, and speed to a plain sshd."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.bulk import download
from bench.rows import Row
from bench.sessions import login, plain_sshd, wait_for

_GIGABYTES = 4
_HAPROXY = """\
global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  %s
listen bench
  bind 127.0.0.1:%d
  server target 127.0.0.1:%d
"""


def measure() -> list[Row]:
    rows = []
    with source() as target:
        with relayed(target) as (port, process):
            ours = seconds_of_cpu(port, process)
        for name, option in (("HAProxy, TCP mode", ""), ("HAProxy, splicing", "option splice-auto")):
            if shutil.which("haproxy") is None:
                sys.stderr.write("  skipped: needs haproxy\n")
                break
            with haproxy(target, option) as (port, process):
                peer = seconds_of_cpu(port, process)
            rows.append(Row("CPU of the spliced path", ours, name, peer, "s/GB", "≤ 1 ×"))
    return rows + to_plain_sshd()


def to_plain_sshd() -> list[Row]:
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") is None or os.geteuid() != 0:
        sys.stderr.write("  skipped: needs root and an sshd\n")
        return []
    with login() as name, tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder, \
            plain_sshd(Path(folder), name) as peer:  # fmt: skip
        place = peer.index("-p") + 1
        with relayed(int(peer[place])) as (port, _):
            ours = download([*peer[:place], str(port), *peer[place + 1 :]])
        direct = download(peer)
    return [Row("bulk download, plain sshd behind the spliced path", ours, "sshd, no proxy", direct, "MB/s", "report")]


def seconds_of_cpu(port: int, process: int) -> float:
    """Seconds of a relay's CPU for each gigabyte it carried; the least of three."""
    found = []
    for _ in range(3):
        before = cpu(process)
        with closing(socket.create_connection(("127.0.0.1", port))) as connection:
            left, buffer = _GIGABYTES << 30, bytearray(1 << 20)
            while left:
                left -= connection.recv_into(buffer, min(left, len(buffer)))
        found.append((cpu(process) - before) / _GIGABYTES)
    return min(found)


def cpu(process: int) -> float:
    """Seconds of user and system time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def source() -> Iterator[int]:
    """A server that sends zeros to whoever connects, from a file in memory."""
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryFile(dir="/dev/shm") as zeros:
        zeros.truncate(64 << 20)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=pour, args=(connection, zeros.fileno()), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def pour(connection: socket.socket, zeros: int) -> None:
    with closing(connection):
        while True:
            try:
                os.sendfile(connection.fileno(), zeros, 0, 64 << 20)
            except OSError:
                return


@contextmanager
def relayed(target: int) -> Iterator[tuple[int, int]]:
    """What the proxy does with two plain sockets, in a process of its own: its port and its process."""
    process = subprocess.Popen([sys.executable, "-m", "bench.spliced", str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


@contextmanager
def haproxy(target: int, option: str) -> Iterator[tuple[int, int]]:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
        config.write(_HAPROXY % (option, port, target))
        config.flush()
        process = subprocess.Popen(["haproxy", "-db", "-q", "-f", config.name])
        try:
            wait_for(lambda: listens(port))
            yield port, process.pid
        finally:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


async def relay(target: int) -> None:
    from teleport.net.splice import Pipes, splice

    loop, pipes = asyncio.get_running_loop(), Pipes()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        sys.stdout.write(f"{server.getsockname()[1]}\n")
        sys.stdout.flush()
        pairs = set()
        while True:
            client, _ = await loop.sock_accept(server)
            host = socket.socket()
            host.setblocking(False)
            await loop.sock_connect(host, ("127.0.0.1", target))
            pair = asyncio.create_task(splice(client, host, pipes))
            pairs.add(pair)
            pair.add_done_callback(pairs.discard)


if __name__ == "__main__":
    import uvloop

    uvloop.run(relay(int(sys.argv[1])))
