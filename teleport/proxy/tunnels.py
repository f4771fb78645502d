"""The agents' control connections: who is there, and asking one to dial back for a session.

A ticket is 128 bits, good once, for ten seconds, and bound to the user, the session, the host and this proxy;
the connection that shows it must be that host's.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from teleport.api.dialback import (
    PULSE,
    TICKET_BYTES,
    TICKET_SECONDS,
    Accepted,
    Cut,
    Dial,
    Hello,
    Pulse,
    TicketShown,
    Welcome,
    parse,
    refusal,
)
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, TeleportError, Unavailable
from teleport.core.identity import HostRole, Identity
from teleport.net.join import Leg
from teleport.net.lines import Lines

__all__ = ["Tunnels"]

log = logging.getLogger(__name__)

_MAX_PENDING: Final = 10_000
_RETURNS_A_SECOND: Final = 200
_LONGEST_SPREAD: Final = 30.0
_AT_ONCE: Final = 8
"""Sessions that one agent is asked for at a time: of hundreds at once each is served before its ticket is too old."""
_TELLING_SECONDS: Final = 5.0
_QUEUE_SECONDS: Final = 45.0
"""How long a session waits for its turn: less than clients wait for an answer."""


@dataclass(eq=False)
class _Control:
    identity: Identity
    connection: Lines
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))


@dataclass(eq=False)
class _Pending:
    host_id: str
    expires: float
    arrived: "asyncio.Future[Leg]"
    used: bool = False


class _TicketTooOld(Exception):
    """Nobody came with it in time."""


class Tunnels:
    """The proxy's table of agents."""

    def __init__(
        self, proxy_id: str, *, clock: Clock, pulse: Pulse = PULSE, role: HostRole = "Node",
        barred: Callable[[Identity], str] = lambda _: "",
    ) -> None:  # fmt: skip
        """`role` is what those are who keep the connections: agents, or the proxies of another cluster.

        `barred` tells why a host may not be here, or nothing.
        """
        self.proxy_id, self._pulse, self._role, self._barred = proxy_id, pulse, role, barred
        self._clock = clock
        self._agents: dict[str, _Control] = {}
        self._pending: dict[str, _Pending] = {}
        self._dialling = 0
        self._telling: set[asyncio.Task[None]] = set()

    def connected(self, host_id: str) -> bool:
        return host_id in self._agents

    @property
    def agents(self) -> int:
        """How many agents are connected."""
        return len(self._agents)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Who is connected, by id; the last to come is last."""
        return tuple(self._agents)

    def tell(self, host_id: str, message: Cut) -> None:
        """Let an agent know, if it is here and listens."""
        control = self._agents.get(host_id)
        if control is not None:
            task = asyncio.create_task(_told(control.connection, message))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    def cut(self) -> None:
        """Hang up on everybody; live sessions are not ended by it."""
        for control in tuple(self._agents.values()):
            control.connection.abort()

    @property
    def _spread(self) -> float:
        """So that what comes back after this proxy was started again is no more a second than it can take."""
        return min(_LONGEST_SPREAD, max(1.0, len(self._agents) / _RETURNS_A_SECOND))

    def look(self) -> None:
        """Cut off the hosts that are barred by now. Call whenever that may have changed."""
        for control in tuple(self._agents.values()):
            reason = self._barred(control.identity)
            if reason:
                log.warning("agent %s (%s) is cut off: %s", control.identity.name, control.identity.uid, reason)
                self._forget(control)
                control.connection.abort()

    def _forget(self, control: _Control) -> None:
        if self._agents.get(control.identity.uid) is control:
            del self._agents[control.identity.uid]

    def _admit(self, identity: Identity) -> None:
        """Raises AccessDenied for who is no agent, or a barred one."""
        if not identity.has_role(self._role):
            raise AccessDenied("a control connection is for agents")
        reason = self._barred(identity)
        if reason:
            raise AccessDenied(reason)

    async def serve_control(self, connection: Lines, identity: Identity) -> None:
        """Keep one agent's control connection until it ends. A newer one of the same host takes its place."""
        self._admit(identity)
        hello: Hello = parse(Hello, await connection.receive(timeout=self._pulse.silence))
        await connection.send(Welcome(proxy_id=self.proxy_id, spread=self._spread).model_dump())
        control = _Control(identity, connection)
        earlier = self._agents.get(identity.uid)
        self._agents[identity.uid] = control
        if earlier is not None:
            earlier.connection.abort()
        log.info("agent %s (%s) is here, version %s", identity.name, identity.uid, hello.version)
        try:
            await self._listen(control)
        except TeleportError as error:
            log.debug("agent %s: %s", identity.name, error)
            connection.abort()  # who is silent does not answer a goodbye either
        finally:
            self._forget(control)
            connection.close()
            log.info("agent %s (%s) is gone", identity.name, identity.uid)

    async def _listen(self, control: _Control) -> None:
        """Answer signs of life until there are none, as long as the agent's certificate says who the agent is."""
        while True:
            message = await control.connection.receive(timeout=self._pulse.silence)
            if self._clock.time() >= control.identity.expires:
                raise Unavailable("the certificate that the connection began with has expired")
            if "ping" in message:
                await control.connection.send(message)
            elif "error" in message and "ticket" in message:
                self._fail(control, message)

    def _fail(self, control: _Control, message: dict[str, object]) -> None:
        """The agent cannot come back for a ticket of its own."""
        pending = self._pending.get(str(message["ticket"]))
        if pending is None or pending.host_id != control.identity.uid or pending.arrived.done():
            return
        try:
            parse(Accepted, {"error": message["error"]})
        except TeleportError as error:
            pending.arrived.set_exception(error)

    async def dial(
        self, host_id: str, *, session: str, identity: Identity, address: str, port: int, target: str, timeout: float
    ) -> Leg:
        """A connection from that agent for one session. Raises Unavailable if it does not come.

        `timeout` is for the agent, in seconds from when it is asked: that many wait for their turn is not its fault.
        """
        control = self._agents.get(host_id)
        if control is None:
            raise Unavailable(f"host {target} is not connected to this proxy", hint="is its agent running?")
        if self._dialling >= _MAX_PENDING:
            raise Unavailable("too many sessions are being opened at once; try again")
        self._dialling += 1
        try:
            await _turn(control)
            try:
                async with asyncio.timeout(timeout):
                    while True:
                        with suppress(_TicketTooOld):  # the host is busy: it may yet come, with another ticket
                            return await self._dial(control, session, identity, (address, port), target)
            finally:
                control.turns.release()
        except TimeoutError:
            raise Unavailable(f"host {target} did not connect back in time") from None
        finally:
            self._dialling -= 1

    async def _dial(
        self, control: _Control, session: str, identity: Identity, client: tuple[str, int], target: str
    ) -> Leg:
        """Once it is its turn: a ticket does not live long."""
        host_id = control.identity.uid
        ticket = secrets.token_hex(TICKET_BYTES)
        arrived: asyncio.Future[Leg] = asyncio.get_running_loop().create_future()
        self._pending[ticket] = _Pending(host_id, self._clock.monotonic() + TICKET_SECONDS, arrived)
        request = Dial(
            ticket=ticket, session=session, proxy_id=self.proxy_id, host_id=host_id, client_address=client[0],
            client_port=client[1], user=identity.name, user_uid=identity.uid, cluster=identity.cluster,
            scope=identity.requested_roles, target=target,
            passage=identity.passage.certificate if identity.passage is not None else "",
        )  # fmt: skip
        try:
            async with asyncio.timeout(TICKET_SECONDS):
                await control.connection.send(request.model_dump(mode="json"))
                return await asyncio.shield(arrived)
        except TimeoutError:
            _give_up(arrived)
            raise _TicketTooOld from None
        except BaseException:
            _give_up(arrived)
            raise
        finally:
            del self._pending[ticket]

    async def serve_dialback(self, connection: Leg, identity: Identity) -> None:
        """Match a connection that shows a ticket with the session that waits for it."""
        shown: TicketShown = parse(TicketShown, await connection.receive(timeout=TICKET_SECONDS))
        pending = self._pending.get(shown.ticket)
        if pending is None or pending.used or self._clock.monotonic() > pending.expires:
            await connection.send(refusal(AccessDenied("the ticket is unknown, used or too old")))
            connection.close()
            return
        if pending.host_id != identity.uid or not identity.has_role(self._role) or self._barred(identity):
            log.warning("host %s (%s) showed a ticket of %s", identity.name, identity.uid, pending.host_id)
            await connection.send(refusal(AccessDenied("the ticket is another host's")))
            connection.close()
            return
        pending.used = True
        await connection.hand_over(Accepted().model_dump())
        if pending.arrived.done():
            connection.abort()
        else:
            pending.arrived.set_result(connection)


async def _told(connection: Lines, message: Cut) -> None:
    with suppress(TeleportError, TimeoutError):
        async with asyncio.timeout(_TELLING_SECONDS):
            await connection.send(message.model_dump(mode="json"))


async def _turn(control: _Control) -> None:
    """Wait for one of the places, which the caller gives back. Raises Unavailable."""
    try:
        async with asyncio.timeout(_QUEUE_SECONDS):
            await control.turns.acquire()
    except TimeoutError:
        raise Unavailable("too many sessions are being opened on that host at once; try again") from None


def _give_up(arrived: "asyncio.Future[Leg]") -> None:
    """Nobody waits for this any more; hang up if it came at the last moment."""
    if not arrived.done():
        arrived.cancel()
    elif not arrived.cancelled() and arrived.exception() is None:
        arrived.result().abort()
