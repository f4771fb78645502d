"""The policy at one revision, compiled: what every decision is made from. Immutable; a new revision is a new one.

What could not be read (a newer version, an unknown field) is remembered in `unreadable`: whoever it might
concern is denied.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Protocol, TypeVar

from teleport.access.overlays import Laid, Overlay
from teleport.access.roles import BoundRole, CompiledRole, compile_role
from teleport.access.trust import mapped, printed_name, traits_read
from teleport.core.identity import Identity, Passage
from teleport.resources.kinds import AnyResource
from teleport.resources.lock import Lock
from teleport.resources.node import Node
from teleport.resources.presets import preset_roles
from teleport.resources.remote_cluster import RemoteCluster
from teleport.resources.role import Role
from teleport.resources.settings import (
    AuthPreference,
    AuthPreferenceSpec,
    NetworkingConfig,
    NetworkingConfigSpec,
    RecordingConfig,
    RecordingConfigSpec,
)
from teleport.resources.trusted_cluster import TrustedCluster
from teleport.resources.user import User

__all__ = ["BoundUser", "Declared", "Snapshot", "Tables", "compile_snapshot"]


_HARMLESS: Final = frozenset(
    {"role", "user", "node", "token", "access_test", "access_invariant", "trusted_cluster", "remote_cluster"}
)

_MOST_VISITORS: Final = 10_000
"""Bound at a time: another cluster says who they are, and how many."""


class Tables(Protocol):
    """Resources by kind and name, at one revision."""

    @property
    def revision(self) -> int: ...

    def of_kind(self, kind: str) -> Mapping[str, AnyResource]: ...

    @property
    def unreadable(self) -> Mapping[str, str]:
        """`kind/name` to the reason, for resources that this program cannot read."""
        ...


@dataclass(frozen=True, eq=False)
class Declared:
    """Resources at hand as tables."""

    resources: Sequence[AnyResource]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0

    def of_kind(self, kind: str) -> Mapping[str, AnyResource]:
        return {one.name: one for one in self.resources if one.kind == kind}


@dataclass(frozen=True, eq=False)
class BoundUser:
    """A user with roles bound: what this person may do, whatever certificate is shown."""

    name: str
    uid: str
    role_names: tuple[str, ...]
    traits: Mapping[str, tuple[str, ...]]
    roles: tuple[BoundRole, ...]
    missing: tuple[str, ...] = ()
    """Roles that the user names and that do not exist: they give nothing."""
    unreadable: tuple[str, ...] = ()
    """Roles of this user that cannot be read: their denials are unknown, so everything is denied."""
    blinded: tuple[str, ...] = ()
    """Roles of somebody from another cluster that read traits which may not pass: what they deny is unknown, too."""
    within: tuple[str, ...] | None = None
    """Of somebody from another cluster, what the scope of the certificate comes to here."""

    def scoped(self, requested: tuple[str, ...] | None) -> tuple[BoundRole, ...]:
        """The roles that may allow: all, or those that the certificate was restricted to."""
        requested = requested if self.within is None else self.within
        if requested is None:
            return self.roles
        return tuple(role for role in self.roles if role.name in requested)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """See the module. Build with `compile_snapshot`."""

    revision: int
    roles: Mapping[str, CompiledRole]
    users: Mapping[str, User]
    nodes: Mapping[str, Node]
    """Declared hosts, by the name people use."""
    locks: tuple[Lock, ...]
    auth: AuthPreferenceSpec
    network: NetworkingConfigSpec
    recording: RecordingConfigSpec
    trusted: Mapping[str, TrustedCluster] = field(default_factory=dict)
    """Declared clusters whose users may come here, by name; enabled or not."""
    remotes: Mapping[str, RemoteCluster] = field(default_factory=dict)
    """Declared clusters that trust this one, by name: their labels."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    overlays: tuple[Overlay, ...] = ()
    """Emergency changes that are part of this, instead of what is declared."""
    ended: tuple[Overlay, ...] = ()
    """Those that were part of the snapshot before, and no longer are."""
    until: float = math.inf
    """When the first of them ends, in seconds since the epoch: from then on this is not the policy any more."""
    _bound: dict[str, BoundUser] = field(default_factory=dict)
    _visitors: dict[tuple[object, ...], BoundUser] = field(default_factory=dict)

    def holder(self, identity: Identity) -> BoundUser | None:
        """Whoever an identity names: a user of this cluster, or one of another with what the role map gives."""
        return self.user(identity.name) if identity.passage is None else self.visitor(identity)

    def visitor(self, identity: Identity) -> BoundUser | None:
        """Somebody from another cluster; None unless that is trusted at the moment."""
        passage, trusted = identity.passage, self.trusted.get(identity.cluster)
        if passage is None or trusted is None or not trusted.spec.enabled:
            return None
        key = (identity.cluster, identity.uid, passage.user, passage.roles, passage.traits, identity.requested_roles)
        found = self._visitors.get(key)
        if found is None:
            if len(self._visitors) >= _MOST_VISITORS:
                self._visitors.clear()
            found = self._visitors[key] = self._bind_visitor(trusted, identity, passage)
        return found

    def _bind_visitor(self, trusted: TrustedCluster, identity: Identity, passage: Passage) -> BoundUser:
        entries, scope = trusted.spec.role_map, identity.requested_roles
        given = mapped(entries, passage.roles, dict(passage.traits))
        bound = self._bind(printed_name(passage.user, identity.cluster), identity.uid, given.roles, given.traits)
        blinded = tuple(role.name for role in bound.roles if not traits_read(role.role) <= given.passing)
        within = None
        if scope is not None:
            within = mapped(entries, [role for role in passage.roles if role in scope], {}).roles
        return replace(bound, blinded=blinded, within=within)

    def user(self, name: str) -> BoundUser | None:
        """A user of this cluster with roles bound; computed once per snapshot."""
        found = self._bound.get(name)
        if found is None:
            declared = self.users.get(name)
            if declared is None:
                return None
            found = self._bound[name] = self.bind(declared)
        return found

    def bind(self, user: User) -> BoundUser:
        """Bind a user who need not be part of the snapshot."""
        return self._bind(user.name, user.uid, user.spec.roles, user.spec.traits)

    def _bind(self, name: str, uid: str, roles: tuple[str, ...], traits: Mapping[str, tuple[str, ...]]) -> BoundUser:
        return BoundUser(
            name=name,
            uid=uid,
            role_names=roles,
            traits=traits,
            roles=tuple(self.roles[one].bind(name, roles, traits) for one in dict.fromkeys(roles) if one in self.roles),
            missing=tuple(one for one in roles if one not in self.roles and f"role/{one}" not in self.unreadable),
            unreadable=tuple(one for one in roles if f"role/{one}" in self.unreadable),
        )

    def with_user(self, user: User) -> "Snapshot":
        """The same policy with one user replaced: for questions of the form what if."""
        return replace(self, users={**self.users, user.name: user}, _bound={}, _visitors={})

    @cached_property
    def blind(self) -> tuple[str, ...]:
        """Unreadable resources that could concern anybody: locks, settings, and whatever this version never heard of.

        An unreadable role concerns its holders, an unreadable user that user, a node sessions on hosts, and a token
        nobody who has a certificate. Tests and invariants decide about policy, not about access.
        """
        return tuple(ref for ref in self.unreadable if ref.partition("/")[0] not in _HARMLESS)

    def blind_for(self, kind: str) -> str:
        """Why nothing can be said about targets of a kind, or nothing.

        A declared host that cannot be read may give any host labels that deny: its own name may be what is unread.
        """
        unread = [ref for ref in self.unreadable if ref.startswith(f"{kind}/")]
        return f"the policy holds what this version cannot read: {', '.join(unread)}" if unread else ""


