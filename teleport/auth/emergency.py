"""Emergency changes of what sources own: judged, stored apart from the declaration, and cleared away at their end.

That one ends is not decided here: every snapshot drops it by itself (`access.overlays`). This removes what has ended
and says so in the audit log, and it removes what was not written here at all.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from teleport.access.overlays import BREAK_GLASS, OPEN, Overlay, fingerprint, obstacle, untouchable
from teleport.audit.events import SERVICE, Actor, BreakGlass, BreakGlassEnded, Event
from teleport.auth import keys
from teleport.auth.outbox import Outbox
from teleport.auth.policy import API_SOURCE, PolicyWriter, Proposal, Ref, Stored
from teleport.core.aio import Clock, utc
from teleport.core.errors import BadInput, Conflict, Invalid, NotFound, Refused, TeleportError
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin
from teleport.resources.values import duration_text
from teleport.sessions.policy import LivePolicy, declared_tables
from teleport.store.base import Delete, Mismatch, Operation, Put, Store
from teleport.store.replica import Replica

__all__ = ["Emergencies", "EmergencyLimits", "Wish"]

log = logging.getLogger(__name__)

_MOST: Final = 50
"""Emergency changes at a time: each is looked at whenever the policy changes."""
_LARGEST: Final = 256 * 1024
"""Bytes of one, stored: every service follows it."""
_MOST_TOLD: Final = 16 * 1024
"""Bytes of what was changed, in an event."""
_LOOK_SECONDS: Final = 1.0


@dataclass
class EmergencyLimits:
    """What teleport.yaml permits; replaced when it is read again."""

    enabled: bool = False
    longest: float = 0.0


@dataclass(frozen=True)
class Wish:
    """What somebody wants to be in force for a while, and why."""

    resource: AnyResource
    reason: str
    ttl: float
    replaces: str = ""
    """The id of the one of the same resource that was seen in force."""
    revision: int | None = None
    """Of the declaration that was seen, None for any."""

    @property
    def ref(self) -> Ref:
        return self.resource.kind, self.resource.name


Difference = Mapping[str, Any]
"""A field that differs: its `path`, and its `old` and `new` value."""
Differences = Callable[[AnyResource, AnyResource], Iterable[Difference]]


@dataclass(frozen=True)
class _Judged:
    """A wish with which nothing is wrong, at one generation of the policy."""

    wish: Wish
    base: Stored
    generation: int
    changes: tuple[Difference, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(str(one["path"]) for one in self.changes)


class Emergencies:
    """Run `run()` as a task. `judge` first, then show the second factor, then `begin`."""

    def __init__(
        self, store: Store, replica: Replica, policy: LivePolicy, writer: PolicyWriter, outbox: Outbox, *,
        clock: Clock, differences: Differences,
    ) -> None:  # fmt: skip
        self._store, self._replica, self._policy = store, replica, policy
        self._writer, self._outbox, self._clock, self._differences = writer, outbox, clock, differences
        self._news = asyncio.Event()
        self.limits = EmergencyLimits()

    @property
    def in_force(self) -> tuple[Overlay, ...]:
        return self._policy.current.overlays

    async def judge(self, wish: Wish, actor: Actor) -> _Judged:
        """Whether it may come into force. Raises Refused, NotFound, BadInput, Invalid."""
        self._check_limits(wish)
        generation, found = await self._writer.stored()
        base = found.get(wish.ref)
        if base is None:
            raise NotFound(f"{wish.resource.ref} is not declared", hint="an emergency changes what a source declares")
        if base.owner == API_SOURCE and base.resource.kind not in self._writer.closed:
            raise Refused(f"{wish.resource.ref} belongs to no source", hint="change it as usual, with tctl edit")
        await self._check_seen(wish)
        changes = tuple(self._differences(base.resource, wish.resource))
        if not changes:
            raise BadInput(f"{wish.resource.ref} is declared just like that: there is nothing to change")
        why_not = untouchable(base.resource, wish.resource, declared_tables(self._replica.tables))
        if why_not:
            raise Refused(why_not, hint="change it where it is declared")
        others = {(one.kind, one.name): one.resource for one in self.in_force if one.resource is not None}
        if len(others.keys() - {wish.ref}) >= _MOST:
            raise Refused(f"{_MOST} emergency changes are in force already", hint="tctl policy break-glass ls")
        before = {ref: _owned(others[ref], stored) if ref in others else stored for ref, stored in found.items()}
        after = {ref: stored.resource for ref, stored in before.items()} | {
            wish.ref: _owned(wish.resource, base).resource
        }
        await self._consider(Proposal(base.owner, actor, before, after))
        return _Judged(wish, base, generation, changes)

    async def _check_seen(self, wish: Wish) -> None:
        """Nobody changes what they have not looked at."""
        there = self._stored(*wish.ref)
        seen = wish.revision in (None, await self._writer.revision_of(*wish.ref))
        if not seen or (there.id if there is not None else "") != wish.replaces:
            raise Conflict(f"{wish.resource.ref} was changed since it was read", hint="read it again and repeat that")

    async def _consider(self, proposal: Proposal) -> None:
        try:
            await self._writer.consider(proposal)
        except Invalid as error:
            raise Invalid(error.problems, hint="also in an emergency, the policy must hold together") from None

    def _check_limits(self, wish: Wish) -> None:
        if not self.limits.enabled:
            raise Refused(
                "this cluster permits no emergency changes", hint="policies.break_glass in teleport.yaml permits them"
            )
        if not 1 <= wish.ttl <= self.limits.longest:
            longest = duration_text(self.limits.longest)
            raise Refused(
                f"an emergency change lasts from 1s to {longest}, not {duration_text(max(0.0, wish.ttl))}",
                hint="teleport.yaml sets the longest: policies.break_glass.max_ttl",
            )
        if wish.resource.kind not in OPEN:
            raise Refused(f"a {wish.resource.kind} cannot be changed in an emergency", hint=f"only {', '.join(OPEN)}")

    async def begin(self, judged: _Judged, actor: Actor, *, with_mfa: bool) -> Overlay:
        """Bring it into force. Raises Conflict if the policy has changed since it was judged."""
        wish, now = judged.wish, self._clock.time()
        kind, name = wish.ref
        overlay = Overlay(
            id=str(uuid.uuid4()), kind=kind, name=name, base=fingerprint(judged.base.resource), actor=actor.user,
            reason=wish.reason, since=now, expires=now + wish.ttl, fields=judged.fields,
            resource=_marked(wish.resource, judged.base),
        )  # fmt: skip
        body = overlay.encode()
        if len(body) > _LARGEST:
            raise BadInput(f"{overlay.ref} is too large for an emergency change: {len(body)} bytes of {_LARGEST}")
        origin, replaced = judged.base.resource.origin, self._stored(kind, name)
        event = BreakGlass(
            **actor.fields(),
            success=True,
            name=overlay.ref,
            id=overlay.id,
            reason=wish.reason,
            expires=utc(overlay.expires),
            fields=judged.fields,
            changes=_within_reason(judged.changes),
            with_mfa=with_mfa,
            source=judged.base.owner,
            file=origin.file,
            line=origin.line,
            commit=origin.commit,
            replaces=replaced.id if replaced is not None else "",
        )
        stamp = Put(keys.GENERATION, b'{"source": "break-glass"}', expected=judged.generation)
        writes: list[Operation] = [
            Put(keys.overlay(kind, name), body),
            Put(keys.overlay_witness(kind, name), _hash(body)),
        ]
        try:
            revision = await self._store.txn([stamp, *writes, *self._outbox.operations([event])])
        except Mismatch:
            raise Conflict("the policy has changed meanwhile", hint="look at it again and repeat the change") from None
        await self._policy.wait_for(revision)
        await self._outbox.flush()
        log.warning(
            "emergency change of %s by %s until %s: %s", overlay.ref, actor.user, utc(overlay.expires), wish.reason
        )
        return overlay

    async def end(self, kind: str, name: str, actor: Actor) -> Overlay:
        """Let the declaration be in force again, at once. Raises NotFound."""
        overlay = self._stored(kind, name)
        if overlay is None:
            raise NotFound(f"no emergency change of {kind}/{name} is in force", hint="tctl policy break-glass ls")
        await self._remove(overlay, actor, f"{actor.user} ended it")
        return overlay

    def _stored(self, kind: str, name: str) -> Overlay | None:
        return next((one for one in self._policy.overlays if (one.kind, one.name) == (kind, name)), None)

    # -- clearing away

    async def run(self) -> None:
        """Clear away what has ended, at its time and whenever the policy changes."""
        stop = self._policy.subscribe(lambda _: self._news.set())
        try:
            while True:
                self._news.clear()
                try:
                    await self.clear()
                except (TeleportError, OSError) as error:
                    log.error("an emergency change that is over cannot be removed: %s", error)
                await self._pause()
        finally:
            stop()

    async def _pause(self) -> None:
        """Until there is news; while there are emergency changes, no longer than a moment."""
        news = asyncio.create_task(self._news.wait())
        waits: set[asyncio.Task[object]] = {news}
        if self._policy.overlays or self._unreadable():
            waits.add(asyncio.create_task(self._clock.sleep(_LOOK_SECONDS)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    async def clear(self) -> None:
        """One look: remove what no longer counts, and what was not written here."""
        now, declared = self._clock.time(), declared_tables(self._replica.tables)
        counting = {one.id for one in self.in_force}
        for overlay in self._policy.overlays:
            why = obstacle(overlay, declared, now) or ("" if overlay.id in counting else "its time is over")
            if not why and not await self._is_ours(overlay.kind, overlay.name):
                why = "it was written past the auth service"
            if why:
                await self._remove(overlay, Actor("auth", SERVICE), why)
        for key in self._unreadable():
            await self._store.txn([Delete(key)])
            log.error("%s cannot be read and was removed", key)

    def _unreadable(self) -> list[str]:
        prefix = keys.overlay("", "").rstrip("/")
        return [key for key in self._replica.tables.unreadable if key.startswith(f"{prefix}/")]

    async def _is_ours(self, kind: str, name: str) -> bool:
        record = await self._store.get(keys.overlay(kind, name))
        if record is None:
            return True  # gone already: nobody will see it any more
        try:
            witness = await self._store.get(keys.overlay_witness(kind, name))
        except Refused:
            return False
        return witness is not None and witness.value == _hash(record.value)

    async def _remove(self, overlay: Overlay, actor: Actor, why: str) -> None:
        """Remove this one and no other that may have taken its place."""
        key = keys.overlay(overlay.kind, overlay.name)
        record = await self._store.get(key)
        if record is None or _id_of(overlay.ref, record.value) != overlay.id:
            return
        event: Event = BreakGlassEnded(
            **actor.fields(), name=overlay.ref, id=overlay.id, reason=why, begun_by=overlay.actor
        )
        deletes: list[Operation] = [
            Delete(key, expected=record.revision), Delete(keys.overlay_witness(overlay.kind, overlay.name)),
        ]  # fmt: skip
        try:
            revision = await self._store.txn([*deletes, *self._outbox.operations([event])])
        except Mismatch:
            return  # somebody was faster
        await self._policy.wait_for(revision)
        await self._outbox.flush()
        log.warning("the emergency change of %s by %s is over: %s", overlay.ref, overlay.actor, why)


def _owned(resource: AnyResource, base: Stored) -> Stored:
    """As if the owner declared it: no emergency gives an object more than its source could."""
    return Stored(resource.with_origin(base.resource.origin, uid=base.resource.uid), base.revision)


def _marked(resource: AnyResource, base: Stored) -> AnyResource:
    """As it is in force: of the declared incarnation, and visibly from nowhere that is under review."""
    origin = Origin(source=BREAK_GLASS, file=base.resource.origin.file)
    return resource.with_origin(origin, uid=base.resource.uid)


def _within_reason(changes: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """What the audit log keeps: all of it or nothing."""
    return changes if len(json.dumps(changes)) <= _MOST_TOLD else ()


def _id_of(ref: str, body: bytes) -> str:
    try:
        return Overlay.decode(ref, body).id
    except (ValueError, KeyError, TypeError):
        return ""


def _hash(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode()
