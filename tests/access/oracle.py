"""A slow, obviously correct judge: reads documents as they are written and follows SEMANTICS line by line.

Shares nothing with `teleport.access`, so that they agree only if both are right. Knows hosts and logins alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.access.oracle_language import Facts, Reader, expand, template_matches, unique

Document = Mapping[str, Any]

LOGIN_START = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
LOGIN_REST = LOGIN_START + "0123456789.-"


@dataclass(frozen=True)
class Question:
    user: str
    login: str
    name: str
    uid: str
    labels: Mapping[str, str]
    now: str
    """RFC 3339 in UTC: such times compare as texts."""
    mfa: bool = False
    requested: Sequence[str] | None = None
    restricted: Sequence[str] | None = None


@dataclass(frozen=True)
class Answer:
    allowed: bool
    role: str | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)


class Oracle:
    """Holds the documents of one policy."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents

    def of(self, kind: str) -> list[Document]:
        return [one for one in self.documents if one["kind"] == kind]

    def named(self, kind: str, name: str) -> Document | None:
        return next((one for one in self.of(kind) if one["metadata"]["name"] == name), None)

    def setting(self, kind: str) -> Mapping[str, Any]:
        found = self.of(kind)
        return found[0]["spec"] if found else {}

    def judge(self, question: Question) -> Answer:
        user = self.named("user", question.user)
        if user is None:
            return Answer(False)
        person = Person(user)
        live = [role for name in unique(person.roles) if (role := self.named("role", name)) is not None]
        scoped = [role for role in live if question.requested is None or name_of(role) in question.requested]
        if question.restricted is not None and not {question.uid, question.name} & set(question.restricted):
            return Answer(False)
        if any(self.lock_matches(lock, person, question) for lock in self.of("lock")):
            return Answer(False)
        cluster_mfa = self.setting("cluster_auth_preference").get("require_session_mfa", "no")
        if cluster_mfa != "no" and not question.mfa:
            return Answer(False, needs={"mfa": "required"})
        for role in live:
            if self.denies(role, person, question):
                return Answer(False, name_of(role))
        allowing = [role for role in scoped if self.allows(role, person, question)]
        if not allowing:
            return Answer(False)
        matching = [role for role in live if self.allows(role, person, question)]
        demanding = [role for role in matching if option(role, "require_session_mfa", "no") == "yes"]
        if demanding and not question.mfa:
            return Answer(False, name_of(demanding[0]), {"mfa": "required"})
        trusting = [role for role in matching if option(role, "device_trust_mode", "off") == "required"]
        if trusting:
            return Answer(False, name_of(trusting[0]), {"device_trust": "required"})
        return Answer(True, name_of(allowing[0]), conditions=self.conditions(scoped, live))

    def denies(self, role: Document, person: "Person", question: Question) -> bool:
        side = role["spec"].get("deny", {})
        if "*" in side.get("logins", []):
            return True
        if question.login in logins_of(side, person):
            return True
        if labels_match(side.get("node_labels") or {}, person, question):
            return True
        return expression_holds(side, person, question) is True

    def allows(self, role: Document, person: "Person", question: Question) -> bool:
        side = role["spec"].get("allow", {})
        if question.login not in logins_of(side, person):
            return False
        labels = side.get("node_labels")
        if labels is None and role["version"] == "v3" and side.get("logins"):
            labels = {"*": "*"}
        holds = expression_holds(side, person, question)
        if not labels and holds is None:
            return False
        return (not labels or labels_match(labels, person, question)) and holds is not False

    def lock_matches(self, lock: Document, person: "Person", question: Question) -> bool:
        if lock["spec"].get("expires", "9999") <= question.now:
            return False
        facts = {
            "user": [person.name],
            "role": person.roles,
            "login": [question.login],
            "server_id": [question.uid, question.name],
            "node": [question.uid, question.name],
        }
        return all(value in facts[key] for key, value in lock["spec"]["target"].items())

    def conditions(self, scoped: Sequence[Document], live: Sequence[Document]) -> Mapping[str, Any]:
        """The rows of the table of options that a host has, in the table's order."""
        network, auth = self.setting("cluster_networking_config"), self.setting("cluster_auth_preference")
        idle = [option(role, "client_idle_timeout", "never") for role in live]
        idle = [minutes(one) for one in [*idle, network.get("client_idle_timeout", "never")] if one != "never"]
        sessions = [option(role, "max_sessions", 0) for role in live if option(role, "max_sessions", 0) > 0]
        locks = [word for role in live if (word := option(role, "lock", None)) is not None]
        records = [option(role, "record_session", {}) for role in live]
        words = [record.get("ssh", record.get("default", "best_effort")) for record in records]
        return {
            "max_session_ttl": min(minutes(option(role, "max_session_ttl", "30h")) for role in live),
            "idle_timeout": min(idle, default=0),
            "max_sessions": min(sessions, default=0),
            "agent_forwarding": any(option(role, "forward_agent", False) for role in scoped),
            "x11_forwarding": any(option(role, "permit_x11_forwarding", False) for role in scoped),
            "pin_source_ip": any(option(role, "pin_source_ip", False) for role in live),
            "local_forwarding": any(option(role, "port_forwarding", True) for role in scoped),
            "file_copy": all(option(role, "ssh_file_copy", True) for role in live),
            "lock": max(locks or [auth.get("locking_mode", "best_effort")], key=["best_effort", "strict"].index),
            "recording": max(words, key=["best_effort", "strict"].index),
            "enhanced_recording": sorted(
                {event for role in live for event in option(role, "enhanced_recording", ["command", "network"])}
            ),
        }


class Person:
    """A user, with traits as lists."""

    def __init__(self, user: Document) -> None:
        self.name = user["metadata"]["name"]
        self.roles = list(user["spec"].get("roles", []))
        self.traits = {key: listed(value) for key, value in user["spec"].get("traits", {}).items()}


def name_of(document: Document) -> str:
    name: str = document["metadata"]["name"]
    return name


def option(role: Document, name: str, default: Any) -> Any:
    return role["spec"].get("options", {}).get(name, default)


def listed(value: Any) -> list[str]:
    return list(value) if isinstance(value, list) else [value]


def minutes(text: str) -> int:
    return int(text[:-1]) * {"h": 60, "m": 1}[text[-1]]


def valid_login(text: str) -> bool:
    head = text[:-1] if len(text) > 1 and text.endswith("$") else text
    return 0 < len(text) <= 32 and head[0] in LOGIN_START and all(char in LOGIN_REST for char in head)


def logins_of(side: Mapping[str, Any], person: Person) -> list[str]:
    found: list[str] = []
    for written in side.get("logins", []):
        expanded = expand(written, person.traits)
        found += [written] if expanded is None else expanded
    return [login for login in found if valid_login(login)]


def labels_match(selector: Mapping[str, Any], person: Person, question: Question) -> bool:
    if not selector:
        return False
    if selector.get("*") in ("*", ["*"]):
        return True
    for key, values in selector.items():
        expanded = expand(key, person.traits)
        wanted = key if expanded is None else (expanded or [""])[0]
        if wanted not in question.labels:
            return False
        value = question.labels[wanted]
        if not any(template_matches(one, value, person.traits) for one in listed(values)):
            return False
    return True


def expression_holds(side: Mapping[str, Any], person: Person, question: Question) -> bool | None:
    """None where there is no expression."""
    text = side.get("node_labels_expression", "")
    if not text:
        return None
    return bool(Reader(text, Facts(person.name, question.labels, person.traits)).whole())
