"""The leaf's side of trust: a user of the root comes by the tunnel that this proxy keeps to the root's.

The passage says who that is and what that user has at home; the live policy here says what comes of it. The host's
agent judges all of it again.
"""

import logging
from collections.abc import Iterator
from typing import Final

from teleport.access.decide import AccessRequest, Target, decide
from teleport.access.reach import reach
from teleport.api.dialback import Dial, Entry, Route, parse
from teleport.api.models import AccessVerdict, HostRow
from teleport.audit.events import AuthFailed
from teleport.audit.sink import EventSink
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, NotFound, TeleportError, Unauthenticated
from teleport.core.identity import Identity
from teleport.net.lines import LineConnection
from teleport.proxy.host_lists import in_parts
from teleport.proxy.relay import Relay, say
from teleport.sessions.policy import LiveFleet, LivePolicy
from teleport.sessions.visitors import Arriving, read_visitor

__all__ = ["Entrance"]

log = logging.getLogger(__name__)

_QUESTION_SECONDS: Final = 10.0


class Entrance:
    """Where users of one root come in."""

    def __init__(
        self,
        root: str,
        here: str,
        policy: LivePolicy,
        fleet: LiveFleet,
        relay: Relay,
        events: EventSink,
        *,
        clock: Clock,
    ) -> None:
        self._root, self._here, self._policy, self._fleet = root, here, policy, fleet
        self._relay, self._events, self._clock = relay, events, clock

    async def serve(self, connection: LineConnection, assignment: Dial) -> None:
        """One connection that the root's proxy has asked for, from its first line to its end."""
        try:
            entry: Entry = parse(Entry, await connection.receive(timeout=_QUESTION_SECONDS))
            visitor = self._visitor(entry, assignment)
            passage = visitor.passage
            assert passage is not None
            if entry.wants == "verdict":
                await connection.send(self._verdict(visitor).model_dump(mode="json"))
                return
            if entry.wants == "hosts":
                for part in in_parts(self._hosts(visitor)):
                    await connection.send(part.model_dump(mode="json"))
                return
            wanted = Route(host=passage.host, login=passage.login)
            address, port = assignment.client_address, assignment.client_port
            await self._relay.connect(connection, visitor, wanted, address=address, port=port)
        except Unauthenticated as error:
            await self._note(error, assignment)
            await say(connection, AccessDenied(error.message))
        except TeleportError as error:
            await say(connection, error)

    def _visitor(self, entry: Entry, assignment: Dial) -> Identity:
        """Whom the passage lets in, if it is for this very connection. Raises Unauthenticated."""
        arriving = Arriving(entry.passage, self._root, self._here)
        visitor = read_visitor(self._policy, arriving, now=self._clock.time())
        passage = visitor.passage
        assert passage is not None
        if (passage.session, passage.proxy) != (assignment.session, assignment.proxy_id):
            raise Unauthenticated("the passage is for another connection")
        routed = (assignment.user, assignment.user_uid, assignment.cluster, assignment.scope)
        if (passage.user, visitor.uid, visitor.cluster, visitor.requested_roles) != routed:
            raise Unauthenticated("the passage is another's than the one whom the proxy announced")
        return visitor

    def _verdict(self, visitor: Identity) -> AccessVerdict:
        """What the host that the passage is for would decide now. Raises NotFound for what the visitor may not know."""
        passage, snapshot = visitor.passage, self._policy.current
        assert passage is not None
        decisions = [
            decide(snapshot, AccessRequest(visitor, target, passage.login), now=self._clock.time())
            for target in self._called(passage.host)
        ]
        shown = [one for one in decisions if not one.hidden]
        if not shown:
            raise NotFound(f"node {passage.host} not found")
        first = next((one for one in shown if one.needs), shown[0])
        return AccessVerdict(allowed=first.allowed, reasons=first.reasons, needs=dict(first.needs))

    def _called(self, host: str) -> list[Target]:
        fleet = self._fleet.fleet
        found = fleet.get(host)
        return [found] if found is not None else list(fleet.named(host))

    def _hosts(self, visitor: Identity) -> Iterator[HostRow]:
        """The hosts that the visitor reaches."""
        snapshot, now = self._policy.current, self._clock.time()
        for target, logins in reach(snapshot, visitor, self._fleet.fleet, now=now).rows():
            yield HostRow(hostname=target.name, uuid=target.uid, labels=dict(target.labels), logins=tuple(logins))

    async def _note(self, error: Unauthenticated, assignment: Dial) -> None:
        log.warning("a connection of %s was refused: %s", self._root, error)
        await self._events.emit(
            AuthFailed(
                user=assignment.user, user_kind=1, error=f"{self._root}: {error.message}", login="",
                addr__remote=assignment.client_address,
            )
        )  # fmt: skip
