"""Who may do what: the roles and bindings that an API server keeps, asked as it asks them, and what was asked of it.

Follows Kubernetes' "Using RBAC Authorization". Requests without a token are an administrator's.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["ADMINISTRATOR", "Asked", "Grant", "allows", "grants_of", "verb_of"]

ADMINISTRATOR: Final = ""
_COLLECTION: Final = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_SINGLE: Final = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What one request wanted: `resource` is the plural, with its subresource behind a slash."""

    verb: str
    group: str
    resource: str
    namespace: str = ""


@dataclass(frozen=True)
class Grant:
    """One verb on one resource that somebody was given; in all namespaces if none is named."""

    verb: str
    group: str
    resource: str
    namespace: str = ""

    def covers(self, asked: Asked) -> bool:
        kind, _, part = asked.resource.partition("/")
        return (
            self.verb in ("*", asked.verb)
            and self.group in ("*", asked.group)
            and self.resource in ("*", asked.resource, f"*/{part}" if part else kind)
            and self.namespace in ("", asked.namespace)
        )


def verb_of(method: str, *, single: bool, watching: bool) -> str:
    """How RBAC calls a request."""
    return "watch" if watching else (_SINGLE if single else _COLLECTION).get(method, method.lower())


def allows(grants: Iterable[Grant], asked: Asked) -> bool:
    return any(one.covers(asked) for one in grants)


def grants_of(user: str, kept: Iterable[Object]) -> list[Grant]:
    """Everything that the roles among some objects give to a user, through the bindings among them."""
    found = list(kept)
    roles = {_place(one): one for one in found if one["kind"] in ("Role", "ClusterRole")}
    return [grant for one in found for grant in _granted(one, user, roles)]


def _granted(binding: Object, user: str, roles: Mapping[tuple[str, str, str], Object]) -> Iterator[Grant]:
    if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
        return
    if user not in map(_subject, binding.get("subjects") or ()):
        return
    refers, namespace = binding["roleRef"], binding["metadata"].get("namespace", "")
    role = roles.get((refers["kind"], namespace if refers["kind"] == "Role" else "", refers["name"]))
    for rule in (role or {}).get("rules") or ():
        for group in rule.get("apiGroups", ()):
            for resource in rule.get("resources", ()):
                yield from (Grant(verb, group, resource, namespace) for verb in rule["verbs"])


def _place(one: Object) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


def _subject(subject: Mapping[str, str]) -> str:
    if subject["kind"] == "ServiceAccount":
        return f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    return subject["name"]
