"""Brings a namespace into force as far as it goes: tries all of it, and what is refused is left out of the next try.

What is tried is judged like every other write, in one transaction against the very policy that it was made for. Knows
no manifests and no operator; what it found of each object is kept for whoever answers them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bound
from typing import Final

from teleport.access.inventory import known_hosts
from teleport.access.snapshot import Declared as Tables
from teleport.access.snapshot import compile_snapshot
from teleport.access.widening import widened
from teleport.audit.events import SERVICE, Actor
from teleport.auth.policy import Foreign, Proposal, Stored
from teleport.core.aio import Clock
from teleport.core.errors import Conflict, Invalid, Problem
from teleport.gitops.foreseen import foreseen, plainly
from teleport.gitops.guards.administration import NAME as ADMINISTRATION
from teleport.gitops.loop import Guarded, Outcome
from teleport.gitops.manifests import Declared
from teleport.gitops.order import Ref
from teleport.gitops.partial import Partial, Widens, groups_of, partial
from teleport.gitops.piecemeal import Case, Finding, Reason, case_of, merged
from teleport.gitops.policytest import INVARIANTS, TESTS
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loaded
from teleport.resources.node import Node
from teleport.service.auth import AuthService
from teleport.service.verdicts import Settled, problems_of

__all__ = ["Settling"]

_ROUNDS: Final = 20
"""After so many refusals of what was left, everything that would change stays out."""
_TOLD: Final = 5
"""Problems of the whole that each object is told which cannot be told apart."""
_ATTEMPTS: Final = 4
"""How often all is looked at anew because others wrote policy meanwhile."""
_STATES: Final = frozenset({TESTS, INVARIANTS, ADMINISTRATION})
"""What refuses a state, so that the half of a change that leads to it can be told; other guards measure changes, and
would be got round by halves."""

Objects = Mapping[Ref, AnyResource]


class Settling:
    """Of one source. Call it with what was read."""

    def __init__(self, name: str, auth: AuthService, *, clock: Clock) -> None:
        self._name, self._auth, self._clock = name, auth, clock
        self.last: Settled | None = None
        """What was found when all of it was tried last."""

    async def __call__(self, loaded: Loaded) -> Outcome:
        """See `gitops.loop.Settle`. Raises Conflict if others keep writing policy meanwhile."""
        assert isinstance(loaded, Declared)
        for _ in range(_ATTEMPTS):
            try:
                return await self._settle(loaded)
            except Conflict:
                continue
        return await self._settle(loaded)

    async def _settle(self, loaded: Declared) -> Outcome:
        generation, found = await self._auth.auth.writer.stored()
        before = {ref: stored.resource for ref, stored in found.items()}
        case = await asyncio.to_thread(case_of, loaded, before, self._name, now=self._clock.time())
        attempt = _Attempt(self._name, self._auth, case, found, await self._auth.reviewer.hosts(), self._clock)
        part, findings, (revision, changed, warnings) = await attempt.run(generation)
        self.last = Settled(case, part, findings, revision)
        return Outcome(revision, changed, len(part.desired), warnings, problems_of(self.last))


@dataclass
class _Attempt:
    """One pass over one state of the policy."""

    name: str
    auth: AuthService
    case: Case
    found: Mapping[Ref, Stored]
    nodes: Sequence[Node]
    clock: Clock

    async def run(self, generation: int) -> tuple[Partial, Mapping[Ref, Finding], tuple[int, int, tuple[Problem, ...]]]:
        findings: Mapping[Ref, Finding] = dict(self.case.findings)
        for left in reversed(range(_ROUNDS)):
            part = await self._part(findings)
            desired = self.case.desired(part)
            try:
                return part, findings, await self.auth.apply(self.name, tuple(desired.values()), at=generation)
            except Invalid as error:
                fresh = await self._blamed(error, desired, findings, last=not left)
                if not fresh.keys() - findings.keys():
                    raise
                findings = merged(findings, fresh, _reason(error))
        raise AssertionError("what changes nothing was refused")

    async def _part(self, findings: Mapping[Ref, Finding]) -> Partial:
        case = self.case
        if not findings and not case.read.sets:
            return Partial(dict(case.declared))
        broken = {ref: one.problems for ref, one in findings.items()}
        work = bound(
            partial, case.declared, broken, owned=case.owned, others=case.others, widens=self._widens(),
            sets=case.read.sets, plainly=plainly,
        )  # fmt: skip
        return await asyncio.to_thread(work)

    async def _blamed(
        self, error: Invalid, desired: Objects, findings: Mapping[Ref, Finding], *, last: bool
    ) -> Mapping[Ref, Sequence[Problem]]:
        """Which changes to leave out for it, and why."""
        changes, found = self.case.changes(desired), _few(error.problems)
        everything = dict.fromkeys(changes, found)
        if last:
            return everything
        named = self.case.named(error.problems, desired)
        if named:
            return named
        guards = error.guards if isinstance(error, Guarded) else frozenset()
        if guards <= _STATES:
            return await self._guilty(desired) or everything
        gone = {ref: found for ref in changes if ref not in desired}
        return gone or everything

    async def _guilty(self, desired: Objects) -> dict[Ref, Sequence[Problem]]:
        """The changes that are refused on top of those that are not, found in halves."""
        state, found = dict(self.case.owned), dict[Ref, Sequence[Problem]]()

        async def attempt(groups: Sequence[Sequence[Ref]]) -> None:
            nonlocal state
            refs = [ref for group in groups for ref in group]
            proposed = _with(state, desired, refs)
            try:
                await self.auth.auth.writer.consider(self._proposal(proposed))
            except Invalid as error:
                if len(groups) == 1:
                    found.update(dict.fromkeys(refs, _few(error.problems)))
                    return
                middle = len(groups) // 2
                await attempt(groups[:middle])
                await attempt(groups[middle:])
            else:
                state = proposed

        groups = [
            [ref for ref in group if ref in self.case.changes(desired)]
            for group in groups_of(desired, self.case.owned, self.case.read.sets)
        ]
        await attempt([group for group in groups if group])
        return found

    def _proposal(self, proposed: Objects) -> Proposal:
        return Proposal(self.name, _actor(self.name), self.found, {**self.case.others, **proposed})

    def _widens(self) -> Widens:
        now, nodes, compiled = self.clock.time(), self.nodes, self.auth.auth.policy.current

        def widens(before: Objects, after: Objects) -> Sequence[str]:
            was = compile_snapshot(Tables(tuple(before.values())), previous=compiled)
            will = compile_snapshot(Tables(tuple(after.values())), previous=was)
            hosts = known_hosts(nodes, was.nodes), known_hosts(nodes, will.nodes)
            known = {host.name for host in hosts[0]}
            return (*widened(was, will, hosts, now=now), *foreseen((was, will), (before, after), known))

        return widens


def _actor(source: str) -> Actor:
    return Actor(f"source:{source}", SERVICE)


def _reason(error: Invalid) -> Reason:
    return "Guarded" if isinstance(error, Guarded) else "NotOwned" if isinstance(error, Foreign) else "Invalid"


def _few(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Enough to see what it is about: each of many objects is told them."""
    left = len(problems) - _TOLD
    return (*problems[:_TOLD], Problem("", 0, 0, f"and {left} more")) if left > 0 else tuple(problems)


def _with(state: Objects, desired: Objects, refs: Sequence[Ref]) -> dict[Ref, AnyResource]:
    changed = {ref: one for ref, one in state.items() if ref not in refs}
    return changed | {ref: desired[ref] for ref in refs if ref in desired}
