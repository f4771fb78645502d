"""Routes for live sessions: hosts report theirs, people list those they may see, proxies ask whose one is."""

from teleport.access import joining
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth.endpoints.parts import Parts
from teleport.auth.live import Live
from teleport.core.aio import utc
from teleport.core.errors import NotFound
from teleport.core.joining import MODES_SERVED

__all__ = ["LiveAccess"]


class LiveAccess:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_live(self, caller: Caller, request: m.LiveReport) -> m.Done:
        """What a host reports are its own sessions, whatever it says: the host is that of its certificate.

        A proxy's are on the hosts that have no agent to report them.
        """
        plain = self._parts.fleet.plain if caller.known.has_role("Proxy") else {}
        self._parts.live.report(caller.known, request, {uid: node.hostname for uid, node in plain.items()})
        return m.Done()

    async def on_live_facts(self, _caller: Caller, request: m.LiveSid) -> m.LiveFacts:
        found = self._parts.live.find(request.sid)
        if found is None:
            raise NotFound(f"session {request.sid} not found")
        session = found.session
        return m.LiveFacts(
            sid=session.sid, user=session.user, user_uid=session.user_uid, login=session.login,
            server_id=found.server_id, observers=session.observers,
        )  # fmt: skip

    async def on_live_sessions(self, caller: Caller, _request: m.Empty) -> m.LiveSessions:
        """Own sessions, those that the caller may join somehow, and all for those who may list all."""
        parts, now = self._parts, self._parts.clock.time()
        known = [(live, session) for live in parts.live if (session := self._judged(live)) is not None]
        return m.LiveSessions(
            sessions=tuple(
                self._row(caller, live, session)
                for live, session in known
                if joining.may_see(parts.policy.current, caller.known, session, now=now)
            )
        )

    def _judged(self, live: Live) -> joining.LiveSession | None:
        """As decisions see it; None once its host is lost, and with it the labels to judge by."""
        session, target = live.session, self._parts.fleet.fleet.get(live.server_id)
        if target is None:
            return None
        return joining.LiveSession(
            sid=session.sid, owner=session.user, owner_uid=session.user_uid, login=session.login, target=target,
            participants=session.observers,
        )  # fmt: skip

    def _row(self, caller: Caller, live: Live, session: joining.LiveSession) -> m.LiveRow:
        snapshot, now = self._parts.policy.current, self._parts.clock.time()
        decisions = {
            mode: joining.decide_join(snapshot, caller.known, session, mode, now=now) for mode in MODES_SERVED
        }  # fmt: skip
        needs = next((decision.needs for decision in decisions.values() if decision.needs), {})
        return m.LiveRow(
            sid=session.sid, user=session.owner, login=session.login, server_id=live.server_id,
            server_hostname=live.server_hostname, started=utc(live.session.started),
            participants=(session.owner, *session.participants),
            modes=tuple(mode for mode, decision in decisions.items() if decision.allowed), needs=dict(needs),
        )  # fmt: skip
