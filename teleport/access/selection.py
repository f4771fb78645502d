"""What the roles of somebody select on a fleet, and under which conditions: the part of a decision without logins."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from teleport.access.options import Conditions
from teleport.access.roles import CompiledRole

__all__ = ["EVERYWHERE", "Facet", "Selection", "as_bits", "split"]

EVERYWHERE: Final = -1
"""Every bit is set: all hosts of whatever fleet."""

Facet = tuple[str, tuple[tuple[str, int], ...]]
"""A condition that depends on the host: its values, each with hosts; where several have a host, the first counts."""


@dataclass(frozen=True, eq=False)
class Selection:
    """What the roles of somebody select, and what shuts them out, whatever logins they name. Roles in their order."""

    roles: tuple[CompiledRole, ...]
    allowed: tuple[int, ...]
    """For each role the hosts that its allow block means."""
    shut: int
    """Hosts that are denied whatever the login."""
    locked: tuple[tuple[str, int], ...]
    """Logins (empty for every one) with the hosts where a lock shuts them."""
    conditions: Conditions
    """Those that do not depend on the host."""
    asking: int = 0
    """The roles, as bits, that ask for a second factor."""
    trusting: int = 0
    """Those that would like a trusted device."""
    unprovable: int = 0
    """Those that demand what nobody can show yet."""
    modes: tuple[str, ...] = ()
    """For each role, how it has logins created."""

    @cached_property
    def by_login(self) -> frozenset[str]:
        """The logins that locks tell from others."""
        return frozenset(login for login, _ in self.locked if login)

    def opened(self, naming: int, login: str) -> int:
        """The hosts that a login opens, if these roles (as bits) name it and nothing denies it."""
        bits = self._of(naming)
        for closed in (self._of(naming & self.unprovable), self.shut):
            if closed:
                bits ^= bits & closed
        for locked, hosts in self.locked:
            if locked in ("", login):
                bits &= ~hosts
        return bits

    def facets(self, naming: int) -> tuple[Facet, ...]:
        """The conditions that differ from host to host, for a login that these roles name."""
        everywhere = EVERYWHERE if self.conditions.mfa != "no" else 0
        asking = everywhere or self._of(naming & self.asking)
        facets: list[Facet] = [("mfa", (("required", asking), ("no", EVERYWHERE)) if asking else _NO)]
        trusting = self._of(naming & self.trusting) if self.conditions.device_trust == "off" else EVERYWHERE
        facets.append(("device_trust", (("optional", trusting), ("off", EVERYWHERE)) if trusting else _OFF))
        facets.append(self._host_user)
        return tuple(facets)

    def by_role(self, naming: int, hosts: int) -> Iterator[tuple[CompiledRole, int]]:
        """The hosts, each under the first role that allows it."""
        if hosts and not naming & (naming - 1):
            yield self.roles[naming.bit_length() - 1], hosts
            return
        for index in _indices(naming):
            part = hosts & self.allowed[index]
            if part:
                yield self.roles[index], part
                hosts ^= part
            if not hosts:
                return

    def cells(self, naming: int, hosts: int) -> Iterator[tuple[Conditions, int]]:
        """The hosts by the conditions under which they are reached; `mfa` is `no` or `required`."""
        for values, part in split(hosts, self.facets(naming)):
            yield replace(self.conditions, **dict(values)), part  # type: ignore[arg-type]

    @cached_property
    def _host_user(self) -> Facet:
        if set(self.modes) <= {"off"}:
            return "host_user", _OFF
        modes: dict[str, int] = {}
        for mode, hosts in zip(self.modes, self.allowed, strict=True):
            modes[mode] = modes.get(mode, 0) | hosts
        return "host_user", tuple((mode, modes[mode]) for mode in ("off", "keep", "insecure-drop") if mode in modes)

    def _of(self, roles: int) -> int:
        if not roles & (roles - 1):
            return self.allowed[roles.bit_length() - 1] if roles else 0
        bits = 0
        for index in _indices(roles):
            bits |= self.allowed[index]
        return bits


_NO: Final = (("no", EVERYWHERE),)
_OFF: Final = (("off", EVERYWHERE),)


def split(hosts: int, facets: Iterable[Facet]) -> list[tuple[tuple[tuple[str, str], ...], int]]:
    """A set of hosts by the values of all facets."""
    parts: list[tuple[tuple[tuple[str, str], ...], int]] = [((), hosts)]
    for name, values in facets:
        finer = []
        for known, part in parts:
            for value, among in values:
                here = part if among == EVERYWHERE else part & among
                if here:
                    finer.append(((*known, (name, value)), here))
                    part = 0 if here is part else part ^ here
        parts = finer
    return parts


def as_bits(flags: Iterable[bool]) -> int:
    """The positions of those that are true."""
    return sum(1 << index for index, flag in enumerate(flags) if flag)


def _indices(bits: int) -> Iterator[int]:
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low
