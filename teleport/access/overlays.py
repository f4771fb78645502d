"""Emergency changes: a declared resource laid over with another until a moment, and what cannot be changed that way.

An overlay counts over the very declaration it was made on, and only while its time lasts: whoever compiles a snapshot
drops it by itself then. Pure, and the same wherever a policy is followed; knows no time of its own.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol, Self

from teleport.resources.codec import UnknownVersion, decode, encode
from teleport.resources.kinds import AnyResource
from teleport.resources.presets import preset_roles
from teleport.resources.role import Role
from teleport.resources.user import User

__all__ = ["BREAK_GLASS", "LONGEST", "OPEN", "Laid", "Overlay", "fingerprint", "lay", "obstacle", "untouchable"]

BREAK_GLASS: Final = "break-glass"
"""The source that changed resources are shown with."""
LONGEST: Final = 24 * 3600.0
"""Seconds that no overlay outlasts, whatever was configured or written into a store."""
_EARLY: Final = 60.0
"""Seconds by which clocks may differ: an overlay of a later time shows that a clock was put back."""

OPEN: Final = ("role", "user", "node", "lock", "cluster_networking_config", "session_recording_config")
"""The kinds that may be changed: how people log in, what is tested and how services join is not among them."""
_ON_BEHALF: Final = ("impersonate", "request", "review_requests")
"""Parts of a role by which its holders act for others or come to hold other roles."""


class Tables(Protocol):
    """See `access.snapshot.Tables`."""

    @property
    def revision(self) -> int: ...

    def of_kind(self, kind: str) -> Mapping[str, AnyResource]: ...

    @property
    def unreadable(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Overlay:
    """One emergency change, as it is stored and followed."""

    id: str
    kind: str
    name: str
    base: str
    """The fingerprint of what lies beneath."""
    actor: str
    reason: str
    since: float
    expires: float
    """Seconds since the epoch, as `since`."""
    fields: tuple[str, ...]
    """Paths that differ from what lies beneath."""
    resource: AnyResource | None
    """What is in force instead; None where this program cannot read it."""
    fault: str = ""

    @property
    def ref(self) -> str:
        return f"{self.kind}/{self.name}"

    def encode(self) -> bytes:
        assert self.resource is not None
        body: dict[str, Any] = {
            "id": self.id, "kind": self.kind, "name": self.name, "base": self.base, "actor": self.actor,
            "reason": self.reason, "since": self.since, "expires": self.expires, "fields": list(self.fields),
            "resource": encode(self.resource).decode(),
        }  # fmt: skip
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, ref: str, data: bytes) -> Self:
        """What `encode` wrote for this reference. Raises ValueError; a resource of a newer version is a fault."""
        body = json.loads(data)
        if not isinstance(body, dict) or f"{body.get('kind')}/{body.get('name')}" != ref:
            raise ValueError(f"no emergency change of {ref}")
        resource, fault = _resource(body["resource"])
        if resource is not None and resource.ref != ref:
            raise ValueError(f"an emergency change of {ref} that is {resource.ref}")
        texts = {name: str(body[name]) for name in ("id", "kind", "name", "base", "actor", "reason")}
        fields = tuple(str(one) for one in body["fields"])
        return cls(
            **texts, since=_moment(body["since"]), expires=_moment(body["expires"]), fields=fields,
            resource=resource, fault=fault,
        )  # fmt: skip


def _resource(text: str) -> tuple[AnyResource | None, str]:
    try:
        return decode(text.encode()), ""
    except UnknownVersion as error:
        return None, str(error)


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a moment is a number")
    return float(value)


def fingerprint(resource: AnyResource) -> str:
    """Of what a resource declares, and of its incarnation; where it stands in a file makes no difference."""
    text = json.dumps([resource.to_dict(), resource.uid], sort_keys=True, ensure_ascii=False)
    return sha256(text.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Laid:
    """Tables with the overlays that are in force in the places of what they change."""

    beneath: Tables
    overlays: tuple[Overlay, ...]
    until: float
    """When the first of them ends; seconds since the epoch."""

    @property
    def revision(self) -> int:
        return self.beneath.revision

    @property
    def unreadable(self) -> Mapping[str, str]:
        return {**self.beneath.unreadable, **{one.ref: one.fault for one in self.overlays if one.resource is None}}

    def of_kind(self, kind: str) -> Mapping[str, AnyResource]:
        found = self.beneath.of_kind(kind)
        changed = {one.name: one.resource for one in self.overlays if one.kind == kind and one.resource is not None}
        return {**found, **changed} if changed else found


def lay(tables: Tables, overlays: Iterable[Overlay], now: float) -> Laid:
    """Those of some overlays that count at a moment, over tables."""
    counting = tuple(
        sorted((one for one in overlays if not obstacle(one, tables, now)), key=lambda one: (one.kind, one.name))
    )
    return Laid(tables, counting, min((one.expires for one in counting), default=math.inf))


def obstacle(overlay: Overlay, tables: Tables, now: float) -> str:
    """Why an overlay does not count over these tables at a moment; nothing where it does."""
    if now < overlay.since - _EARLY:
        return "it is of a time that is yet to come: a clock was put back"
    if now >= overlay.expires:
        return "its time is over"
    if overlay.expires - overlay.since > LONGEST:
        return "it lasts longer than any may"
    beneath = tables.of_kind(overlay.kind).get(overlay.name)
    if beneath is None:
        return "what it changes is no longer declared"
    if fingerprint(beneath) != overlay.base:
        return "the declaration that it was made on has changed"
    if overlay.resource is None:
        return ""
    return untouchable(beneath, overlay.resource, tables)


def untouchable(before: AnyResource, after: AnyResource, tables: Tables) -> str:
    """Why this may not be changed in an emergency: what people administer with is out of reach for those who do it."""
    if before.kind not in OPEN:
        return f"a {before.kind} cannot be changed in an emergency"
    if isinstance(before, Role) and isinstance(after, Role):
        return _role_obstacle(before, after)
    if isinstance(before, User) and isinstance(after, User):
        return _user_obstacle(before, after, tables)
    return ""


def _role_obstacle(before: Role, after: Role) -> str:
    for role, what in ((before, "has"), (after, "would have")):
        if _rules(role):
            return f"{role.ref} {what} rules, which no emergency changes"
    for side in ("allow", "deny"):
        old, new = getattr(before.spec, side), getattr(after.spec, side)
        for part in _ON_BEHALF:
            if getattr(old, part) != getattr(new, part):
                return f"{side}.{part} of {before.ref} is about acting for others, which no emergency changes"
    return ""


def _user_obstacle(before: User, after: User, tables: Tables) -> str:
    """Whoever gains or loses a role with rules, or traits that such a role asks for, administers more or less."""
    known = {role.name: role for role in (*preset_roles(), *_roles(tables))}
    for name in sorted(set(before.spec.roles) ^ set(after.spec.roles)):
        if name not in known:
            return f"role/{name} is not known, so it may have rules"
        if _rules(known[name]):
            return f"role/{name} has rules, and no emergency gives or takes it"
    if before.spec.traits == after.spec.traits:
        return ""
    for name in after.spec.roles:
        if name not in known or any("traits" in rule.where for rule in _rules(known[name])):
            return f"the rules of role/{name} depend on traits of {before.ref}"
    return ""


def _roles(tables: Tables) -> Iterable[Role]:
    return (one for one in tables.of_kind(Role.kind).values() if isinstance(one, Role))


def _rules(role: Role) -> Sequence[Any]:
    return (*role.spec.allow.rules, *role.spec.deny.rules)
