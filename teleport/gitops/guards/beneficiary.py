"""The guard `beneficiary`: who signed or approved a change must not gain by it alone.

A principal is somebody because `policies.people` says so. Where nobody demands signatures, nobody is known, and the
guard says that instead of pretending.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from teleport.core.errors import Problem
from teleport.gitops.guards.administration import administrators
from teleport.gitops.guards.gains import gains
from teleport.gitops.guards.words import named
from teleport.gitops.review import API, Check, Proposed, Verdict, Violation

__all__ = ["NAME", "beneficiary"]

NAME: Final = "beneficiary"


def beneficiary(people: Mapping[str, str], *, own_writes: bool) -> Check:
    """`people` maps principals to users, or to nothing where a key is no person's.

    `own_writes`: whether who writes through the API may gain by it.
    """

    def check(proposed: Proposed) -> Verdict:
        if proposed.source == API:
            authors = [] if own_writes or not proposed.user else [(f"{proposed.user}, who writes this,", proposed.user)]
            return Verdict(tuple(_gaining(proposed, authors)))
        warnings = tuple(Problem("", 0, 0, text) for text in _unenforceable(proposed, people))
        if proposed.provenance is None or not proposed.changed or _first(proposed):
            return Verdict(warnings=warnings)
        signed = proposed.provenance
        authors = [(f"{one.principal}, who signed this,", people.get(one.principal, "")) for one in signed.signers]
        authors += [(f"{one.principal}, who approved this,", people.get(one.principal, "")) for one in signed.approvers]
        return Verdict(tuple(_gaining(proposed, dict.fromkeys(authors))), warnings)

    return check


def _gaining(proposed: Proposed, authors: Iterable[tuple[str, str]]) -> Iterator[Violation]:
    for who, user in authors:
        found = gains(proposed, user) if user else ()
        if found:
            yield Violation(NAME, Problem("", 0, 0, f"{who} gains by it: {named(found)}"), (user,))


def _first(proposed: Proposed) -> bool:
    """Whether this is how a cluster begins: somebody must declare the first people, and will be one of them."""
    if proposed.owned:
        return False
    before, _ = proposed.snapshots
    return next(administrators(before, now=proposed.now), None) is None


def _unenforceable(proposed: Proposed, people: Mapping[str, str]) -> Iterator[str]:
    prefix = f"the guard {NAME} is not enforceable"
    if proposed.provenance is None:
        if proposed.commit:
            yield f"{prefix}: commits of the source {proposed.source} need no signature"
        elif people:
            yield f"{prefix}: nobody signs what is in the source {proposed.source}"
        return
    principals = sorted({one.principal for one in proposed.provenance.all})
    strangers = [one for one in principals if one not in people]
    if strangers:
        yield f"{prefix}: policies.people does not say who {named(strangers)} is"
    if principals and not any(people.get(one, "?") for one in principals):
        yield f"{prefix}: nobody but a machine ({named(principals)}) signed this"
    users = [snapshot.users for snapshot in proposed.snapshots]
    for one in principals:
        name = people.get(one, "")
        if name and not any(name in known for known in users):
            yield f"{prefix}: there is no user {name}, who signs as {one}"
