"""Who reaches what, over a whole fleet at once: sets of hosts as the bits of integers.

`Fleet` indexes hosts by label (posting lists, turned into bitsets when asked); `reach` answers, for one user, which
hosts each login opens. It must agree with `decide` on every pair, which property tests hold it to.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from teleport.access.decide import Target, lock_in_force, standing
from teleport.access.labels import Selector
from teleport.access.patterns import Any_, Exact, Matcher
from teleport.access.roles import BoundRole
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.core.identity import Identity
from teleport.resources.lock import Lock

__all__ = ["Fleet", "Reach", "bits_of", "positions", "reach"]


def bits_of(positions: Iterable[int], size: int) -> int:
    """The set of positions as one integer."""
    field_ = bytearray((size >> 3) + 1)
    for position in positions:
        field_[position >> 3] |= 1 << (position & 7)
    return int.from_bytes(field_, "little")


def positions(bits: int) -> Iterator[int]:
    """The positions that are set, ascending."""
    for index, byte in enumerate(bits.to_bytes((bits.bit_length() + 7) >> 3, "little")):
        while byte:
            low = byte & -byte
            yield (index << 3) + low.bit_length() - 1
            byte ^= low


@dataclass
class _Key:
    """Where a label key occurs: value to positions."""

    postings: dict[str, set[int]] = field(default_factory=dict)
    bits: dict[str, int] = field(default_factory=dict)
    """Bitsets made so far; dropped for a value when its posting changes."""


class Fleet:
    """Hosts of one kind, indexed by label; kept up to date by `put` and `remove`."""

    def __init__(self, kind: str = "node", targets: Iterable[Target] = ()) -> None:
        self.kind = kind
        self._slots: list[Target | None] = []
        self._free: list[int] = []
        self._position: dict[str, int] = {}
        self._keys: dict[str, _Key] = {}
        self._alive = 0
        self.version = 0
        """Counts changes, so that what was computed from the fleet knows whether it is current."""
        for target in targets:
            self._insert(target)
        self._alive = bits_of(self._position.values(), len(self._slots))

    def put(self, target: Target) -> None:
        """Add a host, or replace the one with its uid."""
        current = self._position.get(target.uid)
        if current is not None:
            if self._slots[current] == target:
                return
            self._drop(current)
        position = self._insert(target)
        self._alive |= 1 << position

    def remove(self, uid: str) -> None:
        """Forget a host; no error if it is unknown."""
        position = self._position.get(uid)
        if position is not None:
            self._drop(position)

    def get(self, uid: str) -> Target | None:
        position = self._position.get(uid)
        return None if position is None else self._slots[position]

    def named(self, name: str) -> list[Target]:
        """Hosts of a name, of which there may be several."""
        return [target for target in self if target.name == name]

    def at(self, position: int) -> Target:
        target = self._slots[position]
        assert target is not None
        return target

    def __iter__(self) -> Iterator[Target]:
        return (target for target in self._slots if target is not None)

    def __len__(self) -> int:
        return len(self._position)

    @property
    def everything(self) -> int:
        """All hosts."""
        return self._alive

    def those(self, names: Iterable[str]) -> int:
        """The hosts with these uids or names."""
        wanted = set(names)
        return bits_of(
            (position for uid, position in self._position.items() if uid in wanted or self.at(position).name in wanted),
            len(self._slots),
        )

    def allowed_by(self, selector: Selector) -> int:
        """The hosts an allow block means; see `Selector.allows`."""
        if not selector.written and selector.expression is None:
            return 0
        found = self._by_labels(selector) if selector.written else self._alive
        return found if selector.expression is None else self._by_expression(selector.expression, found)

    def denied_by(self, selector: Selector) -> int:
        """The hosts a deny block means; see `Selector.denies`."""
        found = self._by_labels(selector) if selector.written else 0
        if selector.expression is not None:
            found |= self._by_expression(selector.expression, self._alive & ~found)
        return found

    def _insert(self, target: Target) -> int:
        self.version += 1
        if self._free:
            position = self._free.pop()
            self._slots[position] = target
        else:
            position = len(self._slots)
            self._slots.append(target)
        self._position[target.uid] = position
        for key, value in target.labels.items():
            entry = self._keys.setdefault(key, _Key())
            entry.postings.setdefault(value, set()).add(position)
            entry.bits.pop(value, None)
        return position

    def _drop(self, position: int) -> None:
        target = self.at(position)
        self.version += 1
        for key, value in target.labels.items():
            entry = self._keys[key]
            entry.postings[value].discard(position)
            entry.bits.pop(value, None)
            if not entry.postings[value]:
                del entry.postings[value]
            if not entry.postings:
                del self._keys[key]
        self._slots[position] = None
        self._free.append(position)
        del self._position[target.uid]
        self._alive &= ~(1 << position)

    def _by_labels(self, selector: Selector) -> int:
        if not selector.keys and not selector.everything:
            return 0
        found = self._alive
        for key, matchers in selector.keys:
            found &= self._with_label(key, matchers)
            if not found:
                break
        return found

    def _with_label(self, key: str, matchers: tuple[Matcher, ...]) -> int:
        entry = self._keys.get(key)
        if entry is None:
            return 0
        found = 0
        for matcher in matchers:
            if isinstance(matcher, Exact):
                found |= self._value(entry, matcher.text)
            else:
                found |= self._values(entry, matcher)
        return found

    def _value(self, entry: _Key, value: str) -> int:
        posting = entry.postings.get(value)
        if posting is None:
            return 0
        bits = entry.bits.get(value)
        if bits is None:
            bits = entry.bits[value] = bits_of(posting, len(self._slots))
        return bits

    def _values(self, entry: _Key, matcher: Matcher) -> int:
        every = isinstance(matcher, Any_)
        matching = [posting for value, posting in entry.postings.items() if every or matcher.matches(value)]
        return bits_of((position for posting in matching for position in posting), len(self._slots))

    def _by_expression(self, holds: Callable[[Mapping[str, str]], bool], among: int) -> int:
        """Evaluate once for each distinct set of labels."""
        known: dict[tuple[tuple[str, str], ...], bool] = {}
        found = []
        for position in positions(among):
            labels = self.at(position).labels
            key = tuple(sorted(labels.items()))
            if key not in known:
                known[key] = holds(labels)
            if known[key]:
                found.append(position)
        return bits_of(found, len(self._slots))


@dataclass(frozen=True)
class Reach:
    """Which hosts each login opens."""

    fleet: Fleet
    by_login: Mapping[str, int]

    @property
    def any_login(self) -> int:
        """The hosts that some login opens."""
        found = 0
        for bits in self.by_login.values():
            found |= bits
        return found

    def logins_on(self, target: Target) -> list[str]:
        """The logins that open one host, in alphabetical order."""
        position = self.fleet._position.get(target.uid)
        if position is None:
            return []
        return sorted(login for login, bits in self.by_login.items() if bits >> position & 1)

    def rows(self) -> Iterator[tuple[Target, list[str]]]:
        """Each reachable host with its logins, by name."""
        opened: dict[int, list[str]] = {}
        for login in sorted(self.by_login):
            for position in positions(self.by_login[login]):
                opened.setdefault(position, []).append(login)
        targets = [(self.fleet.at(position), logins) for position, logins in opened.items()]
        yield from sorted(targets, key=lambda row: (row[0].name, row[0].uid))


def reach(snapshot: Snapshot, identity: Identity, fleet: Fleet, *, now: float) -> Reach:
    """Everything an identity reaches, a second factor assumed. Agrees with `decide` on every pair."""
    user = snapshot.user(identity.name) if identity.is_user else None
    if user is None or standing(snapshot, identity, now) or _never(snapshot):
        return Reach(fleet, {})
    selected = {role.name: fleet.allowed_by(role.allow.selector(fleet.kind)) for role in user.roles}
    logins: dict[str, int] = {}
    for role in user.scoped(identity.requested_roles):
        for login in role.allow.logins:
            logins[login] = logins.get(login, 0) | selected[role.name]
    shut = 0
    for role in user.roles:
        shut |= fleet.everything if role.deny.every_login else fleet.denied_by(role.deny.selector(fleet.kind))
    if identity.allowed_resources is not None:
        shut |= fleet.everything & ~fleet.those(identity.allowed_resources)
    open_to = {login: bits & ~shut for login, bits in logins.items()}
    for role in user.roles:
        _without(open_to, role.deny.logins, fleet.everything)
        if _unprovable(role):
            _without(open_to, role.allow.logins, selected[role.name])
    for lock in snapshot.locks:
        if lock_in_force(lock, now):
            _apply(lock, user, open_to, fleet)
    return Reach(fleet, {login: bits for login, bits in open_to.items() if bits})


def _without(open_to: dict[str, int], logins: Iterable[str], hosts: int) -> None:
    for login in logins:
        if login in open_to:
            open_to[login] &= ~hosts


def _never(snapshot: Snapshot) -> bool:
    """Whether the cluster demands of everybody what nobody can show yet."""
    trust = snapshot.auth.device_trust
    return snapshot.auth.require_session_mfa.startswith("hardware_key") or (
        trust is not None and trust.mode.startswith("required")
    )


def _unprovable(role: BoundRole) -> bool:
    """Whether a matching role demands what nobody can show yet."""
    options = role.role.options
    return (options.require_session_mfa or "no").startswith("hardware_key") or options.device_trust_mode == "required"


def _apply(lock: Lock, user: BoundUser, open_to: dict[str, int], fleet: Fleet) -> None:
    """Take away what a lock on this user, one of the roles, a login or a host shuts."""
    fields = dict(lock.spec.target.set_fields())
    if fields.pop("user", user.name) != user.name:
        return
    role = fields.pop("role", None)
    if role is not None and role not in user.role_names:
        return
    login = fields.pop("login", None)
    hosts = fleet.everything
    for name in ("server_id", "node"):
        host = fields.pop(name, None)
        if host is not None:
            hosts &= fleet.those((host,))
    if not fields:
        _without(open_to, list(open_to) if login is None else [login], hosts)
