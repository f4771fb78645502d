"""Whether a proposed policy may be installed: the one judge that every write of a policy kind meets.

Looks at a whole proposed set and lists every fault with its place: what does not parse, what refers to nothing.
What surprises people without being wrong is a warning (`surprises`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from teleport.access.expressions import LABELS, WHERE, Environment, ExpressionError, compile_expression
from teleport.access.labels import EVERYTHING
from teleport.access.patterns import pattern
from teleport.access.roles import TARGETS, TEMPLATED
from teleport.access.surprises import surprises
from teleport.access.templates import check_pattern, template
from teleport.access.trust import map_faults, map_surprises
from teleport.core.errors import Problem
from teleport.resources.access_invariant import AccessInvariant
from teleport.resources.access_test import AccessTest
from teleport.resources.faults import Fault
from teleport.resources.kinds import AnyResource
from teleport.resources.lock import Lock
from teleport.resources.node import Node
from teleport.resources.nouns import nearest
from teleport.resources.presets import preset_roles
from teleport.resources.requests import ClaimMapping
from teleport.resources.role import Condition, KubernetesResource, Role
from teleport.resources.trusted_cluster import TrustedCluster
from teleport.resources.user import User

__all__ = ["Judgement", "judge"]

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Judgement:
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def judge(resources: Iterable[AnyResource], *, broken: Iterable[tuple[str, str]] = ()) -> Judgement:
    """Judge a complete set: every declared resource of the cluster as it would be.

    `broken` are kind and name of what is declared too and could not be read: referring to it is no fault.
    """
    everything = tuple(resources)
    roles = {role.name for role in preset_roles()} | {one.name for one in everything if isinstance(one, Role)}
    declared = (*preset_roles(), *(one for one in everything if isinstance(one, Role)))
    roles |= {name for kind, name in broken if kind == Role.kind}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for resource in everything:
        problems += (_problem(resource, fault) for fault in _faults(resource, roles))
        warnings += (_problem(resource, fault) for fault in surprises(resource))
    for trusted in (one for one in everything if isinstance(one, TrustedCluster)):
        problems += (_problem(trusted, fault) for fault in map_faults(trusted, declared))
        warnings += (_problem(trusted, fault) for fault in map_surprises(trusted, declared, known=roles))
    problems += _clashing_nodes([one for one in everything if isinstance(one, Node)])
    return Judgement(tuple(sorted(problems)), tuple(sorted(warnings)))


def _problem(resource: AnyResource, fault: Fault) -> Problem:
    line, column = resource.origin.at(*fault.path)
    return Problem(resource.origin.file or resource.ref, line, column, fault.message, fault.hint)


def _faults(resource: AnyResource, roles: set[str]) -> Iterator[Fault]:
    if isinstance(resource, Role):
        for side in ("allow", "deny"):
            condition: Condition = getattr(resource.spec, side)
            yield from _condition_faults(condition, ("spec", side), roles)
        for index, extension in enumerate(resource.spec.options.cert_extensions):
            yield from _parsed(("spec", "options", "cert_extensions", index, "value"), template, extension.value)
    elif isinstance(resource, User):
        yield from _role_faults(resource.spec.roles, ("spec", "roles"), roles, exact=True)
    elif isinstance(resource, Lock) and resource.spec.target.role:
        for fault in _role_faults((resource.spec.target.role,), (), roles, exact=True):
            yield Fault(("spec", "target", "role"), fault.message, fault.hint)
    elif isinstance(resource, AccessInvariant):
        yield from _role_faults(resource.spec.only.roles, ("spec", "only", "roles"), roles, exact=True)
        yield from _label_faults(resource.spec.may.labels, ("spec", "may", "labels"))
    elif isinstance(resource, AccessTest) and resource.spec.given is not None:
        yield from _role_faults(resource.spec.given.roles_here, ("spec", "given", "roles"), roles, exact=True)


def _condition_faults(condition: Condition, path: Path, roles: set[str]) -> Iterator[Fault]:
    for name in TEMPLATED:
        for index, entry in enumerate(getattr(condition, name)):
            yield from _parsed((*path, name, index), template, entry)
    for target in TARGETS:
        yield from _label_faults(condition.labels(target) or {}, (*path, f"{target}_labels"))
        yield from _expression(condition.expression(target), LABELS, (*path, f"{target}_labels_expression"))
    for index, permission in enumerate(condition.db_permissions):
        yield from _label_faults(permission.match, (*path, "db_permissions", index, "match"))
    for index, resource in enumerate(condition.kubernetes_resources or ()):
        yield from _kubernetes_faults(resource, (*path, "kubernetes_resources", index))
    for index, rule in enumerate(condition.rules):
        yield from _expression(rule.where, WHERE, (*path, "rules", index, "where"))
    yield from _request_faults(condition, path, roles)
    yield from _session_faults(condition, path, roles)


def _label_faults(labels: Mapping[str, tuple[str, ...]], path: Path) -> Iterator[Fault]:
    for key, values in labels.items():
        if key != EVERYTHING:
            yield from _parsed((*path, key), template, key)
        for index, value in enumerate(values):
            yield from _parsed((*path, key, index) if len(values) > 1 else (*path, key), check_pattern, value)


def _kubernetes_faults(resource: KubernetesResource, path: Path) -> Iterator[Fault]:
    for name in ("namespace", "name"):
        yield from _parsed((*path, name), check_pattern, getattr(resource, name))
    yield from _parsed((*path, "api_group"), pattern, resource.api_group)


def _request_faults(condition: Condition, path: Path, roles: set[str]) -> Iterator[Fault]:
    request, review, impersonate = condition.request, condition.review_requests, condition.impersonate
    if request is not None:
        here = (*path, "request")
        for name in ("roles", "search_as_roles"):
            yield from _role_faults(getattr(request, name), (*here, name), roles)
        yield from _claim_faults(request.claims_to_roles, (*here, "claims_to_roles"), roles)
        for index, threshold in enumerate(request.thresholds):
            yield from _expression(threshold.filter, WHERE, (*here, "thresholds", index, "filter"))
        for key, values in request.annotations.items():
            for value in values:
                yield from _parsed((*here, "annotations", key), template, value)
    if review is not None:
        here = (*path, "review_requests")
        for name in ("roles", "preview_as_roles"):
            yield from _role_faults(getattr(review, name), (*here, name), roles)
        yield from _claim_faults(review.claims_to_roles, (*here, "claims_to_roles"), roles)
        yield from _expression(review.where, WHERE, (*here, "where"))
    if impersonate is not None:
        here = (*path, "impersonate")
        yield from _role_faults(impersonate.roles, (*here, "roles"), roles)
        for index, user in enumerate(impersonate.users):
            yield from _parsed((*here, "users", index), check_pattern, user)
        yield from _expression(impersonate.where, WHERE, (*here, "where"))


def _session_faults(condition: Condition, path: Path, roles: set[str]) -> Iterator[Fault]:
    for index, join in enumerate(condition.join_sessions):
        yield from _role_faults(join.roles, (*path, "join_sessions", index, "roles"), roles)
    for index, policy in enumerate(condition.require_session_join):
        yield from _expression(policy.filter, WHERE, (*path, "require_session_join", index, "filter"))


def _claim_faults(mappings: Iterable[ClaimMapping], path: Path, roles: set[str]) -> Iterator[Fault]:
    """A claim's value may have groups, which the roles it maps to may name."""
    for index, mapping in enumerate(mappings):
        yield from _parsed((*path, index, "value"), pattern, mapping.value)
        named = tuple(name for name in mapping.roles if "$" not in name)
        yield from _role_faults(named, (*path, index, "roles"), roles)


