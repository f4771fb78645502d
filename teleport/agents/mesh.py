"""All of an agent's tunnels: one to the proxy it was given, and one to each other proxy that the cluster has.

Two never lead to the same proxy, however many addresses that has. What a tunnel carries outlives it here.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from teleport.agents.tunnel import ProxyAddress, Tunnel
from teleport.core.aio import cancel_and_wait

__all__ = ["Mesh"]

log = logging.getLogger(__name__)

MakeTunnel = Callable[[ProxyAddress], Tunnel]


class Mesh:
    """Keeps an agent reachable through every proxy. Run `run()` as a task."""

    def __init__(self, first: ProxyAddress, make: MakeTunnel) -> None:
        self._make, self._tunnels = make, dict[str, Tunnel]()
        self._running: dict[Tunnel, asyncio.Task[None]] = {}
        self._held: dict[str, Tunnel] = {}
        self._listeners: list[Callable[[], None]] = []
        self._left: list[Tunnel] = []
        self.connected = asyncio.Event()
        """Whether some proxy is reached."""
        self.first = self._made(first)

    async def run(self) -> None:
        """Keep all connections until cancelled."""
        self._start(self.first)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await cancel_and_wait(*self._running.values())

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call back whenever a proxy is reached or lost."""
        self._listeners.append(changed)

    def told(self, proxies: Mapping[str, ProxyAddress]) -> None:
        """Which proxies there are now, by id."""
        for uid in set(self._tunnels) - set(proxies):
            self._stop(self._tunnels.pop(uid))
        for uid, address in proxies.items():
            current = self._tunnels.get(uid)
            if current is not None and current.proxy != address:
                self._stop(current)
                current = None
            if current is None and self._running and not self._first_leads_to(uid, address):
                self._tunnels[uid] = self._made(address)
                self._start(self._tunnels[uid])

    def doubt(self) -> None:
        """The network is another, or time has jumped: every connection must show that it lives."""
        for tunnel in self._all:
            tunnel.doubt()

    @property
    def reached(self) -> list[ProxyAddress]:
        """The proxies to which there is a connection."""
        return [one.proxy for one in self._all if one.connected.is_set()]

    async def drain(self, *, timeout: float) -> None:
        """Wait for live sessions to end by themselves, then end them."""
        await asyncio.gather(*(one.drain(timeout=timeout) for one in (*self._all, *self._left)))

    @property
    def _all(self) -> list[Tunnel]:
        return [self.first, *self._tunnels.values()]

    def _first_leads_to(self, uid: str, address: ProxyAddress) -> bool:
        holder = self._held.get(uid)
        return self.first.proxy == address or (holder is self.first and self.first.connected.is_set())

    def _made(self, address: ProxyAddress) -> Tunnel:
        tunnel = self._make(address)
        tunnel.claim = lambda uid: self._claim(uid, tunnel)
        tunnel.changed = self._changed
        return tunnel

    def _claim(self, uid: str, tunnel: Tunnel) -> bool:
        holder = self._held.get(uid)
        if holder is not None and holder is not tunnel and holder.connected.is_set():
            return False
        self._held[uid] = tunnel
        return True

    def _changed(self) -> None:
        if self.reached:
            self.connected.set()
        else:
            self.connected.clear()
        for listener in self._listeners:
            listener()

    def _start(self, tunnel: Tunnel) -> None:
        log.info("a tunnel to the proxy at %s:%d", tunnel.proxy.host, tunnel.proxy.port)
        self._running[tunnel] = asyncio.create_task(tunnel.run(), name=f"tunnel to {tunnel.proxy.host}")

    def _stop(self, tunnel: Tunnel) -> None:
        """No new sessions by this way; those that live go on."""
        task = self._running.pop(tunnel, None)
        if task is not None:
            task.cancel()
        self._left = [one for one in (*self._left, tunnel) if one.busy]
        tunnel.connected.clear()
        self._held = {uid: one for uid, one in self._held.items() if one is not tunnel}
        self._changed()
