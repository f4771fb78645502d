"""The only door. `async with gate.admit(request) as session:` admits, or raises AccessDenied.

When the policy changes, every live session is judged again; the task of one that lost its right is cancelled, and
`admit` turns that cancellation into `AccessWithdrawn` with the reason. Locks, edited rules, deleted users,
shortened certificates and a policy too old to trust are all the same re-judging, so protocol code holds none.
"""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, Protocol

from teleport.access.decide import AccessRequest, Decision
from teleport.access.snapshot import Snapshot
from teleport.core.aio import Clock, utc
from teleport.core.errors import AccessDenied, Unavailable
from teleport.resources.values import duration_text, parse_timestamp
from teleport.sessions.session import AccessWithdrawn, Alarm, Denied, Judge, Session, judge_by_policy

__all__ = ["AccessWithdrawn", "Denied", "Gate", "Judge", "Session", "Snapshots"]

log = logging.getLogger(__name__)

DEFAULT_STALENESS = 60.0
"""Seconds after which a policy that could not be refreshed admits nobody."""


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


Outcome = Literal["ended", "withdrawn", "denied", "unavailable"]


class Gate:
    """Admits connections and watches over them; one per service that has sessions."""

    def __init__(self, snapshots: Snapshots, *, clock: Clock, staleness: float = DEFAULT_STALENESS) -> None:
        self._snapshots, self._clock = snapshots, clock
        self.staleness = staleness
        """Seconds; may be changed while sessions run."""
        self.outcomes: Counter[Outcome] = Counter()
        """What became of the sessions asked for, since the start; those that live are not among them."""
        self._closed = ""
        self._live: set[Session] = set()
        self._unsubscribe = snapshots.subscribe(self._policy_changed)

    @property
    def live(self) -> Iterable[Session]:
        return tuple(self._live)

    def refuse(self, reason: str) -> None:
        """Admit nobody from now on, for this reason. Live sessions go on."""
        self._closed = reason

    def close(self) -> None:
        """Stop watching. Sessions that are left are not ended by it."""
        self._unsubscribe()

    def check(self, request: AccessRequest, judge: Judge = judge_by_policy) -> Decision:
        """Judge without admitting. Raises AccessDenied, or Unavailable when the policy is too old to trust."""
        if self._closed:
            raise Unavailable(f"nobody is admitted: {self._closed}")
        age = self._snapshots.age()
        if not age <= self.staleness:
            raise Unavailable(
                f"the policy here is {age:.0f} seconds old; nobody is admitted until the auth service answers"
            )
        decision = _judged(judge, self._snapshots.current, request, self._clock.time())
        if not decision.allowed:
            raise denial(request, decision)
        self._check_time(request, decision)
        self._check_count(request, decision)
        return decision

    @asynccontextmanager
    async def admit(
        self, request: AccessRequest, *, client_address: str = "", judge: Judge = judge_by_policy, called: str = ""
    ) -> AsyncIterator[Session]:
        """Admit, watch, and let go. Raises AccessDenied or Unavailable at the door, AccessWithdrawn later.

        `called` is the id that the connection has already, where another gate admitted it before.
        """
        decision = self._at_the_door(request, judge)
        task = asyncio.current_task()
        assert task is not None
        user = self._snapshots.current.holder(request.identity)
        roles = user.role_names if user is not None else ()
        session = Session(
            request, decision, client_address, self._clock.time(), judge, called or str(uuid.uuid4()),
            user_roles=roles, _task=task,
        )  # fmt: skip
        cancelling = task.cancelling()
        self._live.add(session)
        self._set_alarms(session)
        try:
            yield session
        except asyncio.CancelledError:
            if not session.ended or task.uncancel() > cancelling:
                raise
            raise AccessWithdrawn(session.ended) from None
        except Exception as error:
            if not session.ended:
                raise
            await _take_back(task, cancelling)
            log.warning("a session of %s failed while it was being ended", session.user, exc_info=error)
            raise AccessWithdrawn(session.ended) from error
        else:
            if session.ended:
                await _take_back(task, cancelling)
        finally:
            self._live.discard(session)
            self.outcomes["withdrawn" if session.ended else "ended"] += 1
            session._task = None
            session.clear_alarms()

    def _at_the_door(self, request: AccessRequest, judge: Judge) -> Decision:
        try:
            return self.check(request, judge)
        except AccessDenied:
            self.outcomes["denied"] += 1
            raise
        except Unavailable:
            self.outcomes["unavailable"] += 1
            raise

    def rejudge(self) -> None:
        """Judge every live session by the current policy, once for those that ask the same."""
        self._policy_changed(self._snapshots.current)

    def check_staleness(self) -> None:
        """End what must not outlive a policy that cannot be refreshed, or its own time: call now and then."""
        now = self._clock.time()
        for session in tuple(self._live):
            session.ring_alarms(now)
        age = self._snapshots.age()
        if age <= self.staleness:
            return
        for session in tuple(self._live):
            if session.conditions.lock == "strict":
                session.end(f"access withdrawn: the policy is {age:.0f} seconds old and cannot be refreshed")
            elif now >= session.request.identity.login_expires:
                session.end("access withdrawn: the certificate expired while the policy could not be refreshed")

    def _policy_changed(self, snapshot: Snapshot) -> None:
        now = self._clock.time()
        verdicts: dict[tuple[object, ...], Decision] = {}
        for session in tuple(self._live):
            request = session.request
            target = (request.target.kind, request.target.uid, request.target.name)
            key = (session.judge, request.identity, request.login, target)
            decision = verdicts.get(key)
            if decision is None:
                decision = verdicts[key] = _judged(session.judge, snapshot, request, now)
            self._apply(session, decision)

    def _rejudge_one(self, session: Session) -> None:
        now = self._clock.time()
        self._apply(session, _judged(session.judge, self._snapshots.current, session.request, now))

    def _apply(self, session: Session, decision: Decision) -> None:
        """What a verdict means for a live session. Never raises: the others still wait for theirs."""
        try:
            if decision.allowed:
                session.judged(decision)
                self._set_alarms(session)
            else:
                because = _withdrawal(session, decision) + _by_commit(session, decision, self._snapshots.current)
                session.end(f"access withdrawn: {because}")
        except Exception:
            log.exception("a session of %s could not follow the policy", session.user)
            session.end("access withdrawn: an internal error, while the policy changed")

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
        limit, name = decision.conditions.max_connections, request.identity.name
        if limit and sum(session.user == name for session in self._live) >= limit:
            raise AccessDenied(f"{name} has {limit} connections already, as many as the roles permit")

    def _set_alarms(self, session: Session) -> None:
        session.set_alarms(self._alarms_of(session), self._clock.time())

    def _alarms_of(self, session: Session) -> Iterator[Alarm]:
        """When the session ends by itself, and when it must be judged again though no policy changed."""
        moment, reason = _deadline(session)
        if moment is not None:
            yield Alarm(moment, partial(session.end, reason))
        declared = self._snapshots.current.users.get(session.user)
        now = self._clock.time()
        for written in (declared.metadata.expires, declared.spec.expires) if declared is not None else ():
            if written is not None and (expires := parse_timestamp(written)) > now:
                yield Alarm(expires, partial(self._rejudge_one, session))


