"""How much power a resource gives beyond a ceiling, for each kind that a ceiling can permit. Pure.

Fields are refused unless this module knows that they give nothing or that the ceiling covers them: what a later
version of the format brings is refused until somebody has thought about it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from teleport.access.labels import EVERYTHING, SelectorTemplate
from teleport.access.options import forwards
from teleport.access.roles import TARGETS, compile_role
from teleport.gitops.ceiling import Reach, as_pattern, within
from teleport.resources.faults import Fault
from teleport.resources.kinds import AnyResource
from teleport.resources.lock import Lock
from teleport.resources.node import Node
from teleport.resources.role import Allow, Role, RoleOptions
from teleport.resources.token import Token
from teleport.resources.user import User
from teleport.resources.wishes import WISHES

__all__ = ["exceeding"]

Path = tuple[str | int, ...]

_HINT: Final = "see the source's ceiling in teleport.yaml"

_ALLOW_KNOWN: Final = frozenset(
    {
        *(f"{target}_labels" for target in TARGETS), *(f"{target}_labels_expression" for target in TARGETS),
        "logins", "rules", "request", "review_requests", "join_sessions",
        "require_session_join", "namespaces",
    }
)  # fmt: skip
"""What is looked at here, selectors as they are compiled, or what only restricts."""
_OPTIONS_KNOWN: Final = frozenset(
    {
        "max_session_ttl", "ssh_file_copy", "client_idle_timeout", "disconnect_expired_cert", "max_connections",
        "max_sessions", "max_kubernetes_connections", "require_session_mfa", "device_trust_mode", "pin_source_ip",
        "desktop_clipboard", "desktop_directory_sharing", "port_forwarding", "ssh_port_forwarding",
    }
)  # fmt: skip
"""Options of which the strictest role decides; and those of port forwarding, which are looked at together."""
_USER_KNOWN: Final = frozenset({"roles", "traits", "expires", "created_by", "status"})
_TOKEN_KNOWN: Final = frozenset(
    {
        "roles", "join_method", "secret", "suggested_labels", "suggested_agent_matcher_labels", "allow", "aws_iid_ttl",
        "kubernetes", "github", "gitlab", "azure", "gcp", "tpm", "circleci", "spacelift", "terraform_cloud",
        "bitbucket", "azure_devops", "oracle", "env0", "bound_keypair",
    }
)  # fmt: skip
"""Besides roles and labels, what says how somebody proves to be the one who may join."""
_NODE_KNOWN: Final = frozenset({"hostname"})


def exceeding(resource: AnyResource, reach: Reach) -> Iterator[Fault]:
    """What it gives that the ceiling does not."""
    if isinstance(resource, Role):
        yield from _allowing(resource.spec.allow, reach)
        yield from _selecting(resource, reach)
        yield from _options(resource.spec.options, reach)
    elif isinstance(resource, User):
        yield from _holding(resource, reach)
    elif isinstance(resource, Token):
        yield from _joining(resource, reach)
    elif isinstance(resource, Node):
        yield from _hosting(resource, reach)
    elif isinstance(resource, Lock):
        yield from _locking(resource, reach)


# -- roles


def _allowing(allow: Allow, reach: Reach) -> Iterator[Fault]:
    here: Path = ("spec", "allow")
    yield from _unknown(allow, _ALLOW_KNOWN, here)
    for index, login in enumerate(allow.logins):
        if not within(as_pattern(login), reach.ceiling.logins):
            yield _fault((*here, "logins", index), f"allows the login {login}")
    for index, rule in enumerate(allow.rules):
        for noun in rule.resources:
            for verb in rule.verbs:
                if not _ruled(noun, verb, reach.ceiling.rules):
                    yield _fault((*here, "rules", index), f"may {verb} {noun}")
    for index, join in enumerate(allow.join_sessions):
        for role in join.roles:
            if not within(as_pattern(role), reach.ceiling.join_sessions):
                yield _fault((*here, "join_sessions", index, "roles"), f"joins sessions of holders of {role}")
    yield from _naming(allow, reach)


def _ruled(noun: str, verb: str, permitted: Iterable[tuple[str, tuple[str, ...]]]) -> bool:
    return any(noun == allowed and (verb in verbs or EVERYTHING in verbs) for allowed, verbs in permitted)


def _naming(allow: Allow, reach: Reach) -> Iterator[Fault]:
    """The roles that holders may ask for or decide on."""
    here: Path = ("spec", "allow")
    conditions: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
        ("request", allow.request, ("roles", "search_as_roles")),
        ("review_requests", allow.review_requests, ("roles", "preview_as_roles")),
    )
    for name, condition, fields in conditions:
        if condition is None:
            continue
        for field in fields:
            for index, role in enumerate(getattr(condition, field)):
                if not reach.may_name_roles(role):
                    yield _fault((*here, name, field, index), f"names the role {role}")
        for index, mapping in enumerate(condition.claims_to_roles):
            for role in mapping.roles:
                if not reach.may_name_roles(EVERYTHING if "$" in role else role):
                    yield _fault((*here, name, "claims_to_roles", index, "roles"), f"names the role {role}")


def _selecting(role: Role, reach: Reach) -> Iterator[Fault]:
    """Also what a version of the format selects where nothing is written."""
    for target, selector in compile_role(role).allow.selectors.items():
        if not selector.written and not selector.expression:
            continue
        path: Path = ("spec", "allow", f"{target}_labels")
        if target != "node":
            yield _fault(path, f"selects targets of the kind {target}")
        elif not _narrower(selector, reach.ceiling.node_labels):
            yield _fault(path, "selects hosts beyond the labels permitted")


def _narrower(selector: SelectorTemplate, bound: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether all that a selector can mean lies within another. Expressions narrow labels; alone they are not weighed.

    Keys are ANDed: each key of the bound has to be there, with values within it; more keys select less.
    """
    if EVERYTHING in bound:
        return True
    if not bound or not selector.written or selector.everything:
        return False
    written = {key.text: values for key, values in selector.keys}
    return all(
        key in written and all(within(as_pattern(value.text), permitted) for value in written[key])
        for key, permitted in bound.items()
    )


