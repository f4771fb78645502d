"""An admitted connection: what it may do now, what rests on that, and how it is ended, once, with a reason."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from teleport.access.decide import AccessRequest, Decision, decide
from teleport.access.options import Conditions
from teleport.access.snapshot import Snapshot
from teleport.core.errors import AccessDenied

__all__ = ["AccessWithdrawn", "Alarm", "Denied", "Judge", "Session", "Still", "judge_by_policy"]

log = logging.getLogger(__name__)

Judge = Callable[[Snapshot, AccessRequest, float], Decision]

Still = Callable[[Conditions], str]
"""Why something must end under these conditions; empty as long as it may go on."""


class AccessWithdrawn(Exception):
    """The policy no longer allows this session; the text is for the person in it."""


class Denied(AccessDenied):
    """The policy refused a session. What decided is for the audit log; who asks reads the message and the details."""

    def __init__(self, message: str, decision: Decision, *, hint: str = "", details: Mapping[str, Any]) -> None:
        super().__init__(message, hint=hint, details=details)
        self.decision = decision


def judge_by_policy(snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
    """The judge of sessions that name none of their own."""
    return decide(snapshot, request, now=now)


@dataclass(frozen=True, eq=False)
class Alarm:
    """A moment, in seconds since the epoch, at which time alone changes what a session may do."""

    moment: float
    ring: Callable[[], None]


@dataclass(eq=False)
class Session:
    """An admitted connection. `decision` is the latest; `ended` the reason once it was withdrawn."""

    request: AccessRequest
    decision: Decision
    client_address: str
    started: float
    judge: Judge = judge_by_policy
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    ended: str = ""
    user_roles: tuple[str, ...] = ()
    """The live roles at the door, for the audit log."""
    _task: "asyncio.Task[object] | None" = None
    _alarms: tuple[Alarm, ...] = ()
    _timers: list[asyncio.TimerHandle] = field(default_factory=list)
    _watchers: list[Callable[[], None]] = field(default_factory=list)

    @property
    def conditions(self) -> Conditions:
        assert self.decision.conditions is not None
        return self.decision.conditions

    @property
    def connection(self) -> str:
        """The connection's id in every log that tells of it, those of two clusters included."""
        passage = self.request.identity.passage
        return self.id if passage is None else passage.session

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

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back when the conditions have changed; returns what ends that."""
        self._watchers.append(changed)

        def stop() -> None:
            with suppress(ValueError):
                self._watchers.remove(changed)

        return stop

    @contextmanager
    def hold(self, still: Still, end: Callable[[str], None]) -> Iterator[None]:
        """For what rests on some condition, such as a channel that copies files.

        Raises AccessDenied where `still` objects now. If it objects later, while the block runs, `end(reason)` is
        called, once; what `end` does is the caller's business, the rest of the session goes on.
        """
        refusal = still(self.conditions)
        if refusal:
            raise AccessDenied(refusal)

        def look() -> None:
            reason = still(self.conditions)
            if reason:
                stop()
                end(f"access withdrawn: {reason}")

        stop = self.watch(look)
        try:
            yield
        finally:
            stop()

    # -- for the gate

    def judged(self, decision: Decision) -> None:
        """Take a decision that allows the session to go on. Who cannot be told about it takes the session down."""
        before, self.decision = self.conditions, decision
        if self.conditions == before:
            return
        for watcher in tuple(self._watchers):
            try:
                watcher()
            except Exception:
                log.exception("a session of %s could not follow its conditions", self.user)
                self.end("access withdrawn: an internal error, while its conditions changed")

    def set_alarms(self, alarms: Iterator[Alarm], now: float) -> None:
        """Replace the alarms; they ring by the loop's clock, or when `ring_alarms` finds them due."""
        self.clear_alarms()
        self._alarms = tuple(alarms)
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(max(0.0, alarm.moment - now), alarm.ring) for alarm in self._alarms]

    def ring_alarms(self, now: float) -> None:
        """For when wall time has jumped."""
        for alarm in self._alarms:
            if alarm.moment <= now:
                alarm.ring()

    def clear_alarms(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers, self._alarms = [], ()
