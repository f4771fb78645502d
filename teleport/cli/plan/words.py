"""How a plan speaks: sets of people and hosts by what they have in common, conditions as sentences, and the reasons."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from teleport.access.decide import Decision
from teleport.access.fleet import Fleet, positions
from teleport.access.groups import Group
from teleport.access.impact import Found
from teleport.access.unheld import Unheld
from teleport.cli.plan.report import Report
from teleport.gitops.fields import FieldChange
from teleport.resources.user import User

__all__ = ["Words", "counted", "field_text", "listed", "plural"]

_NAMED_HOSTS: Final = 3
_NAMED_PEOPLE: Final = 8
_VALUES: Final = 4
_CLAUSES: Final = 3
_SHORT: Final = 60

_SWITCHES: Final[Mapping[str, str]] = {
    "file_copy": "copying files",
    "agent_forwarding": "forwarding the agent",
    "local_forwarding": "forwarding ports to the host",
    "remote_forwarding": "forwarding ports from the host",
    "x11_forwarding": "forwarding X11",
}
"""What may be permitted."""

_LABELS: Final[Mapping[str, str]] = {
    "mfa": "a second factor for each session",
    "device_trust": "a trusted device",
    "max_session_ttl": "certificates last",
    "idle_timeout": "idle sessions end after",
    "disconnect_expired_cert": "sessions end with their certificate",
    "lock": "without contact to auth",
    "max_connections": "connections at a time",
    "max_sessions": "sessions at a time",
    "pin_source_ip": "certificates bound to one address",
    "recording": "recording",
    "recording_mode": "recording mode",
    "enhanced_recording": "recorded besides",
    "host_user": "logins created",
    "cert_extensions": "certificate extensions",
}

_OWN: Final = "their own login"
_OWN_LOGINS: Final = ("{{internal.logins}}", "{{external.logins}}")


class Words:
    """The sentences of one report."""

    def __init__(self, report: Report) -> None:
        self._report = report

    # -- people

    def people(self, names: Sequence[str]) -> tuple[str, str]:
        """Who they are, and their names where that does not say it: `3 people of team data`, `ann, bob, cy`."""
        if len(names) <= 2:
            return listed(sorted(names)), ""
        shown = sorted(names)
        rest = f" and {len(shown) - _NAMED_PEOPLE} more" if len(shown) > _NAMED_PEOPLE + 1 else ""
        named = ", ".join(shown[:_NAMED_PEOPLE] if rest else shown) + rest
        return self._common(frozenset(names)), named

    def _common(self, names: frozenset[str]) -> str:
        users = self._users
        if names >= users.keys():
            return f"everybody ({plural(len(names), 'person', 'people')})"
        count = f"{len(names)} people"
        first = users[min(names)]
        shared = [
            (key, value) for key, values in first.spec.traits.items() for value in values
            if all(value in users[name].spec.traits.get(key, ()) for name in names)
        ]  # fmt: skip
        for key, value in shared:
            if self._with_trait(key, value) == names:
                return f"all {count} of {key} {value}"
        for role in first.spec.roles:
            if self._with_role(role) == names:
                return f"all {count} who hold role/{role}"
        return f"{count} of {shared[0][0]} {shared[0][1]}" if shared else count

    @property
    def _users(self) -> Mapping[str, User]:
        return {**self._report.before.users, **self._report.after.users}

    def _with_trait(self, key: str, value: str) -> frozenset[str]:
        return frozenset(name for name, user in self._users.items() if value in user.spec.traits.get(key, ()))

    def _with_role(self, role: str) -> frozenset[str]:
        return frozenset(name for name, user in self._users.items() if role in user.spec.roles)

    # -- logins and hosts

    def logins(self, group: Group, *, known: bool = True) -> str:
        """The logins; of one known person those that they are, of many those from a trait as where they come from."""
        if known and len(group.people) == 1:
            return listed(sorted(group.own))
        words = dict.fromkeys(_OWN if login in _OWN_LOGINS else login for login in group.logins)
        return listed(sorted(words, key=lambda word: (word == _OWN, word)))

    def where(self, found: Found) -> str:
        """`web-1 and web-2`, `all 41 hosts with env=prod`, `12 of the 41 hosts with env=prod`."""
        fleet, hosts = found.fleet, found.hosts
        if found.count <= _NAMED_HOSTS:
            return listed(sorted(fleet.at(position).name for position in positions(hosts)))
        if hosts == fleet.everything:
            return f"every host ({found.count})"
        clauses = _clauses(fleet, hosts)
        if not clauses:
            return f"{found.count} hosts"
        among = fleet.everything
        for _, bits in clauses:
            among &= bits
        if among != hosts:
            text = ", ".join(text for text, _ in clauses[:_CLAUSES])
            return f"{found.count} hosts with {text}"
        return f"all {found.count} hosts with {', '.join(text for text, _ in _needed(clauses, hosts))}"

    def hosts(self, found: Found) -> list[str]:
        """Every host, by name."""
        return sorted(found.fleet.at(position).name for position in positions(found.hosts))

    # -- sentences

    def sentence(self, group: Group) -> str:
        """What happens to whom, as one sentence without its end."""
        who, names = self.people(group.people)
        text = f"{who} {self.deed(group, one=len(group.people) == 1)}"
        return f"{text}: {names}" if names else text

    def role_sentence(self, group: Group) -> str:
        """The same of holders of roles that nobody declared holds."""
        return self._holders(group, self._report.unheld, listed([f"role/{role}" for role in group.people]))

    def partner_sentence(self, group: Group) -> str:
        """The same of holders of roles of other clusters."""
        return self._holders(group, self._report.partners, listed(list(group.people)))

    def _holders(self, group: Group, among: Unheld, roles: str) -> str:
        traits = sorted({trait for name in group.people for trait in among.depends.get(name, ())})
        most = f", at most: it depends on their {listed(traits)}" if traits else ""
        return f"who holds {roles} {self.deed(group, one=True, among=among)}{most}"

    def deed(self, group: Group, *, one: bool, among: Unheld | None = None) -> str:
        """What happens, without to whom; of people who are not declared, `among` those."""
        s, impact, known = "s" if one else "", among.impact if among else self._report.impact, among is None
        verb = {"gained": f"gain{s}", "lost": f"lose{s}", "changed": f"keep{s}"}[group.change]
        text = f"{verb} {self.logins(group, known=known)} on {self.where(group.found(impact))}"
        if ("mfa", "required") in group.demands:
            text += ", with a second factor for each session"
        return text

    def differences(self, group: Group) -> str:
        """How the conditions of what is kept change; nothing for what is gained or lost."""
        switched = [one for one in group.differences if one.name in _SWITCHES]
        parts = [
            f"{heading}: {', '.join(_SWITCHES[one.name] for one in switched if bool(one.new) is permitted)}"
            for heading, permitted in (("no longer permitted", False), ("now permitted", True))
            if any(bool(one.new) is permitted for one in switched)
        ]
        parts += [
            f"{_LABELS[one.name]}: {_plain(one.name, one.old)} → {_plain(one.name, one.new)}"
            for one in group.differences
            if one.name not in _SWITCHES
        ]
        return "; ".join(parts)

    # -- reasons

    def reason(self, group: Group) -> str:
        """Why, for the first of the people on the first of the hosts, with the place of the rule."""
        if group.change == "changed":
            return ""
        found, report = group.found(self._report.impact), self._report
        target, user = found.fleet.at(next(positions(found.hosts))), group.people[0]
        was, will = report.earlier(target), report.then(target)
        old = report.decision(report.before, user, group.own[0], was)
        new = report.decision(report.after, user, group.own[0], will)
        if group.change == "lost":
            return self._why_lost(user, group.role, new, gone=will is None)
        if old is None and user in report.before.users:
            return f"the host is new: {new.because}{_place(new)}" if new is not None else ""
        return self._why_gained(user, group.role, old, new)

    def _why_lost(self, user: str, role: str, decision: Decision | None, *, gone: bool) -> str:
        after = self._report.after
        if user not in after.users:
            return "the user is deleted"
        if gone or decision is None:
            return "the host is gone"
        if decision.file or decision.role is not None:
            return f"{decision.because}{_place(decision)}"
        if role not in after.roles:
            return f"role/{role} is deleted"
        if role not in after.users[user].spec.roles:
            return f"role/{role} is no longer theirs"
        return next((one for one in decision.reasons if one.startswith(f"role/{role} ")), decision.reasons[0])

    def _why_gained(self, user: str, role: str, old: Decision | None, new: Decision | None) -> str:
        before = self._report.before
        if new is None:
            return ""
        if old is None:
            news = "the user is new: "
        elif role not in before.roles:
            news = "a new role: "
        elif role not in before.users[user].spec.roles:
            news = f"role/{role} is theirs now: "
        elif old.role is not None and not old.allowed:
            news = f"no longer: {old.because}; "
        else:
            news = ""
        return f"{news}{new.because}{_place(new)}"


def _place(decision: Decision) -> str:
    if not decision.file:
        return ""
    return f" ({decision.file}:{decision.line})" if decision.line else f" ({decision.file})"


def _clauses(fleet: Fleet, hosts: int) -> list[tuple[str, int]]:
    """Labels that all of the hosts have, with all hosts that have them; those with few values too."""
    first = fleet.at(next(positions(hosts)))
    found = []
    for key, value in sorted(first.labels.items()):
        bits = fleet.labelled(key, value)
        if not hosts & ~bits:
            found.append((f"{key}={value}", bits))
            continue
        values = fleet.values_of(key)
        if len(values) > 50:
            continue
        some = [one for one in sorted(values) if hosts & fleet.labelled(key, one)]
        bits = 0
        for one in some:
            bits |= fleet.labelled(key, one)
        if len(some) <= _VALUES and len(some) < len(values) and not hosts & ~bits:
            found.append((f"{key}={'|'.join(some)}", bits))
    return found


def _needed(clauses: Sequence[tuple[str, int]], hosts: int) -> list[tuple[str, int]]:
    """As few of them as still mean just these hosts."""
    kept = list(clauses)
    for clause in clauses:
        rest = [one for one in kept if one is not clause]
        among = -1
        for _, bits in rest:
            among &= bits
        if rest and among == hosts:
            kept = rest
    return kept


def _plain(name: str, value: Any) -> str:
    if isinstance(value, tuple | list):
        return "+".join(map(str, value)) or "nothing"
    if name.startswith("max_") and value == 0:
        return "any number"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return {"required": "yes"}.get(value, value) if name == "mfa" else str(value)


def field_text(one: FieldChange) -> str:
    """`8h → 4h`; of a list, what is added and what is removed."""
    if isinstance(one.old, list) or isinstance(one.new, list):
        old, new = (
            [] if value is None else value if isinstance(value, list) else [value] for value in (one.old, one.new)
        )
        texts = [[_value(item) for item in items] for items in (old, new)]
        added = [f"+ {item}" for item in texts[1] if item not in texts[0]]
        removed = [f"- {item}" for item in texts[0] if item not in texts[1]]
        if one.old is None:
            return ", ".join(texts[1]) or "[]"
        return ", ".join([*removed, *added])
    if one.old is None:
        return _value(one.new)
    return f"{_value(one.old)} → {_value(one.new) if one.new is not None else 'not set'}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"


@lru_cache(maxsize=64)
def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def counted(words: Sequence[tuple[int, str]]) -> str:
    """`1 to create, 2 to update`: those that there are."""
    return ", ".join(f"{count} {text}" for count, text in words if count)


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
