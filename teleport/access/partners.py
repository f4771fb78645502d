"""Partners: whoever holds a role of a cluster that is trusted; told of that role, since nobody can be named.

What roles that cluster has is not known here. Those are looked at, each alone, that make a difference: the ones a role
map names, its patterns as they are written, and names that come to the roles there are here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from teleport.access.patterns import is_expression
from teleport.access.regex import Regex, compile_regex, escape, expand_with, references_in
from teleport.access.snapshot import Snapshot
from teleport.access.trust import Mapped, mapped, traits_read
from teleport.resources.trusted_cluster import RoleMapping

__all__ = ["Partner", "blinded", "held_here", "partners"]

_STAND_IN: Final = ("",)
"""The value of a trait of which only the name counts."""


@dataclass(frozen=True, order=True)
class Partner:
    """Whoever holds just this role of a trusted cluster."""

    cluster: str
    role: str
    """A role there; or a pattern of the role map, for all that it matches and that nobody names."""
    here: str = ""
    """The role that it is supposed to come to here, where no name could be found that does."""

    @property
    def named(self) -> str:
        """As a test of policy names it, whatever it comes to here."""
        return f"{self.role} of {self.cluster}"

    def __str__(self) -> str:
        return f"{self.named}, where one comes to {self.here}" if self.here else self.named


def partners(*snapshots: Snapshot) -> list[Partner]:
    """Those that are something under one of these policies, in order."""
    known = {name for one in snapshots for name in (*one.roles, *_unreadable(one))}
    found = {partner: None for one in snapshots for partner in _of(one, known)}
    return sorted(one for one in found if any(held_here(snapshot, one).roles for snapshot in snapshots))


def held_here(snapshot: Snapshot, partner: Partner) -> Mapped:
    """The roles that a partner holds here, as far as there are such, and the names of the traits that may pass.

    Nothing where the cluster is not trusted at the moment, and where a role reads traits that may not pass: then all
    is denied.
    """
    trusted = snapshot.trusted.get(partner.cluster)
    if trusted is None or not trusted.spec.enabled:
        return Mapped()
    entries = trusted.spec.role_map
    stand_ins = {trait: _STAND_IN for entry in entries for trait in entry.traits}
    found = mapped(entries, (partner.role,), stand_ins)
    for entry in entries:
        if entry.remote == partner.role:
            found = _also(found, entry, partner.here)
    roles = tuple(name for name in found.roles if name in snapshot.roles or name in _unreadable(snapshot))
    return Mapped() if blinded(snapshot, found) else replace(found, roles=roles)


def blinded(snapshot: Snapshot, found: Mapped) -> bool:
    """Whether some role reads traits that may not pass: then what it denies is unknown, and all is denied."""
    roles = (snapshot.roles[name] for name in found.roles if name in snapshot.roles)
    return any(not traits_read(role) <= found.passing for role in roles)


def _also(found: Mapped, entry: RoleMapping, here: str) -> Mapped:
    """What an entry gives whose own pattern is asked about, even if that does not match itself as a name."""
    roles = [*(name for name in entry.local if not references_in(name)), *((here,) if _gives(entry, here) else ())]
    return Mapped(
        tuple(dict.fromkeys((*found.roles, *roles))),
        {**found.traits, **dict.fromkeys(entry.traits, _STAND_IN)},
        found.passing | set(entry.traits),
    )


def _of(snapshot: Snapshot, known: Iterable[str]) -> Iterator[Partner]:
    for name, trusted in snapshot.trusted.items():
        if not trusted.spec.enabled:
            continue
        for entry in trusted.spec.role_map:
            yield Partner(name, entry.remote)
            for role in known:
                if _gives(entry, role):
                    yield _named(name, entry, role)


def _gives(entry: RoleMapping, role: str) -> bool:
    """Whether what stands for groups may make this role of some role there."""
    return bool(role) and any(_groups(local, role) is not None for local in entry.local if references_in(local))


def _named(cluster: str, entry: RoleMapping, role: str) -> Partner:
    """The partner whose role comes to one of ours: by its name if there is one that is easily told."""
    for local in entry.local:
        values = _groups(local, role) if references_in(local) else None
        name = _spelled(entry.remote, values) if values is not None else None
        if name is not None and role in mapped((entry,), (name,), {}).roles:
            return Partner(cluster, name)
    return Partner(cluster, entry.remote, role)


_Values = Mapping[int | str, str]
"""What groups stand for."""


def _groups(local: str, role: str) -> _Values | None:
    """What the groups of a local role stand for if it comes to this role; None if it cannot."""
    regex, names = _becoming(local)
    found = regex.groups_of(role)
    return None if found is None else {name: found(f"g{index}") for index, name in enumerate(names)}


@lru_cache(maxsize=4096)
def _becoming(local: str) -> tuple[Regex, tuple[int | str, ...]]:
    """An expression for all that a local role may come to, and the groups that it names g0, g1 and so on."""
    names = tuple(sorted(references_in(local), key=str))
    written = expand_with(local)(lambda group: f"\0{names.index(group)}\0")
    parts, seen = [], set[str]()
    for index, part in enumerate(written.split("\0")):
        if index % 2 == 0:
            parts.append(escape(part))
        else:
            parts.append("(.*)" if part in seen else f"(?P<g{part}>.*)")
            seen.add(part)
    return compile_regex(f"(?s)^{''.join(parts)}$", bounded=False), names


def _spelled(remote: str, values: _Values) -> str | None:
    """A name that a pattern matches with these values; None where that takes more than writing them down."""
    if is_expression(remote):
        return _spelled_expression(remote[1:-1], values)
    first, *others = remote.split("*")
    return first + "".join(values.get(index, "") + part for index, part in enumerate(others, 1))


def _spelled_expression(text: str, values: _Values) -> str | None:
    """Of an expression that is literal but for groups which follow each other."""
    name, end = "", 0
    for index, match in enumerate(_GROUP.finditer(text), 1):
        value = values.get(match[1] or index, values.get(index))
        if value is None:
            return None
        name += text[end : match.start()] + value
        end = match.end()
    return _ESCAPED.sub(r"\1", name + text[end:])


_GROUP: Final = re.compile(r"(?<!\\)\((?!\?[^P])(?:\?P<(\w+)>)?[^()]*\)")
_ESCAPED: Final = re.compile(r"\\(\W)")


def _unreadable(snapshot: Snapshot) -> frozenset[str]:
    return frozenset(ref.removeprefix("role/") for ref in snapshot.unreadable if ref.startswith("role/"))