def _role_faults(names: Iterable[str], path: Path, roles: set[str], *, exact: bool = False) -> Iterator[Fault]:
    """Exact role names must exist; patterns and templates, where they are permitted, may match nothing yet."""
    for index, name in enumerate(names):
        if not exact and ("{{" in name or "*" in name or name.startswith("^")):
            yield from _parsed((*path, index), check_pattern, name)
        elif name not in roles:
            likely = nearest(name, roles)
            yield Fault((*path, index), f"unknown role {name}", f"did you mean {likely}?" if likely else "")


def _expression(text: str, environment: Environment, path: Path) -> Iterator[Fault]:
    if text:
        yield from _parsed(path, lambda text: compile_expression(text, environment), text)


def _parsed(path: Path, parse: Callable[[str], object], text: str) -> Iterator[Fault]:
    try:
        parse(text)
    except ExpressionError as error:
        yield Fault(path, error.message, error.hint)
    except ValueError as error:
        yield Fault(path, f"pattern: {error}")


def _clashing_nodes(nodes: Iterable[Node]) -> Iterator[Problem]:
    first: dict[str, Node] = {}
    for node in nodes:
        earlier = first.setdefault(node.hostname, node)
        if earlier.name != node.name:
            message = f"host {node.hostname} is declared by {earlier.ref} too"
            yield _problem(node, Fault(("spec", "hostname"), message, "one declaration a host"))
