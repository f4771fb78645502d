"""Who may override what a change is refused for: another person, known, who does not gain by it. And for what exactly.

A signed change is overridden by a signature, any other by an administrator of the cluster. Pure; whether a signature
is good and how an approval is kept is decided elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from teleport.access.rules import may, roles_allowing
from teleport.core.identity import Identity
from teleport.gitops.guards.administration import administrators
from teleport.gitops.guards.gains import gains
from teleport.gitops.guards.words import named
from teleport.gitops.provenance import Signer
from teleport.gitops.review import API, Proposed, Violation
from teleport.resources.kinds import AnyResource
from teleport.resources.lock import Lock

__all__ = ["OVERRIDABLE", "Administrator", "by_administrator", "by_signature", "digest", "objections"]

OVERRIDABLE: Final = frozenset({"administration", "beneficiary", "ceiling", "emptied", "pairs", "people", "weakened"})
"""What somebody else may be for. What is wrong, or does not hold as promised, stays so whoever agrees."""
_CEILING: Final = "ceiling"
"""Bounds whoever signs for a source; so it is lifted only by somebody who has no bounds."""


@dataclass(frozen=True)
class Administrator:
    """Somebody who approves: a user of the cluster, or somebody at the socket of the auth host, who is no user."""

    name: str
    uid: str = ""
    """The incarnation of the user; empty for whichever there is."""
    local: bool = False


def by_signature(signer: Signer, guard: str, proposed: Proposed, people: Mapping[str, str]) -> str:
    """Why the signature of an override does not count, or nothing."""
    user = people.get(signer.principal, "")
    if proposed.provenance is None:
        return "signatures are not asked for"
    if not user:
        nobody = signer.principal in people
        return "that is no person's key" if nobody else "policies.people does not say which user that is"
    for one in proposed.provenance.signers:
        same = one.principal == signer.principal or one.key == signer.key
        if same or people.get(one.principal) == user:
            return "that is who signed the change"
    return _unbounded(user, guard, proposed) or _gain(proposed, user)


def by_administrator(administrator: Administrator, guard: str, proposed: Proposed) -> str:
    """Why the approval of an administrator does not count, or nothing."""
    if proposed.source != API and administrator.local:
        return "who is on the auth host may be who wrote it; a user who may update policy has to approve"
    if administrator.local:
        return "whoever wrote it is on the auth host too" if not proposed.user else ""
    if proposed.source == API and administrator.name == proposed.user:
        return "that is who wrote it"
    user = proposed.snapshots[0].users.get(administrator.name)
    if user is None or administrator.uid not in ("", user.uid):
        return "there is no such user any more"
    identity = Identity("user", user.name, user.uid, "")
    decision = may(proposed.snapshots[0], identity, "update", "policy", now=proposed.now)
    if not decision.allowed:
        return decision.because
    return _unbounded(administrator.name, guard, proposed) or _gain(proposed, administrator.name)


def objections(guard: str, proposed: Proposed) -> dict[str, str]:
    """For each user who may approve such things at all, why not this, or nothing."""
    before = proposed.snapshots[0]
    able = roles_allowing(before, "update", "policy", always=False)
    return {
        name: by_administrator(Administrator(name), guard, proposed)
        for name, user in before.users.items()
        if not able.isdisjoint(user.spec.roles)
        and may(before, Identity("user", name, user.uid, ""), "update", "policy", now=proposed.now).allowed
    }


def digest(proposed: Proposed, guard: str, found: Iterable[Violation]) -> str:
    """Names exactly this: who would change what from what to what, and whom or what the guard found affected."""
    body = {
        "source": proposed.source, "commit": proposed.commit, "actor": proposed.actor, "guard": guard,
        "subjects": [one.subjects for one in found],
        "changes": [[*ref, _content(proposed.before.get(ref)), _content(proposed.after.get(ref))]
                    for ref in proposed.changed],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _content(resource: AnyResource | None) -> dict[str, Any] | None:
    """What is declared; without the moment at which the cluster noted that somebody made a lock."""
    if resource is None:
        return None
    body = resource.to_dict()
    if isinstance(resource, Lock):
        body["spec"] = {name: value for name, value in body["spec"].items() if name != "created_at"}
    return body


def _unbounded(user: str, guard: str, proposed: Proposed) -> str:
    if guard != _CEILING or user in administrators(proposed.snapshots[0], now=proposed.now):
        return ""
    return "only who administers the cluster lifts a ceiling"


def _gain(proposed: Proposed, user: str) -> str:
    found = gains(proposed, user)
    return f"{user} gains by it: {named(found)}" if found else ""
