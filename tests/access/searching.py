"""Random policies with all that expressions, patterns and templates can say, and a search for who breaks an invariant.

Asks `decide` alone; who comes to hold what is worked out here once more, from the documents. That it finds nobody
says nothing.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from teleport.access.decide import AccessRequest, decide
from teleport.access.labels import SelectorTemplate
from teleport.access.patterns import pattern
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.core.identity import Identity
from teleport.resources.access_invariant import AccessInvariantSpec
from teleport.resources.codec import from_dict
from teleport.resources.user import User
from tests.access.builders import NOW, policy
from tests.access.strategies import document

Document = dict[str, Any]
Labels = Mapping[str, str]
Traits = Mapping[str, tuple[str, ...]]

ROLES = ("r1", "r2", "r3", "r4")
WORDS = ("prod", "dev", "pro", "web", "b", "x", "", "prod-1", "dev-2", "PROD", "od", "ood", "zed")
PATTERNS = (
    "*", "p*", "*d", "*o*", "prod-*", "p*d", "*-1", "prod", "dev", "web", "^(prod|web)$", "^p.*$", "^[a-w]+$",
    "^prod-[0-9]+$", "^[^p].*$", "^(?i)prod$", "^$", "^b.?$",
)  # fmt: skip
TEMPLATES = (
    "{{internal.team}}", "{{external.env}}", "{{internal.none}}", "{{internal.team}}*", "^({{internal.team}}|dev)$",
    "^{{internal.team}}.*$", "pr{{internal.env}}", "{{internal.env}}d", "{{strings.lower(internal.team)}}",
    '{{regexp.replace(internal.env, "^p(.*)$", "$1")}}', '{{regexp.replace(internal.team, "^(.*)-x$", "pr$1")}}',
    '{{regexp.replace(internal.env, "(o)", "$1$1")}}', "{{email.local(internal.mail)}}",
    '{{regexp.replace(email.local(internal.mail), "^(.)(.*)$", "$2$1")}}',
)  # fmt: skip
KEYS = ("env", "team", "zone")
LOGINS = (
    "root", "dev", "web", "{{internal.team}}", "{{internal.none}}", "{{email.local(internal.mail)}}",
    '{{regexp.replace(internal.team, "^w(.*)$", "r$1")}}', '{{regexp.replace(internal.team, ".*", "root")}}',
    "r{{internal.env}}", "{{strings.lower(internal.team)}}",
)  # fmt: skip
ATOMS = (
    'labels["env"] == "prod"', 'labels.team != "web"', 'labels["zone"] == ""', "user.metadata.name == labels.team",
    "labels.env == labels.team", 'contains(user.spec.traits["team"], labels["team"])', 'contains(user.spec.roles, "r2")',
    'contains(user.spec.traits["none"], "")', 'contains_any(user.spec.traits.team, set("web", "dev"))',
    "contains_any(user.spec.traits.env, user.spec.traits.team)", "contains_all(user.spec.traits.team, set())",
    'regexp.match(labels["env"], "p*")', 'regexp.match(labels.env, "^prod-[0-9]$")',
    'regexp.match(user.spec.traits["team"], "^w.*$")', 'contains(labels_matching("t*"), "web")',
    'contains(labels_matching("*"), labels.env)', 'contains(email.local(user.spec.traits["mail"]), "ann")',
    'contains(regexp.replace(user.spec.traits.env, "^p(.*)$", "$1"), "rod")', 'strings.upper(labels.env) == "PROD"',
    'regexp.replace(labels.env, "^(.*)-[0-9]$", "$1") == "prod"', 'contains(strings.split(labels.team, "-"), "web")',
    'strings.replaceall(labels.env, "-", "") == "prod1"', 'contains(set(labels.env, labels.team), "prod")',
    'contains(strings.split(user.spec.traits.team, "-"), labels.env)', 'email.local(labels.zone) == "a"',
)  # fmt: skip
TRAITS = {
    "team": ("web", "dev", "prod", "*", "web-x", "PROD", "prod-1", "b", "od-x", "root", "woot"),
    "env": ("prod", "pro", "od", "*", "oot", "", "d"),
    "mail": ("ann@e", "root@e", "drpo@x", "troo@x", "nope"),
    "key": ("env", "team", "zone"),
    "none": ("", "root", "x"),
}
ONLY: tuple[Document, ...] = (
    {}, {"roles": ["r1"]}, {"users": ["ann"]}, {"traits": {"team": ["web"]}}, {"roles": ["r3"], "users": ["bob"]},
    {"traits": {"team": ["dev", "web"], "env": ["prod"]}},
)  # fmt: skip
HOSTS: tuple[Document, ...] = (
    {"env": "prod"}, {"env": ["prod", "x"], "team": "*"}, {"*": "*"}, {"team": "w*"}, {"env": "^p.*$"},
    {"env": "*", "zone": ["a", "b"]}, {"env": "^prod-[0-9]+$"},
)  # fmt: skip
OPTIONS: tuple[Document, ...] = ({}, {}, {}, {"require_session_mfa": "hardware_key"}, {"device_trust_mode": "required"})


class Drawing:
    """Draws documents."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def likely(self, chance: float) -> bool:
        return self.random.random() < chance

    def some(self, values: Sequence[str], most: int) -> list[str]:
        return self.random.sample(list(values), min(len(values), self.random.randint(0, most)))

    def expression(self, depth: int = 0) -> str:
        form = self.random.random()
        if depth > 2 or form < 0.45:
            return self.random.choice(ATOMS)
        one = self.expression(depth + 1)
        if form > 0.85:
            return f"!({one})"
        return f"({one} {'&&' if form < 0.65 else '||'} {self.expression(depth + 1)})"

    def labels(self) -> Document:
        if self.likely(0.12):
            return {"*": "*"}
        keys = [*self.random.sample(KEYS, self.random.choice((1, 1, 2, 3))), "{{internal.key}}"]
        pools = (TEMPLATES, PATTERNS, PATTERNS, WORDS)
        return {
            key: [self.random.choice(self.random.choice(pools)) for _ in range(self.random.choice((1, 1, 2)))]
            for key in (keys if self.likely(0.1) else keys[:-1])
        }

    def side(self, *, allow: bool) -> Document:
        found: Document = {}
        if allow or self.likely(0.3):
            found["logins"] = [self.random.choice(LOGINS), *(["root"] if allow and self.likely(0.5) else [])]
        if self.likely(0.8 if allow else 0.6):
            found["node_labels"] = self.labels()
        if self.likely(0.35):
            found["node_labels_expression"] = self.expression()
        if self.likely(0.2):
            patterns = ("r1", "r4", "r*", "^r[34]$", "{{internal.team}}")
            found["request"] = {"roles": [self.random.choice(patterns)]}
        return found

    def documents(self) -> list[Document]:
        found = []
        for name in ROLES:
            spec = {"allow": self.side(allow=True), "options": self.random.choice(OPTIONS)}
            spec |= {"deny": self.side(allow=False)} if self.likely(0.5) else {}
            found.append(document("role", self.random.choice(("v3", "v4", "v5", "v6", "v7", "v8")), name, spec))
        for name in ("ann", "bob"):
            traits = {key: self.some(values, 2) for key, values in TRAITS.items() if self.likely(0.5)}
            held = self.random.sample(ROLES[:3], self.random.choice((1, 2)))
            found.append(document("user", "v2", name, {"roles": held, "traits": traits}))
        return found

    def invariant(self) -> Document:
        traits = {key: self.some(values, 3) for key, values in TRAITS.items() if self.likely(0.3)}
        labels = {key: self.some(WORDS, 3) for key in KEYS if self.likely(0.2)}
        logins = self.random.choice((["root"], ["root", "web"], ["*"]))
        may = {"logins": logins, "labels": self.random.choice(HOSTS)}
        spec = {"only": self.random.choice(ONLY), "may": may, "assume": {"traits": traits, "labels": labels}}
        return document("access_invariant", "v1", "i", spec)

    def hosts(self) -> list[Labels]:
        return [
            {key: self.random.choice(WORDS) for key in KEYS if self.likely(0.6)}
            for _ in range(self.random.randint(0, 2))
        ]


