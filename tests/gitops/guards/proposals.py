"""Changes of a policy for tests of guards: documents before and after, and who stands behind them."""

from typing import Any

from teleport.gitops.order import Ref
from teleport.gitops.provenance import Provenance, Signer
from teleport.gitops.review import Proposed
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin
from teleport.resources.node import Node

NOW = 1_800_000_000.0

ADMIN = [{"resources": ["role", "user"], "verbs": ["update"]}]


def made(
    kind: str, name: str, spec: dict[str, Any], *, version: str = "v2", source: str = "git", **metadata: Any
) -> AnyResource:
    body = {"kind": kind, "version": version, "metadata": {"name": name, **metadata}, "spec": spec}
    return from_dict(body).with_origin(Origin(source=source), uid=f"uid-{name}")


def role(name: str, *, logins: tuple[str, ...] = (), labels: Any = None, rules: Any = (), deny: Any = None,
         options: Any = None, source: str = "git", **allow: Any) -> AnyResource:  # fmt: skip
    given = {"logins": list(logins), "node_labels": labels or {}, "rules": list(rules), **allow}
    spec: dict[str, Any] = {"allow": {key: value for key, value in given.items() if value}}
    spec |= {"deny": deny} if deny else {}
    spec |= {"options": options} if options else {}
    return made("role", name, spec, version="v7", source=source)


def user(name: str, *roles: str, source: str = "git", traits: Any = None, **metadata: Any) -> AnyResource:
    return made("user", name, {"roles": list(roles), "traits": traits or {}}, source=source, **metadata)


def lock(name: str, *, source: str = "git", **target: str) -> AnyResource:
    return made("lock", name, {"target": target}, source=source)


def node(name: str, *, source: str = "git", **labels: str) -> AnyResource:
    return made("node", name, {"hostname": name}, source=source, labels=labels)


def hosts(count: int, **labels: str) -> list[Node]:
    """Hosts that report themselves."""
    found = [made("node", f"uid-{one}", {"hostname": f"h{one}"}, labels=labels) for one in range(count)]
    return [one for one in found if isinstance(one, Node)]


def by_ref(resources: "list[AnyResource]") -> dict[Ref, AnyResource]:
    return {(one.kind, one.name): one for one in resources}


def proposed(before: list[AnyResource], after: list[AnyResource], **more: Any) -> Proposed:
    """A change of the source git, unsigned, unless told otherwise."""
    given: dict[str, Any] = {"source": "git", "now": NOW, "hosts": hosts(4, env="dev"), **more}
    return Proposed(before=by_ref(before), after=by_ref(after), **given)


def signed(*principals: str, approved: tuple[str, ...] = ()) -> Provenance:
    """Each with a key of its own."""
    people, others = ([Signer(one, f"key of {one}") for one in some] for some in (principals, approved))
    return Provenance(tuple(people), tuple(others))
