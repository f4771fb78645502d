"""What is right as it stands, and yet does not do what people expect of it: the warnings of the judge."""

from collections.abc import Iterator, Mapping
from typing import Final

from teleport.access.labels import EVERYTHING
from teleport.access.roles import TARGETS, valid_login
from teleport.resources.faults import Fault
from teleport.resources.kinds import AnyResource
from teleport.resources.lock import Lock
from teleport.resources.role import Condition, Role

__all__ = ["surprises"]

_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "node": {"logins": "login"},
    "kubernetes": {"kubernetes_groups": "Kubernetes group", "kubernetes_users": "Kubernetes user"},
    "db": {"db_users": "database user", "db_names": "database", "db_roles": "database role"},
    "windows_desktop": {"windows_desktop_logins": "Windows login"},
}
"""By kind of target, the fields that deny by themselves, and what people call one entry."""

_PLACES: Final[Mapping[str, str]] = {
    "node": "host", "kubernetes": "Kubernetes cluster", "db": "database server", "windows_desktop": "desktop",
}  # fmt: skip

_UNSEEN: Final = ("mfa_device", "access_request", "device", "bot_instance_id", "join_token")
"""Targets of locks that no identity carries yet."""


def surprises(resource: AnyResource) -> Iterator[Fault]:
    """Each with what to do instead."""
    if isinstance(resource, Role):
        yield from _greedy(resource)
        yield from _lost_logins(resource)
        yield from _version_defaults(resource)
        for side in ("allow", "deny"):
            condition: Condition = getattr(resource.spec, side)
            for target in TARGETS:
                yield from _idle_labels(resource, condition.labels(target) or {}, ("spec", side, f"{target}_labels"))
    elif isinstance(resource, Lock):
        yield from _idle_lock(resource)


def _greedy(role: Role) -> Iterator[Fault]:
    """A deny block with labels and names, in words: it denies the names everywhere, and everything there."""
    deny = role.spec.deny
    for target, fields in _NAMES.items():
        if not (deny.labels(target) or deny.expression(target)):
            continue
        for field, word in fields.items():
            names = getattr(deny, field)
            if names:
                shown = f"every {word}" if "*" in names else ", ".join(names)
                yield Fault(
                    ("spec", "deny"),
                    f"role/{role.name} denies {shown} on every {_PLACES[target]},"
                    f" and every {word} on each {_PLACES[target]} that its labels match",
                    "each line of a deny block denies by itself: use two roles, or narrow what is allowed",
                )


def _lost_logins(role: Role) -> Iterator[Fault]:
    for index, login in enumerate(role.spec.allow.logins):
        if "{{" not in login and not valid_login(login):
            yield Fault(
                ("spec", "allow", "logins", index),
                f"role/{role.name} names {login!r}, which is no Unix login and allows nothing",
                "letters, digits and _ . - up to 32 characters, not a digit first",
            )


def _version_defaults(role: Role) -> Iterator[Fault]:
    allow = role.spec.allow
    if role.version == "v3" and allow.logins and allow.node_labels is None and not allow.node_labels_expression:
        yield Fault(
            ("spec", "allow"),
            f"role/{role.name} is of version v3 and names no node_labels, so it reaches every host",
            "write node_labels, or a later version",
        )


def _idle_labels(role: Role, labels: Mapping[str, tuple[str, ...]], path: tuple[str | int, ...]) -> Iterator[Fault]:
    if EVERYTHING in labels and len(labels) > 1:
        yield Fault(
            path,
            f"role/{role.name}: {path[-1]} with '*': '*' means every resource, whatever the other keys say",
            "remove '*': '*' if the other keys are meant",
        )
        return
    for key, values in labels.items():
        if not values:
            yield Fault(
                (*path, key), f"role/{role.name}: {path[-1]} matches nothing, as {key} has no values", "remove the key"
            )


def _idle_lock(lock: Lock) -> Iterator[Fault]:
    for name, value in lock.spec.target.set_fields():
        if name in _UNSEEN:
            yield Fault(
                ("spec", "target", name),
                f"lock/{lock.name} shuts nobody out: no session of this version is known by {name} {value}",
                "lock the user, the role, the login or the host",
            )
