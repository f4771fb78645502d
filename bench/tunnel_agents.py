"""Many agents in one process: each a real `Tunnel` with a certificate of its own, and nothing behind it.

Usage: python -m bench.tunnel_agents FOLDER PORT FIRST COUNT; each line on standard output is how many are connected.
"""

import asyncio
import json
import ssl
import sys
from pathlib import Path

import uvloop

from teleport.agents.tunnel import ProxyAddress, Tunnel
from teleport.api.dialback import Dial
from teleport.core.aio import SystemClock
from teleport.core.identity import Identity
from teleport.net.join import Leg
from teleport.net.lines import LineConnection
from teleport.net.tls import client_context
from teleport.service.start import allow_many_connections

PROXY = Identity("host", "proxy", "proxy", "bench", system_roles=("Proxy",))


async def serve_nobody(_connection: LineConnection, _assignment: Dial) -> None:
    return


def tunnel(folder: Path, port: int, number: int) -> Tunnel:
    body = json.loads((folder / f"agent-{number}.json").read_text())

    def contexts(protocol: str) -> ssl.SSLContext:
        return client_context(trust=body["trust"], certificate=body["certificate"], key=body["key"], alpn=[protocol])

    def verify(_peer: Leg) -> Identity:
        return PROXY

    address = ProxyAddress("127.0.0.1", port, "proxy.bench")
    return Tunnel(address, f"h-{number}", contexts, verify, serve_nobody, clock=SystemClock())


async def run(folder: Path, port: int, first: int, count: int) -> None:
    tunnels = [tunnel(folder, port, number) for number in range(first, first + count)]
    running = []
    for position, one in enumerate(tunnels):
        running.append(asyncio.create_task(one.run()))
        if position % 20 == 19:
            await asyncio.sleep(0.05)
    while True:
        sys.stdout.write(f"{sum(one.connected.is_set() for one in tunnels)}\n")
        sys.stdout.flush()
        await asyncio.sleep(0.25)


if __name__ == "__main__":
    allow_many_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:5])))
