"""Serves clients of the hosts without agents: each connection under a host key of its own, made for it by auth.

Decides nothing by itself that agents decide otherwise: the gate, the records and the channels are theirs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from teleport.access.decide import AccessRequest, Decision, Target
from teleport.access.snapshot import Snapshot
from teleport.agents.openssh.way_in import Inside, WayIn, trust_of
from teleport.agents.ssh.live import LiveSessions, Watched
from teleport.agents.ssh.recorded import RecordingHost
from teleport.agents.ssh.server import Entering, Host, HostServer, connection_options
from teleport.api.dialback import Dial
from teleport.core.aio import Clock
from teleport.core.errors import NotFound, Unauthenticated, Unavailable
from teleport.core.joining import Wish
from teleport.net.lines import LineConnection
from teleport.pki.keys import new_ssh_key, ssh_line, ssh_private
from teleport.resources.node import Node
from teleport.sessions.gate import Gate, Judge
from teleport.sessions.policy import LivePolicy

__all__ = ["PlainServers"]


_STOPPING: Final = "the service is stopping"
_LAST_SECONDS: Final = 2.0
_AT_ONCE: Final = 8
"""People who are being let in at a time; the others wait, for less than clients wait for an answer."""
_QUEUE_SECONDS: Final = 45.0


@dataclass
class PlainHost(Host):
    """A host as it is declared at the moment; one that no longer is has no labels, so no role reaches it."""

    node: Callable[[str], Node | None] = lambda _: None

    def target(self, snapshot: Snapshot) -> Target:
        node = self.node(self.uid)
        return Target("node", self.name, self.uid, node.metadata.labels if node is not None else {})


class PlainServers:
    """One server a host, made when somebody comes. `node` finds what is declared of a host, by id."""

    def __init__(
        self, way_in: WayIn, policy: LivePolicy, gate: Gate, records: RecordingHost, *, clock: Clock, cluster: str,
        node: Callable[[str], Node | None],
    ) -> None:  # fmt: skip
        self._way_in, self._policy, self.gate, self._records = way_in, policy, gate, records
        self._clock, self._cluster, self._node = clock, cluster, node
        self._key = new_ssh_key()
        self._serving: set[asyncio.Task[Any]] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self.live = LiveSessions()

    async def serve(self, taken: Callable[[], Awaitable[LineConnection]], assignment: Dial) -> None:
        """One client of a host, `taken` once it can be served. Raises TeleportError before that."""
        node = self._node(assignment.host_id)
        if node is None:
            raise NotFound(f"node {assignment.target} not found")
        host = PlainHost(node.name, node.hostname, self._cluster, node=self._node)
        records = replace(self._records, host_id=node.name, hostname=node.hostname, sub_kind="openssh")
        server = _PlainServer(host, self._policy, self.gate, records, clock=self._clock, live=self.live)
        turn = await self._turn(node)
        server.use(node, self._way_in, ssh_private(self._key), ssh_line(self._key.public_key()), turn)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            await server.take(taken, assignment)
        finally:
            turn.over()

    async def _turn(self, node: Node) -> "_Turn":
        """Of hundreds who come at once each is let in before its login takes too long. Raises Unavailable."""
        try:
            async with asyncio.timeout(_QUEUE_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise Unavailable(
                f"too many people are logging in to {node.hostname} and others like it; try again"
            ) from None
        return _Turn(self._turns)

    async def drain(self, *, timeout: float) -> None:
        """Wait for live sessions to end by themselves, then end them."""
        if self._serving:
            await asyncio.wait(tuple(self._serving), timeout=timeout)
        for session in self.gate.live:
            session.end(_STOPPING)
        if self._serving:
            _, stuck = await asyncio.wait(tuple(self._serving), timeout=_LAST_SECONDS)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)


class _Turn:
    """One of those who are being let in."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns: asyncio.Semaphore | None = turns

    def over(self) -> None:
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.release()


class _PlainServer(HostServer):
    """For one connection to one host."""

    def use(self, node: Node, way_in: WayIn, key: str, public_key: str, turn: _Turn) -> None:
        self._node, self._way_in, self._key, self._public_key, self._turn = node, way_in, key, public_key, turn

    def judge(self, snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
        """A host that is no longer declared is nobody's to reach, whatever roles say of hosts without labels."""
        if not self._is_declared:
            return self._not_declared(snapshot)
        return super().judge(snapshot, request, now)

    def judge_joining(self, watched: Watched, wish: Wish) -> Judge:
        decide = super().judge_joining(watched, wish)

        def judge(snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
            return decide(snapshot, request, now) if self._is_declared else self._not_declared(snapshot)

        return judge

    @property
    def _is_declared(self) -> bool:
        assert isinstance(self.host, PlainHost)
        return self.host.node(self.host.uid) is not None

    def _not_declared(self, snapshot: Snapshot) -> Decision:
        return Decision(False, (f"node/{self.host.uid} is declared no longer",), revision=snapshot.revision)

    async def options(self, assignment: Dial) -> Any:
        shown = await self._way_in.shown(self._node.name, self._public_key, assignment)
        return connection_options(self._key, shown)

    async def enter(self, entering: Entering) -> Inside:
        login = entering.connection.login
        if login is None:
            raise Unauthenticated("nobody has logged in")
        trust = trust_of(self._node, self.host.cluster, self._policy.authorities)
        address = entering.assignment.client_address
        try:
            return await self._way_in.enter(self._node, login, as_login=entering.login, address=address, trust=trust)
        finally:
            self._turn.over()
