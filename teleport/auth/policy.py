"""The one way a policy kind is written: ownership, the judge, one transaction, one audit event a change.

Sources (a folder, later git and Kubernetes) and the API all come through here. Nothing is half applied: the
whole proposed set is judged, and the transaction holds only if nobody else wrote policy meanwhile. Whatever changes a
resource ends an emergency change that lies over it, in the same transaction.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from teleport.access.judge import Judgement, judge
from teleport.access.overlays import Overlay
from teleport.audit.events import Actor, BreakGlassEnded, Event, OwnerChanged, PolicyDrifted
from teleport.auth import keys
from teleport.auth.adoption import API_SOURCE, Adoptions, MayAdopt, Stored
from teleport.auth.bereft import judge_change
from teleport.auth.changes import change_event
from teleport.auth.last_applied import LastApplied, declared_hash
from teleport.auth.outbox import Outbox
from teleport.auth.underneath import Underneath
from teleport.core.aio import Clock
from teleport.core.errors import Conflict, Invalid, NotFound, Problem, Refused
from teleport.resources.codec import decode, encode
from teleport.resources.kinds import KINDS, AnyResource, shown
from teleport.resources.load import Loaded
from teleport.resources.model import Origin
from teleport.resources.references import Ref
from teleport.resources.user import User
from teleport.resources.values import parse_timestamp
from teleport.resources.wishes import settled
from teleport.sessions.policy import LivePolicy, policy_prefix
from teleport.store.base import ABSENT, Delete, Mismatch, Operation, Put, Store
from teleport.store.replica import Replica

__all__ = [
    "API_SOURCE",
    "Applied",
    "Foreign",
    "PolicyWriter",
    "Proposal",
    "Ref",
    "Review",
    "Reviewed",
    "Stored",
    "Wanted",
    "shown",
]

_ATTEMPTS = 10
_NAMED = 50
"""Names that one event lists."""


@dataclass(frozen=True)
class Applied:
    """What a write came to. `revision` is that of the policy, also where nothing changed."""

    revision: int
    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    repaired: bool = False
    """The source declares what it declared before: all of this had been changed underneath it."""

    @property
    def changed(self) -> int:
        return len(self.created) + len(self.updated) + len(self.deleted)


class Foreign(Invalid):
    """What a source declares belongs to others."""


@dataclass(frozen=True)
class Wanted:
    """A resource to write, and the revision that must be in force: ABSENT for none, None for any."""

    resource: AnyResource
    expected: int | None = None


@dataclass(frozen=True)
class Proposal:
    """A write that would hold by itself, before anybody asked whether it should be: all of before and after."""

    source: str
    actor: Actor
    found: Mapping[Ref, Stored]
    after: Mapping[Ref, AnyResource]
    commit: str = ""


@dataclass(frozen=True)
class Reviewed:
    """What was found of a write that may come into force, and what then belongs to it."""

    warnings: tuple[Problem, ...] = ()
    operations: tuple[Operation, ...] = ()
    """Go into the same transaction."""
    events: tuple[Event, ...] = ()
    """The log is told them with the changes."""


Review = Callable[[Proposal], Awaitable[Reviewed]]
"""Raises Invalid for what must not come into force."""


async def _nothing_to_say(_: Proposal) -> Reviewed:
    return Reviewed()


def _never(_source: str, _owner: str) -> bool:
    return False


class PolicyWriter:
    """Writes policy. `replica` must follow the same store."""

    def __init__(
        self, store: Store, replica: Replica, policy: LivePolicy, outbox: Outbox, *, clock: Clock,
        closed: Iterable[str] = (), review: Review = _nothing_to_say, may_adopt: MayAdopt = _never,
    ) -> None:  # fmt: skip
        """`closed` are the kinds that only sources may write, not the API. `review` is asked before each write.

        `may_adopt` says whether a source may take over, by a label alone, what another one owns.
        """
        self._store, self._replica, self._policy, self._outbox = store, replica, policy, outbox
        self._clock, self.closed, self._review = clock, frozenset(closed), review
        self._adoptions, self._underneath = Adoptions(store, may_adopt), Underneath(store)
        self._ignored: dict[str, frozenset[Ref]] = {}

    async def stored(self) -> tuple[int, Mapping[Ref, Stored]]:
        """Everything declared, and the generation it is current at (0 before the first write)."""
        generation = await self._store.get(keys.GENERATION)
        if generation is not None:
            await self._replica.wait_for(generation.revision)
        tables = self._replica.tables
        found: dict[Ref, Stored] = {}
        for kind, cls in KINDS.items():
            if not cls.secret:
                for name, resource in tables.under(policy_prefix(kind)).items():
                    found[kind, name] = Stored(resource, 0)
        for record in (await self._store.list(keys.TOKENS)).records:
            token = decode(record.value)
            found[token.kind, token.name] = Stored(token, record.revision)
        return (generation.revision if generation is not None else ABSENT), found

    async def owned_by(self, source: str) -> dict[Ref, AnyResource]:
        """What a source owns."""
        _, found = await self.stored()
        return {ref: stored.resource for ref, stored in found.items() if stored.owner == source}

    async def judged(self, source: str, loaded: Loaded) -> Judgement:
        """How the judge sees the cluster if this source declared what could be read of it; nothing is written."""
        _, found = await self.stored()
        rest = {ref: stored.resource for ref, stored in found.items() if stored.owner != source}
        desired = {(one.kind, one.name): one for one in loaded.resources}
        return judge([*(rest | desired).values(), *loaded.remnants], broken=loaded.broken)

    async def replace(
        self, source: str, desired: Sequence[AnyResource], actor: Actor, *, commit: str = "", at: int | None = None
    ) -> Applied:
        """Make what a source owns exactly what it declares. Raises Invalid with every problem.

        `at` is the only generation of the policy that it may take the place of, None for any. Raises Conflict.
        """
        for _ in range(_ATTEMPTS):
            generation, found = await self.stored()
            if at not in (None, generation):
                break
            now = self._clock.time()
            owned = {ref: stored.resource for ref, stored in found.items() if stored.owner == source}
            plan = settled((one for one in desired if not _expired(one, now)), owned)
            last = await LastApplied.read(self._store, source)
            hashed = await asyncio.to_thread(declared_hash, desired)
            foreign = {ref: found[ref] for ref in plan.wanted if ref in found and found[ref].owner != source}
            taken = await self._adoptions.permitted(source, plan.wanted, foreign)
            ours = taken | await self._stolen(foreign, last)
            _refuse_foreign(plan.wanted, {ref: one for ref, one in foreign.items() if ref not in ours})
            kept = {ref: owned[ref].with_origin(Origin(source=API_SOURCE)) for ref in plan.kept}
            wanted = dict(plan.wanted) | kept
            judged = await self._judge(Proposal(source, actor, found, _after(found, wanted, plan.gone), commit))
            same = last.declared == hashed and not taken
            draft = self._draft(actor, source, found, last if same else None, commit)
            await asyncio.to_thread(draft.fill, wanted, plan.gone, last)  # a big source would hold everybody up
            draft.operations += [Delete(keys.adoption(*ref)) for ref in taken]
            if not draft.operations:
                await self._mend(draft, generation, found, wanted)
            draft.tell_of_drift(over=[ref for ref in plan.gone if _expired(found[ref].resource, now)])
            draft.with_review(judged)
            if commit and commit != await self.applied_commit(source):
                draft.operations.append(Put(keys.applied_commit(source), commit.encode()))
            if last.declared != hashed or last.uids != draft.uids:
                draft.operations.append(LastApplied(hashed, draft.uids).operation(source))
            self._ignored[source] = plan.ignored
            revision = await self._commit(generation, draft, {"source": source, "commit": commit})
            if revision is not None:
                return draft.applied(revision, judged)
        raise Conflict("the policy keeps changing; try again")

    async def applied_commit(self, source: str) -> str:
        """The commit of a source that was applied last, or nothing."""
        record = await self._store.get(keys.applied_commit(source))
        return record.value.decode() if record is not None else ""

    async def put(self, wanted: Sequence[Wanted], actor: Actor, *, dry_run: bool = False) -> Applied:
        """Create or replace resources through the API: all of them in one transaction, or none.

        Raises Invalid with places in the files they were read from, Refused for what a source owns, Conflict.
        """
        self._refuse_closed(one.resource.kind for one in wanted)
        proposed = {(one.resource.kind, one.resource.name): one.resource for one in wanted}
        kept = {ref: resource.with_origin(Origin(source=API_SOURCE)) for ref, resource in proposed.items()}
        for _ in range(_ATTEMPTS):
            generation, found = await self.stored()
            for one in wanted:
                ref = (one.resource.kind, one.resource.name)
                current = found.get(ref)
                if current is not None and not self._free(ref, current):
                    raise _owned(current, "changed")
                await self._check_revision(ref, one.expected)
            judged = await self._judge(Proposal(API_SOURCE, actor, found, _after(found, proposed, [])))
            draft = self._draft(actor, API_SOURCE, found)
            draft.fill(kept, [])
            draft.with_review(judged)
            revision = generation if dry_run else await self._commit(generation, draft, {"source": API_SOURCE})
            if revision is not None:
                return draft.applied(revision, judged)
        raise Conflict("the policy keeps changing; try again")

    async def delete(self, kind: str, name: str, actor: Actor, *, expected: int | None = None) -> Applied:
        """Delete one resource through the API. Raises NotFound, Refused, Conflict."""
        self._refuse_closed([kind])
        ref = (kind, name)
        for _ in range(_ATTEMPTS):
            generation, found = await self.stored()
            current = found.get(ref)
            if current is None:
                raise NotFound(f"{kind}/{shown(kind, name)} does not exist")
            await self._check_revision(ref, expected)
            if not self._free(ref, current):
                raise _owned(current, "deleted")
            judged = await self._judge(Proposal(API_SOURCE, actor, found, _after(found, {}, [ref])))
            draft = self._draft(actor, API_SOURCE, found)
            draft.fill({}, [ref])
            draft.with_review(judged)
            revision = await self._commit(generation, draft, {"source": API_SOURCE})
            if revision is not None:
                return draft.applied(revision, judged)
        raise Conflict("the policy keeps changing; try again")

    async def permit_adoption(self, ref: Ref, source: str) -> str:
        """Let a source take over an object when it is read next; to whom it belongs. Raises NotFound, Conflict."""
        current = (await self.stored())[1].get(ref)
        if current is None:
            raise NotFound(f"{ref[0]}/{shown(*ref)} does not exist")
        if current.owner == source:
            raise Conflict(f"{ref[0]}/{shown(*ref)} belongs to the source {source} already")
        await self._adoptions.permit(ref, source, current.owner)
        return current.owner

    def _free(self, ref: Ref, current: Stored) -> bool:
        """Whether the API may write it: its own, and what the source that owns it leaves as it is."""
        return current.owner == API_SOURCE or ref in self._ignored.get(current.owner, ())

    async def revisions_of(self, kind: str) -> Mapping[str, int]:
        """The revisions of the resources of a kind whose names are no secrets, by name."""
        prefix = policy_prefix(kind)
        return {one.key.removeprefix(prefix): one.revision for one in (await self._store.list(prefix)).records}

    async def revision_of(self, kind: str, name: str) -> int:
        """The revision of a resource, 0 if it does not exist."""
        record = await self._store.get(keys.policy(kind, name))
        return record.revision if record is not None else ABSENT

    async def _check_revision(self, ref: Ref, expected: int | None) -> None:
        if expected is None:
            return
        actual = await self.revision_of(*ref)
        if actual == expected:
            return
        what = f"{ref[0]}/{shown(*ref)}"
        if expected == ABSENT:
            raise Conflict(f"{what} exists already", hint="tctl create --force replaces it; tctl edit changes it")
        raise Conflict(f"{what} was changed since it was read", hint="read it again and repeat the change")

    def _refuse_closed(self, kinds: Iterable[str]) -> None:
        shut = sorted(self.closed.intersection(kinds))
        if shut:
            raise Refused(
                f"the API of this cluster is closed for the kind {', '.join(shut)}",
                hint="declare it in the source of the policy; closed_kinds in teleport.yaml says which kinds",
            )

    async def consider(self, proposal: Proposal) -> Reviewed:
        """What stands against a proposal, as every write is asked. Raises Invalid; writes nothing."""
        return await self._judge(proposal)

    def _draft(
        self, actor: Actor, source: str, found: Mapping[Ref, Stored], last: LastApplied | None = None, commit: str = ""
    ) -> "_Draft":
        overlays = {(one.kind, one.name): one for one in self._policy.overlays}
        return _Draft(actor, source, commit, found, overlays, last)

    async def _stolen(self, foreign: Mapping[Ref, Stored], last: LastApplied) -> frozenset[Ref]:
        """What the source had, and others own that never came by it through a door."""
        found = []
        for ref, stored in foreign.items():
            if last.has(stored.resource):
                by_others = await LastApplied.read(self._store, stored.owner)
                found += [] if by_others.has(stored.resource) else [ref]
        return frozenset(found)

    async def _mend(
        self, draft: "_Draft", generation: int, found: Mapping[Ref, Stored], wanted: Mapping[Ref, AnyResource]
    ) -> None:
        """Write again what somebody changed in the store without a trace in its log, so that nobody followed."""
        shown = {ref: stored.resource for ref, stored in found.items()}
        moved, unseen = await self._underneath.moved(generation, shown)
        for ref in wanted:
            if keys.policy(*ref) in moved:
                draft.write_again(shown[ref])
        for one in unseen:
            if one.origin.source == draft.source and (one.kind, one.name) not in wanted:
                draft.delete(one)

    async def _judge(self, proposal: Proposal) -> Reviewed:
        before = {ref: stored.resource for ref, stored in proposal.found.items()}
        judgement = judge_change(before, proposal.after, api=API_SOURCE)
        if judgement.problems:
            raise Invalid(judgement.problems)
        reviewed = await self._review(proposal)
        return replace(reviewed, warnings=(*judgement.warnings, *reviewed.warnings))

    async def _commit(self, generation: int, draft: "_Draft", stamp: Mapping[str, str]) -> int | None:
        """Write; the policy's revision then, or None if somebody else wrote policy first."""
        if not draft.operations:
            return generation
        first = Put(keys.GENERATION, json.dumps(stamp).encode(), expected=generation)
        try:
            revision = await self._store.txn([first, *draft.operations, *self._outbox.operations(draft.events)])
        except Mismatch:
            return None
        await self._policy.wait_for(revision)
        await self._outbox.flush()
        return revision


