"""What was refused and somebody else may approve, and the approvals: each of exactly one proposal, for once, for a day.

What was refused is remembered in memory alone: a source proposes it again, and so may whoever writes. Approvals are
kept in the store, sealed, and go with the transaction that they permit. Who may approve is told by whoever refuses.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from teleport.auth import keys
from teleport.core.aio import Clock
from teleport.core.errors import Conflict, Invalid, NotFound, Problem, Refused
from teleport.core.identity import Identity
from teleport.store.base import Delete, Operation, Store

__all__ = ["Approval", "Approvals", "GuardRefused", "Refusal"]

LIFETIME: Final = 24 * 3600.0
"""Seconds that a refusal is remembered, and an approval holds."""
_MOST: Final = 200
"""Refusals that are remembered."""


class GuardRefused(Invalid):
    """Nothing is wrong with it, and yet it needs another person."""

    def __init__(self, problems: Sequence[Problem], guards: Iterable[str] = ()) -> None:
        super().__init__(problems)
        self.guards = frozenset(guards)


@dataclass(frozen=True)
class Refusal:
    """A proposal that a guard has refused. `digest` names the proposal, the guard and what it found."""

    digest: str
    source: str
    guard: str
    message: str
    commit: str = ""
    objections: Mapping[str, str] = field(default_factory=dict)
    """By user who may approve such things at all, why not this; or nothing."""
    local: str = ""
    """Why nobody on the auth host may, or nothing."""
    id: str = ""
    """What people call it."""
    when: float = 0.0

    def objection(self, approver: Identity) -> str:
        """Why somebody may not approve it, or nothing."""
        if approver.kind == "admin":
            return self.local
        stranger = "no user who may update policy"
        return self.objections.get(approver.name, stranger) if approver.is_user else stranger


@dataclass(frozen=True)
class Approval:
    """That somebody else is for it: a user, in an incarnation, or somebody on the auth host."""

    approver: str
    uid: str
    local: bool
    reason: str
    spent: Operation
    """Goes into the transaction that comes of it."""


class Approvals:
    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._refused: dict[str, Refusal] = {}

    def refuse(self, refusal: Refusal) -> Refusal:
        """Remember it; the same proposal keeps its id."""
        now = self._clock.time()
        known = self._refused.pop(refusal.digest, None)
        kept = replace(refusal, id=known.id if known is not None else secrets.token_hex(5), when=now)
        self._refused = {
            digest: one for digest, one in list(self._refused.items())[-_MOST + 1 :] if one.when + LIFETIME > now
        } | {kept.digest: kept}
        return kept

    def refused(self, guard: str, *, source: str = "", proposal: str = "", many: str = "api") -> Refusal:
        """The one that is meant. Of a source the last one counts, but of the source `many` there are several."""
        named = {
            (one.source, one.digest if one.source == many or proposal else ""): one
            for one in self._refused.values()
            if one.guard == guard and source in ("", one.source) and proposal in ("", one.id)
        }
        found = list(named.values())
        if not found:
            raise NotFound(f"nothing is refused by the guard {guard}", hint="tctl policy status shows what is")
        if len(found) > 1:
            ids = ", ".join(f"{one.id} ({one.source})" for one in found)
            raise Conflict(f"several proposals are refused by the guard {guard}", hint=f"say which: {ids}")
        return found[0]

    async def approve(self, refusal: Refusal, approver: Identity, *, reason: str) -> float:
        """Keep that somebody approves it; until when. Raises Refused for whose approval would not count."""
        local = approver.kind == "admin"
        objection = refusal.objection(approver)
        if objection:
            raise Refused(f"{approver.name} may not approve it: {objection}", hint="somebody else has to")
        expires = self._clock.time() + LIFETIME
        body = json.dumps({
            "approver": approver.name, "uid": "" if local else approver.uid, "local": local, "reason": reason,
        }).encode()  # fmt: skip
        await self._store.put(keys.approval(refusal.digest), body, expires=expires)
        return expires

    async def of(self, digest: str) -> Approval | None:
        """The approval of exactly this, if there is one."""
        record = await self._store.get(keys.approval(digest))
        if record is None or (record.expires is not None and record.expires <= self._clock.time()):
            return None
        body = json.loads(record.value)
        spent = Delete(record.key, expected=record.revision)
        return Approval(body["approver"], body["uid"], body["local"], body["reason"], spent)
