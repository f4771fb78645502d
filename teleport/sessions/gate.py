"""The only door. `async with gate.admit(request) as session:` admits, or raises AccessDenied.

When the policy changes, every live session is judged again; the task of one that lost its right is cancelled, and
`admit` turns that cancellation into `AccessWithdrawn` with the reason. Locks, edited rules, deleted users,
shortened certificates and a policy too old to trust are all the same re-judging, so protocol code holds none.
"""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from teleport.access.decide import AccessRequest, Decision, decide
from teleport.access.options import Conditions
from teleport.access.snapshot import Snapshot
from teleport.core.aio import Clock, utc
from teleport.core.errors import AccessDenied, Unavailable

__all__ = ["AccessWithdrawn", "Gate", "Session", "Snapshots"]

log = logging.getLogger(__name__)

DEFAULT_STALENESS = 60.0
"""Seconds after which a policy that could not be refreshed admits nobody."""


class AccessWithdrawn(Exception):
    """The policy no longer allows this session; the text is for the person in it."""


class Snapshots(Protocol):
    """Where the current policy comes from."""

    @property
    def current(self) -> Snapshot: ...

    def age(self) -> float:
        """Seconds since the policy was last known to be current."""
        ...

    def subscribe(self, changed: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Call back with every new snapshot; returns what ends the subscription."""
        ...


Judge = Callable[[Snapshot, AccessRequest, float], Decision]


def _judge(snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
    return decide(snapshot, request, now=now)


@dataclass(eq=False)
class Session:
    """An admitted connection. `decision` is the latest; `ended` the reason once it was withdrawn."""

    request: AccessRequest
    decision: Decision
    client_address: str
    started: float
    judge: Judge = _judge
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    ended: str = ""
    _task: "asyncio.Task[object] | None" = None
    _timer: asyncio.TimerHandle | None = None

    @property
    def conditions(self) -> Conditions:
        assert self.decision.conditions is not None
        return self.decision.conditions

    @property
    def user(self) -> str:
        return self.request.identity.name

    @property
    def login(self) -> str:
        return self.request.login

    def end(self, reason: str) -> None:
        """Withdraw the session: its task is cancelled once, with this reason."""
        if not self.ended:
            self.ended = reason
            if self._task is not None:
                self._task.cancel()


class Gate:
    """Admits connections and watches over them; one per service that has sessions."""

    def __init__(self, snapshots: Snapshots, *, clock: Clock, staleness: float = DEFAULT_STALENESS) -> None:
        self._snapshots, self._clock, self._staleness = snapshots, clock, staleness
        self._live: set[Session] = set()
        self._unsubscribe = snapshots.subscribe(self._policy_changed)

    @property
    def live(self) -> Iterable[Session]:
        return tuple(self._live)

    def close(self) -> None:
        """Stop watching. Sessions that are left are not ended by it."""
        self._unsubscribe()

    def check(self, request: AccessRequest, judge: Judge = _judge) -> Decision:
        """Judge without admitting. Raises AccessDenied, or Unavailable when the policy is too old to trust."""
        age = self._snapshots.age()
        if age > self._staleness:
            raise Unavailable(
                f"the policy here is {age:.0f} seconds old; nobody is admitted until the auth service answers"
            )
        decision = judge(self._snapshots.current, request, self._clock.time())
        if decision.defect:
            log.error("a decision failed and was answered with a denial: %s", decision.defect)
        if not decision.allowed:
            raise denial(request, decision)
        self._check_time(request, decision)
        self._check_count(request, decision)
        return decision

    @asynccontextmanager
    async def admit(
        self, request: AccessRequest, *, client_address: str = "", judge: Judge = _judge
    ) -> AsyncIterator[Session]:
        """Admit, watch, and let go. Raises AccessDenied or Unavailable at the door, AccessWithdrawn later."""
        decision = self.check(request, judge)
        task = asyncio.current_task()
        assert task is not None
        session = Session(request, decision, client_address, self._clock.time(), judge, _task=task)
        cancelling = task.cancelling()
        self._live.add(session)
        self._set_timer(session)
        try:
            yield session
        except asyncio.CancelledError:
            if not session.ended or task.uncancel() > cancelling:
                raise
            raise AccessWithdrawn(session.ended) from None
        else:
            if session.ended:
                await _swallow_cancellation(task)
        finally:
            self._live.discard(session)
            session._task = None
            if session._timer is not None:
                session._timer.cancel()

    def rejudge(self) -> None:
        """Judge every live session by the current policy, once for those that ask the same."""
        self._policy_changed(self._snapshots.current)

    def check_staleness(self) -> None:
        """End what must not outlive a policy that cannot be refreshed: call now and then."""
        age = self._snapshots.age()
        if age <= self._staleness:
            return
        for session in tuple(self._live):
            if session.conditions.lock == "strict":
                session.end(f"access withdrawn: the policy is {age:.0f} seconds old and cannot be refreshed")
            elif self._clock.time() >= session.request.identity.login_expires:
                session.end("access withdrawn: the certificate expired while the policy could not be refreshed")

    def _policy_changed(self, snapshot: Snapshot) -> None:
        now = self._clock.time()
        verdicts: dict[tuple[AccessRequest | object, ...], Decision] = {}
        for session in tuple(self._live):
            key = (id(session.judge), session.request.identity, session.login, session.request.target.uid)
            decision = verdicts.get(key)
            if decision is None:
                decision = verdicts[key] = session.judge(snapshot, session.request, now)
            self._apply(session, decision)

    def _apply(self, session: Session, decision: Decision) -> None:
        if not decision.allowed:
            session.end(f"access withdrawn: {_withdrawal(session, decision)}")
            return
        assert decision.conditions is not None
        session.decision = decision
        self._set_timer(session)

    def _check_time(self, request: AccessRequest, decision: Decision) -> None:
        assert decision.conditions is not None
        identity = request.identity
        if (
            identity.authenticated
            and self._clock.time() >= identity.authenticated + decision.conditions.max_session_ttl
        ):
            raise AccessDenied("the login is older than the roles of its user permit", hint="log in again: tsh login")

    def _check_count(self, request: AccessRequest, decision: Decision) -> None:
        assert decision.conditions is not None
        limit = decision.conditions.max_connections
        if limit and Counter(session.user for session in self._live)[request.identity.name] >= limit:
            raise AccessDenied(f"{request.identity.name} has {limit} connections already, as many as the roles permit")

    def _set_timer(self, session: Session) -> None:
        """Have the session end when its login does, where the policy says so."""
        if session._timer is not None:
            session._timer.cancel()
            session._timer = None
        moment, reason = _deadline(session)
        if moment is not None:
            pause = max(0.0, moment - self._clock.time())
            session._timer = asyncio.get_running_loop().call_later(pause, session.end, reason)


def denial(request: AccessRequest, decision: Decision) -> AccessDenied:
    """The error for somebody who was refused: what was asked, why not, and what would help."""
    target, identity = request.target, request.identity
    details = {"role": decision.role, "needs": dict(decision.needs), "reasons": list(decision.reasons)}
    if decision.hidden:
        return AccessDenied(f"{target.kind} {target.name} not found", details={"hidden": True})
    hint = "the session needs a fresh second factor: tsh ssh asks for it" if "mfa" in decision.needs else ""
    return AccessDenied(
        f"{identity.name} may not log in as {request.login} on {target.name} ({decision.because})",
        hint=hint,
        details=details,
    )


def _withdrawal(session: Session, decision: Decision) -> str:
    """Why a running session ends: the rule that decides now, and the one that no longer does."""
    before = session.decision.role
    if decision.role is not None:
        place = f" ({decision.file}:{decision.line})" if decision.file and decision.line else ""
        return f"{decision.because}{place}"
    if before is not None and any(f"role/{before} " in reason for reason in decision.reasons):
        return f"role/{before} no longer allows {session.login} on {session.request.target.name}"
    return decision.because


def _deadline(session: Session) -> tuple[float | None, str]:
    """When the session must end by itself, and why."""
    identity, conditions = session.request.identity, session.conditions
    expires = identity.login_expires
    permitted = identity.authenticated + conditions.max_session_ttl if identity.authenticated else expires
    if permitted < expires:
        return (
            permitted,
            f"access withdrawn: the roles permit logins of at most {conditions.to_dict()['max_session_ttl']}",
        )
    if conditions.disconnect_expired_cert and expires:
        return expires, f"the certificate expired at {utc(expires)}"
    return None, ""


async def _swallow_cancellation(task: "asyncio.Task[object]") -> None:
    """The body ended by itself while its cancellation was under way: take that back."""
    if task.uncancel() >= 0:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if task.cancelling():
                raise