@dataclass
class _Draft:
    """What a change comes to: operations for the store, events for the log, names for whoever asked."""

    actor: Actor
    source: str
    commit: str
    found: Mapping[Ref, Stored]
    overlays: Mapping[Ref, Overlay]
    last: LastApplied | None
    """What was applied last, if it is declared once more: then whatever changes is a repair."""
    operations: list[Operation] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=lambda: {"create": [], "update": [], "delete": []})
    uids: dict[str, str] = field(default_factory=dict)
    """By key of the store, the incarnations of all that is to be."""
    drifted: bool = False

    def fill(self, wanted: Mapping[Ref, AnyResource], gone: Iterable[Ref], known: LastApplied | None = None) -> None:
        """What is to be, and what is to go; `known` is what the source was applied with last."""
        for ref, resource in wanted.items():
            current = self.found.get(ref)
            before = current.resource if current is not None else None
            self._put(resource, before, self._uid(resource, before, known or LastApplied()))
        for ref in gone:
            self.delete(self.found[ref].resource)

    def _uid(self, resource: AnyResource, before: AnyResource | None, known: LastApplied) -> str:
        """The incarnation: that which was given, also if the store says another; of what was deleted a new one."""
        kept = known.uid(resource) if before is not None or self.last is not None else ""
        return kept or (before.uid if before is not None else "") or str(uuid.uuid4())

    def _put(self, resource: AnyResource, before: AnyResource | None, uid: str) -> None:
        """A resource that is to be. One that only moved within its source is written without an event."""
        ref = (resource.kind, resource.name)
        if (resource.origin.source or API_SOURCE) == self.source:
            self.uids[keys.policy(*ref)] = uid
        same = before is not None and before.to_dict() == resource.to_dict() and before.uid == uid
        if same and before is not None and before.origin == resource.origin:
            return
        fresh = resource.with_origin(resource.origin, uid=uid)
        self.operations.append(Put(keys.policy(*ref), encode(fresh), expires=_expires(fresh)))
        owner, owned_before = resource.origin.source or API_SOURCE, before.origin.source if before is not None else None
        repaired = self.last is not None and before is not None and owned_before != owner == self.source
        if not same or repaired:
            self._lift(ref)
            self._note("create" if before is None else "update", fresh)
        if before is not None and not repaired:
            self._moved(before.origin.source or API_SOURCE, resource)

    def _moved(self, owner: str, resource: AnyResource) -> None:
        """Who owns it now, if that has changed: what a source gives up it has kept, what the API takes it ignored."""
        now = resource.origin.source or API_SOURCE
        if now != owner:
            why = "adopted" if now != API_SOURCE else "kept" if self.source != API_SOURCE else "ignored"
            name = f"{resource.kind}/{shown(resource.kind, resource.name)}"
            self.events.append(OwnerChanged(**self.actor.fields(), name=name, before=owner, source=now, why=why))

    def write_again(self, resource: AnyResource) -> None:
        """Put back what everybody takes to be there."""
        key = keys.policy(resource.kind, resource.name)
        self.operations.append(Put(key, encode(resource), expires=_expires(resource)))
        self._note("update", resource)

    def delete(self, resource: AnyResource) -> None:
        self.operations += [Delete(keys.policy(resource.kind, resource.name)), *self._leftovers(resource)]
        self._lift((resource.kind, resource.name))
        self._note("delete", resource)

    def _leftovers(self, resource: AnyResource) -> list[Operation]:
        """What must go with a resource: a user's password and second factor, unless they are somebody else's."""
        if not isinstance(resource, User):
            return []
        shared = self._names.get(resource.uid, set()) - {resource.name}
        return [] if shared else [Delete(keys.credential(resource.uid))]

    @cached_property
    def _names(self) -> Mapping[str, set[str]]:
        """The users of each incarnation."""
        names: dict[str, set[str]] = {}
        for (kind, name), one in self.found.items():
            if kind == User.kind:
                names.setdefault(one.resource.uid, set()).add(name)
        return names

    def _lift(self, ref: Ref) -> None:
        """End an emergency change: the declaration that it was made over is no more."""
        overlay = self.overlays.get(ref)
        if overlay is None:
            return
        self.operations += [Delete(keys.overlay(*ref)), Delete(keys.overlay_witness(*ref))]
        by = f"source {self.source}" if self.source != API_SOURCE else self.actor.user
        reason = f"{overlay.ref} was changed by {by}" + (f" in commit {self.commit}" if self.commit else "")
        self.events.append(
            BreakGlassEnded(
                **self.actor.fields(), name=overlay.ref, id=overlay.id, reason=reason, begun_by=overlay.actor
            )
        )

    def _note(self, action: str, resource: AnyResource) -> None:
        name = f"{resource.kind}/{shown(resource.kind, resource.name)}"
        self.names[action].append(name)
        self.events.append(change_event(action, resource, self.actor, source=self.source))

    def tell_of_drift(self, *, over: Sequence[Ref]) -> None:
        """Note it if the source declares nothing new and more has to be written than what goes in its own time."""
        if self.last is None or sum(map(len, self.names.values())) == len(over):
            return
        self.drifted = True
        created, updated, deleted = (tuple(self.names[action][:_NAMED]) for action in ("create", "update", "delete"))
        self.events.append(
            PolicyDrifted(
                **self.actor.fields(), source=self.source, commit=self.commit, created=created, updated=updated,
                deleted=deleted,
            )
        )  # fmt: skip

    def with_review(self, reviewed: Reviewed) -> None:
        """Add what belongs to the change because it was permitted, if there is a change."""
        if self.operations:
            self.operations += reviewed.operations
            self.events += reviewed.events

    def applied(self, revision: int, reviewed: Reviewed) -> Applied:
        created, updated, deleted = (tuple(self.names[action]) for action in ("create", "update", "delete"))
        return Applied(revision, created, updated, deleted, reviewed.warnings, self.drifted)