@dataclass
class Search:
    """For somebody outside who is let in, among those whom the assumptions of an invariant leave."""

    documents: Sequence[Document]
    spec: AccessInvariantSpec
    hosts: Sequence[Labels]
    drawing: Drawing

    def found(self, *, tries: int = 40) -> str:
        """Who is let in, where; nothing if nobody was found."""
        snapshot = policy(*map(from_dict, self.documents))
        selector = SelectorTemplate.of(self.spec.may.labels, "").bind("", (), {})
        places = [*self.hosts, *(self._host() for _ in range(tries))]
        places = [one for one in places if selector.allows(one)]
        logins = ("root", "web", "dev", "ann", "b") if self.spec.may.every_login else self.spec.may.logins
        for name, roles, traits in (*self._declared(), *self._imagined(tries)):
            if not self._inside(name, roles, traits):
                user = from_dict(document("user", "v2", name, {"roles": roles, "traits": traits}))
                for labels, login in product(places, logins):
                    if _allowed(snapshot, user, labels, login):
                        return f"{name} {roles} {dict(traits)}: {login} on {dict(labels)}"
        return ""

    def _declared(self) -> Iterator[tuple[str, tuple[str, ...], Traits]]:
        for name, roles, traits in self._users():
            yield name, roles, traits
            yield from ((name, tuple({*roles, more}), traits) for more in self._holdable(roles))

    def _imagined(self, tries: int) -> Iterator[tuple[str, tuple[str, ...], Traits]]:
        outside = [roles for name, roles, traits in self._users() if not self._inside(name, roles, traits)]
        holdable = sorted({more for roles in outside for more in self._holdable(roles)})
        for _ in range(tries if holdable else 0):
            roles = tuple(
                self.drawing.random.sample(holdable, min(len(holdable), self.drawing.random.choice((1, 1, 2))))
            )
            values = {**TRAITS, **self.spec.assume.traits}
            yield "zed", roles, {key: tuple(self.drawing.some(some, 3)) for key, some in values.items()}

    def _host(self) -> Labels:
        found: dict[str, str] = {}
        for key in KEYS:
            there = [one[key] for one in self.hosts if key in one]
            values = [*self.spec.assume.labels[key], *there] if key in self.spec.assume.labels else WORDS
            if values and self.drawing.likely(0.8):
                found[key] = self.drawing.random.choice(values)
        return found

    def _users(self) -> Iterator[tuple[str, tuple[str, ...], Traits]]:
        for one in self.documents:
            if one["kind"] == "user":
                traits = {key: tuple(values) for key, values in one["spec"]["traits"].items()}
                yield one["metadata"]["name"], tuple(one["spec"]["roles"]), traits

    def _holdable(self, roles: Sequence[str]) -> set[str]:
        """What holders of these have or may ask for, without becoming insiders."""
        found, queue = set[str](), [*roles]
        while queue:
            role = queue.pop()
            if role not in found and role not in self.spec.only.roles:
                found.add(role)
                queue += self._requestable(role)
        return found

    def _requestable(self, role: str) -> list[str]:
        spec = next(one["spec"] for one in self.documents if one["metadata"]["name"] == role)
        asked, refused = (spec.get(side, {}).get("request", {}).get("roles", ()) for side in ("allow", "deny"))
        return [
            name for name in ROLES
            if any("{{" in one or pattern(one).matches(name) for one in asked)
            and not any("{{" not in one and pattern(one).matches(name) for one in refused)
        ]  # fmt: skip

    def _inside(self, name: str, roles: Sequence[str], traits: Traits) -> bool:
        only = self.spec.only
        if name in only.users or not set(only.roles).isdisjoint(roles):
            return True
        return bool(only.traits) and all(
            not set(values).isdisjoint(traits.get(key, ())) for key, values in only.traits.items()
        )


def _allowed(snapshot: Snapshot, user: Any, labels: Labels, login: str) -> bool:
    assert isinstance(user, User)
    alone = replace(snapshot, users={user.name: user}, locks=(), _bound={})
    identity = Identity("user", user.name, user.uid, "", mfa_verified=True)
    return decide(alone, AccessRequest(identity, Target("node", "new", "new", labels), login), now=NOW).allowed