def _options(options: RoleOptions, reach: Reach) -> Iterator[Fault]:
    here: Path = ("spec", "options")
    for name in RoleOptions.model_fields:
        if name not in _OPTIONS_KNOWN and name not in reach.ceiling.options and _gives(name, getattr(options, name)):
            yield _fault((*here, name), f"has the option {name}")
    if forwards(options) and "port_forwarding" not in reach.ceiling.options:
        message = "permits port forwarding, beyond what its source may give"
        yield Fault((*here, "port_forwarding"), message, "say port_forwarding: no; a role that says nothing permits it")


def _gives(name: str, value: Any) -> bool:
    """Whether an option is set to anything but what holds without it, or what is stricter."""
    if name == "record_session":
        return getattr(value, "desktop", None) is False
    if name == "lock":
        return bool(value == "best_effort")
    return value not in (None, False, "", "off", "standard", "optional", ())


# -- other kinds


def _holding(user: User, reach: Reach) -> Iterator[Fault]:
    yield from _unknown(user.spec, _USER_KNOWN, ("spec",))
    for index, role in enumerate(user.spec.roles):
        if not reach.may_name_role(role):
            yield _fault(("spec", "roles", index), f"holds the role {role}")
    for trait, values in user.spec.traits.items():
        permitted = reach.ceiling.traits.get(trait, ())
        for value in values:
            if not within(value, permitted, exact=True):
                yield _fault(("spec", "traits", trait), f"has the trait {trait}: {value}")


def _joining(token: Token, reach: Reach) -> Iterator[Fault]:
    secret = token.spec.secret
    own = {"secret"} if secret is not None and secret.kubernetes else set()  # that of its own namespace, or none at all
    yield from _unknown(token.spec, _TOKEN_KNOWN | own, ("spec",))
    permitted = {role.lower() for role in reach.ceiling.token_roles}
    for index, role in enumerate(token.spec.roles):
        if role.lower() not in permitted:
            yield _fault(("spec", "roles", index), f"lets a service join as {role}")
    labels = [(key, value) for key, values in token.spec.suggested_labels.items() for value in values]
    yield from _labelling(labels, ("spec", "suggested_labels"), reach)


def _hosting(node: Node, reach: Reach) -> Iterator[Fault]:
    """A declared node gives labels to whatever host bears its host name; one without an agent is an address."""
    yield from _unknown(node.spec, _NODE_KNOWN, ("spec",))
    if node.sub_kind not in ("", "teleport"):
        yield _fault(("sub_kind",), f"is of the variety {node.sub_kind}")
    if not reach.may_own(node.kind, node.hostname):
        yield _fault(("spec", "hostname"), f"speaks of the host {node.hostname}")
    yield from _labelling(node.metadata.labels.items(), ("metadata", "labels"), reach)


def _labelling(labels: Iterable[tuple[str, str]], path: Path, reach: Reach) -> Iterator[Fault]:
    for key, value in labels:
        if key not in WISHES and not within(value, reach.ceiling.host_labels.get(key, ()), exact=True):
            yield _fault((*path, key), f"gives a host the label {key}: {value}")


def _locking(lock: Lock, reach: Reach) -> Iterator[Fault]:
    """Only users of its own: whoever holds a role of its own may be anybody's user."""
    if ("user", lock.spec.target.user) not in reach.own:
        yield _fault(("spec", "target"), "may shut out others than users of its own source")


# -- all kinds


def _unknown(model: BaseModel, known: frozenset[str], path: Path) -> Iterator[Fault]:
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if name not in known and value != info.get_default(call_default_factory=True):
            yield _fault((*path, name), f"sets {name}")


def _fault(path: Path, message: str) -> Fault:
    return Fault(path, f"{message}, beyond what its source may give", _HINT)