def _after(
    found: Mapping[Ref, Stored], wanted: Mapping[Ref, AnyResource], gone: Iterable[Ref]
) -> dict[Ref, AnyResource]:
    proposed = {ref: stored.resource for ref, stored in found.items()} | dict(wanted)
    for ref in gone:
        del proposed[ref]
    return proposed


def _refuse_foreign(wanted: Mapping[Ref, AnyResource], foreign: Mapping[Ref, Stored]) -> None:
    problems = []
    for ref, current in foreign.items():
        resource = wanted[ref]
        line, column = resource.origin.at("metadata", "name")
        message = f"{resource.kind}/{shown(*ref)} belongs to the source {current.owner}"
        adopt = f"tctl policy adopt {resource.kind}/{shown(*ref)} --source {resource.origin.source}"
        hint = f"delete it there first, or have it taken over: {adopt}"
        problems.append(Problem(resource.origin.file, line, column, message, hint))
    if problems:
        raise Foreign(problems)


def _owned(current: Stored, what: str) -> Refused:
    resource, origin = current.resource, current.resource.origin
    place = f"{origin.file}:{origin.line}" if origin.line else origin.file
    commit = f" (commit {origin.commit})" if origin.commit else ""
    return Refused(
        f"{resource.kind}/{shown(resource.kind, resource.name)} is declared in {place}{commit} and can only be {what}"
        " there",
        hint=f"edit {origin.file} in the source {origin.source}",
        details={"file": origin.file, "line": origin.line, "source": origin.source, "commit": origin.commit},
    )


def _expires(resource: AnyResource) -> float | None:
    return parse_timestamp(resource.metadata.expires) if resource.metadata.expires is not None else None


def _expired(resource: AnyResource, now: float) -> bool:
    expires = _expires(resource)
    return expires is not None and expires <= now