def _judged(judge: Judge, snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
    """A judge's decision; whatever goes wrong in it is a denial."""
    try:
        decision = judge(snapshot, request, now)
    except Exception as error:
        reasons = ("the policy could not be evaluated; access is denied until it can",)
        decision = Decision(False, reasons, revision=snapshot.revision, defect=f"{type(error).__name__}: {error}")
    if decision.defect:
        log.error("a decision failed and was answered with a denial: %s", decision.defect)
    return decision


def denial(request: AccessRequest, decision: Decision) -> Denied:
    """The error for somebody who was refused: what was asked, why not, and what would help."""
    target, identity = request.target, request.identity
    details = {"role": decision.role, "needs": dict(decision.needs), "reasons": list(decision.reasons)}
    if decision.hidden:
        return Denied(f"{target.kind} {target.name} not found", decision, details={"hidden": True})
    hint = "the session needs a fresh second factor: tsh ssh asks for it" if "mfa" in decision.needs else ""
    login = f" as {request.login}" if request.login else ""
    return Denied(
        f"{identity.name} may not log in{login} on {target.name} ({decision.because})",
        decision,
        hint=hint,
        details=details,
    )


def _withdrawal(session: Session, decision: Decision) -> str:
    """Why a running session ends: the rule that decides now, and the one that no longer does."""
    before = session.decision.role
    if decision.role is not None:
        place = f" ({decision.file}:{decision.line})" if decision.file and decision.line else ""
        return f"{decision.because}{place}"
    if _no_longer_allows(before, decision):
        return f"role/{before} no longer allows {session.login} on {session.request.target.name}"
    return decision.because


def _no_longer_allows(before: str | None, decision: Decision) -> bool:
    """Whether it is for the role that allowed a session that it is denied now."""
    told = any(reason.startswith(f"role/{before} allows ") for reason in decision.reasons)
    return before is not None and decision.role is None and told


def _by_commit(session: Session, decision: Decision, snapshot: Snapshot) -> str:
    """Which commit declares the rule that decides now, or changed what the session rested on; if that can be told."""
    emergency = _by_emergency(session, decision, snapshot)
    if emergency:
        return emergency
    before, user = session.decision.role, snapshot.users.get(session.user)
    role = snapshot.roles.get(before) if before is not None else None
    commit = decision.commit
    if role is not None and _no_longer_allows(before, decision) and role.origin.commit != session.decision.commit:
        commit = role.origin.commit
    elif decision.role is None and user is not None and before not in user.spec.roles:
        commit = user.origin.commit
    elif decision.role is None and before is not None and role is not None:
        commit = commit or _between_clusters(session.request, before, snapshot)
    return f" (commit {commit})" if commit else ""


def _between_clusters(request: AccessRequest, before: str, snapshot: Snapshot) -> str:
    """The commit of the map that no longer gives a visitor a role, or of the labels that a role no longer selects."""
    identity, target = request.identity, request.target
    holder = snapshot.holder(identity)
    held = next((one for one in holder.roles if one.name == before), None) if holder is not None else None
    if identity.passage is not None:
        trusted = snapshot.trusted.get(identity.cluster)
        return trusted.origin.commit if trusted is not None and held is None else ""
    remote = snapshot.remotes.get(target.name) if target.kind == "cluster" else None
    if remote is None or held is None or held.allow.selector(target.kind).allows(remote.metadata.labels):
        return ""
    return remote.origin.commit


def _by_emergency(session: Session, decision: Decision, snapshot: Snapshot) -> str:
    """Whether what the session rested on was changed for an emergency that is over now, or that began meanwhile."""
    refs = {f"role/{session.decision.role}", f"user/{session.user}", f"node/{session.request.target.name}"}
    if decision.role is not None:
        refs = {f"role/{decision.role}"}
    for one in snapshot.ended:
        if one.ref in refs:
            return f" (the emergency change of {one.ref} ended)"
    for one in snapshot.overlays:
        if one.ref in refs and one.since >= session.started:
            return f" (an emergency change of {one.ref} by {one.actor})"
    return ""


def _deadline(session: Session) -> tuple[float | None, str]:
    """When the session must end by itself, and why."""
    identity, conditions = session.request.identity, session.conditions
    expires = identity.login_expires
    permitted = identity.authenticated + conditions.max_session_ttl if identity.authenticated else expires
    if permitted < expires:
        longest = duration_text(conditions.max_session_ttl)
        return (
            permitted,
            f"access withdrawn: {conditions.shortest or 'the cluster'} permits logins of at most {longest}",
        )
    if conditions.disconnect_expired_cert and expires:
        return expires, f"the certificate expired at {utc(expires)}"
    return None, ""


async def _take_back(task: "asyncio.Task[object]", cancelling: int) -> None:
    """The body ended by itself while its cancellation was under way: undo that, and only that."""
    task.uncancel()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        if task.cancelling() > cancelling:
            raise
