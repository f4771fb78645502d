"""A proxy's port for agents and nothing else, in a process of its own: what tunnels cost is seen in it alone.

Usage: python -m bench.tunnel_proxy FOLDER PORT; who may come is in FOLDER, as `bench.tunnels` wrote it.
"""

import asyncio
import json
import socket
import sys
from functools import partial
from pathlib import Path
from ssl import SSLContext

import uvloop

from teleport.core.aio import SystemClock
from teleport.core.identity import Identity
from teleport.net import alpn
from teleport.net.join import Leg
from teleport.net.quiet import QuietConnection
from teleport.net.tls import server_context
from teleport.pki.authority import TrustedAuthority
from teleport.pki.credentials import read_tls
from teleport.proxy.handshake import line_handler
from teleport.proxy.listener import Arrival, Listener
from teleport.proxy.tunnels import Tunnels
from teleport.service.start import allow_many_connections


async def serve(folder: Path, port: int) -> None:
    badge = json.loads((folder / "proxy.json").read_text())
    authority = TrustedAuthority.decode((folder / "authority").read_bytes())
    clock = SystemClock()
    tunnels = Tunnels("proxy", clock=clock)

    def context() -> SSLContext:
        return made

    made = server_context(
        badge["certificate"], badge["key"], trust=authority.certificates, alpn=[alpn.CONTROL], require_client=True
    )

    def verify(connection: Leg) -> Identity:
        assert connection.peer_certificate is not None
        return read_tls(connection.peer_certificate, [authority], now=clock.time())

    async def controlled(connection: QuietConnection, identity: Identity, _: Arrival) -> None:
        await tunnels.serve_control(connection, identity)

    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(1024)
    listener = Listener(sock, {alpn.CONTROL: line_handler(context, verify, controlled, begin=QuietConnection.accept)})
    asyncio.get_running_loop().call_soon(partial(print, "ready", flush=True))
    await asyncio.gather(listener.run(), tell(tunnels))


async def tell(tunnels: Tunnels) -> None:
    """Say how many there are whenever a line is read."""
    while await asyncio.to_thread(sys.stdin.readline):
        sys.stdout.write(f"{tunnels.agents}\n")
        sys.stdout.flush()
    raise SystemExit


if __name__ == "__main__":
    allow_many_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