ResourceT = TypeVar("ResourceT", bound=AnyResource)


def compile_snapshot(tables: Tables, *, previous: Snapshot | None = None) -> Snapshot:
    """Compile every rule. Roles that did not change since `previous` are taken from it.

    A stored role that no longer compiles counts as unreadable; `judge` keeps such roles from being stored.
    """
    unreadable = dict(tables.unreadable)
    known = previous.roles if previous is not None else {}
    declared: Mapping[str, Any] = tables.of_kind("role")
    roles: dict[str, CompiledRole] = {}
    for role in (*preset_roles(), *declared.values()):
        assert isinstance(role, Role)
        before = known.get(role.name)
        if before is not None and before.source is role:
            roles[role.name] = before
            continue
        try:
            roles[role.name] = compile_role(role)
        except ValueError as error:
            roles.pop(role.name, None)
            unreadable[role.ref] = str(error)
    for ref in unreadable:
        if ref.startswith("role/"):
            roles.pop(ref.removeprefix("role/"), None)
    return Snapshot(
        revision=tables.revision,
        roles=roles,
        users=_only(User, tables.of_kind("user").values()),
        nodes={node.hostname: node for node in _only(Node, tables.of_kind("node").values()).values()},
        locks=tuple(_only(Lock, tables.of_kind("lock").values()).values()),
        auth=_setting(AuthPreference, tables, AuthPreferenceSpec()),
        network=_setting(NetworkingConfig, tables, NetworkingConfigSpec()),
        recording=_setting(RecordingConfig, tables, RecordingConfigSpec()),
        trusted=_only(TrustedCluster, tables.of_kind("trusted_cluster").values()),
        remotes=_only(RemoteCluster, tables.of_kind("remote_cluster").values()),
        unreadable=unreadable,
        overlays=tables.overlays if isinstance(tables, Laid) else (),
        until=tables.until if isinstance(tables, Laid) else math.inf,
    )


def _only(cls: type[ResourceT], resources: Iterable[AnyResource]) -> dict[str, ResourceT]:
    return {resource.name: resource for resource in resources if isinstance(resource, cls)}


SpecT = TypeVar("SpecT")


def _setting(cls: type[AnyResource], tables: Tables, default: SpecT) -> SpecT:
    found = tables.of_kind(cls.kind).get(cls.singleton)
    spec: SpecT = found.spec if found is not None else default
    return spec
