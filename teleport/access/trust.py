"""Role maps: what the roles of a cluster that is trusted are here, and which traits come along (SEMANTICS: "Trust").

Pure. A map is judged with `map_faults` and `map_surprises` before it is in force, and applied with `mapped`. Who the
user is, and whether the other cluster says so, is not asked here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from teleport.access.expressions import ExpressionError
from teleport.access.patterns import is_expression, pattern
from teleport.access.regex import MAX_PATTERN, Groups, Regex, compile_regex, escape, expand_with, references_in
from teleport.access.roles import TARGETS, TEMPLATED, CompiledRole, compile_role
from teleport.access.templates import template
from teleport.resources.faults import Fault
from teleport.resources.role import Condition, Role
from teleport.resources.trusted_cluster import RoleMapping, TrustedCluster

__all__ = ["Mapped", "map_faults", "map_surprises", "mapped", "printed_name", "traits_read"]

Traits = Mapping[str, tuple[str, ...]]

_NAMED_ROLES: Final = 5
"""Roles that one warning lists."""


@dataclass(frozen=True)
class Mapped:
    """What somebody from the other cluster holds here."""

    roles: tuple[str, ...] = ()
    """Names, whether or not there are such roles."""
    traits: Traits = field(default_factory=dict)
    passing: frozenset[str] = frozenset()
    """The traits that may pass, whether or not this one has them."""


def printed_name(user: str, cluster: str) -> str:
    """How a user of another cluster is called here. Reserved: no local user is called so; and never taken apart."""
    return f"remote-{user}-{cluster}"


def mapped(entries: Iterable[RoleMapping], roles: Iterable[str], traits: Traits) -> Mapped:
    """What all entries give together that match one of the roles: without a role, nothing matches."""
    held, found, passing = tuple(roles), dict[str, None](), dict[str, None]()
    for entry in entries:
        matches = [groups for role in held if (groups := _compiled(entry.remote).groups_of(role)) is not None]
        found.update(dict.fromkeys(_expanded(entry, matches)))
        if matches:
            passing.update(dict.fromkeys(entry.traits))
    return Mapped(tuple(found), {name: traits[name] for name in passing if name in traits}, frozenset(passing))


def _expanded(entry: RoleMapping, matches: Iterable[Groups]) -> Iterator[str]:
    """The local roles of an entry, one a match; what comes to nothing is none."""
    for groups in matches:
        for local in entry.local:
            name = expand_with(local)(groups)
            if name:
                yield name


@lru_cache(maxsize=4096)
def _compiled(remote: str) -> Regex:
    """A written pattern with its stars as groups. Raises ValueError with the reason it is none."""
    pattern(remote)
    if is_expression(remote):
        return compile_regex(remote)
    if len(remote) > MAX_PATTERN:
        raise ValueError(f"pattern longer than {MAX_PATTERN} characters")
    return compile_regex(f"(?s)^{'(.*)'.join(map(escape, remote.split('*')))}$", bounded=False)


def traits_read(role: CompiledRole) -> frozenset[str]:
    """Every trait that something in a role looks at."""
    found = set[str]()
    for side in (role.allow, role.deny):
        found |= {trait for target in TARGETS for trait in side.selectors[target].reads.traits}
        found |= {trait for entry in _templates(side.condition) for trait in template(entry).reads}
    for extension in role.options.cert_extensions:
        found |= template(extension.value).reads
    return frozenset(found)


def _templates(condition: Condition) -> Iterator[str]:
    for name in TEMPLATED:
        yield from getattr(condition, name)


# -- judging a map


def map_faults(trusted: TrustedCluster, roles: Iterable[Role]) -> Iterator[Fault]:
    """Why a map must not come into force among these roles."""
    compiled = dict(_readable(roles))
    for index, entry in enumerate(trusted.spec.role_map):
        here: tuple[str | int, ...] = ("spec", "role_map", index)
        try:
            remote = _compiled(entry.remote)
        except ValueError as error:
            yield Fault((*here, "remote"), f"pattern: {error}")
            continue
        for position, local in enumerate(entry.local):
            path = (*here, "local", position)
            yield from _unknown_groups(path, entry.remote, local, remote)
            if not references_in(local) and local in compiled:
                yield from _needing(path, local, compiled[local], entry)
        for position, trait in enumerate(entry.traits):
            if "*" in trait or is_expression(trait):
                yield Fault((*here, "traits", position), f"{trait} is no trait's name", "name each trait that may pass")


def _unknown_groups(path: tuple[str | int, ...], remote: str, local: str, regex: Regex) -> Iterator[Fault]:
    for group in sorted(references_in(local) - regex.names, key=str):
        yield Fault(path, f"{local} means the group {group}, which {remote} does not have", "write ${1}text for $1text")


def _needing(path: tuple[str | int, ...], name: str, role: CompiledRole, entry: RoleMapping) -> Iterator[Fault]:
    missing = sorted(traits_read(role) - set(entry.traits))
    if missing:
        yield Fault(
            path,
            f"role/{name} reads traits that may not pass: {', '.join(missing)}",
            f"write traits: [{', '.join([*entry.traits, *missing])}], or map to a role without templates",
        )


def map_surprises(trusted: TrustedCluster, roles: Iterable[Role], *, known: Iterable[str]) -> Iterator[Fault]:
    """What is right as it stands, and gives less or more than its author may think."""
    names, compiled = frozenset(known), dict(_readable(roles))
    if not trusted.spec.ca_pin:
        yield Fault(("spec", "web_proxy_addr"), "without ca_pin the cluster cannot be recognised, nor joined")
    for index, entry in enumerate(trusted.spec.role_map):
        for position, local in enumerate(entry.local):
            path = ("spec", "role_map", index, "local", position)
            if not references_in(local):
                if local not in names:
                    yield Fault(path, f"role/{local} does not exist, so {entry.remote} gives nothing by it")
                continue
            yield from _passed_through(path, local, entry, compiled)


def _passed_through(
    path: tuple[str | int, ...], local: str, entry: RoleMapping, compiled: Mapping[str, CompiledRole]
) -> Iterator[Fault]:
    """Which of our roles a pattern may come to, as far as people should think of them."""
    reached = [name for name in compiled if _may_become(local, name)]
    needing = [name for name in reached if traits_read(compiled[name]) - set(entry.traits)]
    if needing:
        shown = ", ".join(f"role/{name}" for name in needing[:_NAMED_ROLES])
        yield Fault(path, f"{shown} may be mapped and read traits that may not pass: who is mapped to one is denied")
    ruling = [name for name in reached if compiled[name].allow.condition.rules]
    if ruling:
        shown = ", ".join(f"role/{name}" for name in ruling[:_NAMED_ROLES])
        yield Fault(path, f"whoever may assign roles there that {entry.remote} matches may give {shown} here")


def _may_become(local: str, name: str) -> bool:
    """Whether an expansion can come to a name, if groups may stand for anything."""
    marks = expand_with(local)(lambda _group: "\0")
    return compile_regex(f"(?s)^{'.+'.join(map(escape, marks.split(chr(0))))}$", bounded=False).found_in(name)


def _readable(roles: Iterable[Role]) -> Iterator[tuple[str, CompiledRole]]:
    """The roles that compile; others have faults of their own."""
    for role in roles:
        try:
            compiled = compile_role(role)
            traits_read(compiled)
        except (ValueError, ExpressionError):
            continue
        yield role.name, compiled
