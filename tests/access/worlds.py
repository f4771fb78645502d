"""Small worlds, all of them: whoever an invariant leaves outside, on every host that could be, judged by the oracle.

Shares nothing with the prover. What it finds is a counterexample; that it finds none says nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import Any

from tests.access.oracle import Document, Oracle, Question, listed, name_of
from tests.access.oracle_language import pattern_matches

NOW = "2027-01-15T08:00:00Z"
VALUES = ["prod", "dev", "web", "x", ""]
TRAITS = {
    "team": ["web", "dev", "prod", "*"],
    "env": ["prod", "pro"],
    "mail": ["ann@example.com"],
    "key": ["env", "team"],
}
LOGINS = ["root", "web", "dev"]


@dataclass(frozen=True)
class Counterexample:
    person: Document
    labels: Mapping[str, str]
    login: str


class World:
    """All worlds around a policy and an invariant, both as documents; hosts as labels."""

    def __init__(self, documents: Sequence[Document], invariant: Document, hosts: Sequence[Mapping[str, str]]) -> None:
        self.documents = [one for one in documents if one["kind"] != "lock"]
        self.spec, self.hosts = invariant["spec"], hosts
        self.oracle = Oracle(self.documents)

    def counterexample(self) -> Counterexample | None:
        for person in chain(self.declared(), self.imagined()):
            oracle = Oracle([*(one for one in self.documents if one["kind"] != "user"), person])
            for labels, login in product(self.all_hosts(), self.logins()):
                if self.meant(labels) and judged(oracle, person, labels, login):
                    return Counterexample(person, labels, login)
        return None

    def real(self, example: Counterexample) -> bool:
        """Whether somebody outside could be this, and is let in on such a host."""
        oracle = Oracle([*(one for one in self.documents if one["kind"] != "user"), example.person])
        held = set(example.person["spec"]["roles"])
        return (
            not self.inside(example.person)
            and held <= self.holdable() | {"gone"}
            and self.meant(example.labels)
            and (example.login in self.spec["may"]["logins"] or "*" in self.spec["may"]["logins"])
            and judged(oracle, example.person, example.labels, example.login)
        )

    def outsiders(self) -> list[Document]:
        return [one for one in self.oracle.of("user") if not self.inside(one)]

    def declared(self) -> Iterator[Document]:
        yield from self.outsiders()

    def imagined(self) -> Iterator[Document]:
        """Everybody else outside: with one role or two, and with each of some traits, as far as they are assumed."""
        holdable = sorted(self.holdable())
        for roles in chain(combinations(holdable, 1), combinations(holdable, 2)):
            for traits in self.traits():
                person = {
                    "kind": "user", "version": "v2", "metadata": {"name": "zed"},
                    "spec": {"roles": list(roles), "traits": traits},
                }  # fmt: skip
                if not self.inside(person):
                    yield person

    def traits(self) -> Iterator[dict[str, list[str]]]:
        assumed = self.spec.get("assume", {}).get("traits", {})
        ranges: list[list[tuple[str, tuple[str, ...]]]] = []
        for name in ("team", "env", "mail", "key"):
            values = listed(assumed[name]) if name in assumed else TRAITS[name]
            ranges.append([(name, ()), *((name, (one,)) for one in values), (name, tuple(values))])
        for chosen in product(ranges[0], ranges[1]):
            yield {name: list(values) for name, values in chosen if values}
        for name, given in chain(ranges[2], ranges[3]):
            yield {"team": listed(assumed.get("team", ["web"])), **({name: list(given)} if given else {})}

    def holdable(self) -> set[str]:
        found: set[str] = set()
        closed = set(listed(self.spec["only"].get("roles", [])))
        queue = [role for one in self.outsiders() for role in one["spec"]["roles"]]
        while queue:
            role = queue.pop()
            if role in found or role in closed or self.oracle.named("role", role) is None:
                continue
            found.add(role)
            request = self.oracle.named("role", role)["spec"]["allow"].get("request", {})  # type: ignore[index]
            patterns = [*request.get("roles", []), *request.get("search_as_roles", [])]
            known = [name_of(one) for one in self.oracle.of("role")]
            queue += [name for name in known if any(pattern_matches(one, name) for one in patterns)]
        return found

    def inside(self, person: Document) -> bool:
        only, spec = self.spec["only"], person["spec"]
        if set(listed(only.get("roles", []))) & set(spec["roles"]) or name_of(person) in only.get("users", []):
            return True
        traits = {name: set(listed(values)) for name, values in spec.get("traits", {}).items()}
        wanted = only.get("traits", {})
        return bool(wanted) and all(set(listed(values)) & traits.get(name, set()) for name, values in wanted.items())

    def all_hosts(self) -> Iterator[Mapping[str, str]]:
        yield from self.hosts
        assumed = self.spec.get("assume", {}).get("labels", {})
        ranges = [
            [None, *(listed(assumed[key]) if key in assumed else VALUES)]
            for key in ("env", "team")
        ]  # fmt: skip
        for env, team in product(*ranges):
            yield {key: value for key, value in (("env", env), ("team", team)) if value is not None}

    def logins(self) -> list[str]:
        may = listed(self.spec["may"]["logins"])
        return LOGINS if "*" in may else may

    def meant(self, labels: Mapping[str, str]) -> bool:
        selector: Mapping[str, Any] = self.spec["may"]["labels"]
        if "*" in selector:
            return True
        return all(
            key in labels and any(pattern_matches(one, labels[key]) for one in listed(values))
            for key, values in selector.items()
        )


def judged(oracle: Oracle, person: Document, labels: Mapping[str, str], login: str) -> bool:
    question = Question(name_of(person), login, "new", "new", labels, NOW, mfa=True)
    return oracle.judge(question).allowed
