"""Whether a proposed policy may be installed: the one judge that every write of a policy kind meets.

Looks at a whole proposed set and lists every fault with its place: what does not parse, what refers to nothing.
Warnings are what surprises people without being wrong.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from teleport.access.expressions import LABELS, WHERE, Environment, ExpressionError, compile_expression
from teleport.access.roles import TARGETS
from teleport.access.templates import check_pattern, template
from teleport.core.errors import Problem
from teleport.resources.kinds import AnyResource
from teleport.resources.lock import Lock
from teleport.resources.node import Node
from teleport.resources.nouns import nearest
from teleport.resources.presets import preset_roles
from teleport.resources.role import Condition, Role, Rule
from teleport.resources.user import User

__all__ = ["Judgement", "judge"]

Path = tuple[str | int, ...]

_TEMPLATED = (
    "logins", "kubernetes_groups", "kubernetes_users", "db_names", "db_users", "db_roles", "windows_desktop_logins",
    "desktop_groups", "host_groups", "host_sudoers", "aws_role_arns", "azure_identities", "gcp_service_accounts",
)  # fmt: skip


@dataclass(frozen=True)
class Judgement:
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Fault:
    path: Path
    message: str
    hint: str = ""


def judge(resources: Iterable[AnyResource]) -> Judgement:
    """Judge a complete set: every declared resource of the cluster as it would be."""
    everything = tuple(resources)
    roles = {role.name for role in preset_roles()} | {one.name for one in everything if isinstance(one, Role)}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for resource in everything:
        problems += (_problem(resource, fault) for fault in _faults(resource, roles))
        warnings += (_problem(resource, fault) for fault in _surprises(resource))
    problems += _clashing_nodes([one for one in everything if isinstance(one, Node)])
    return Judgement(tuple(sorted(problems)), tuple(sorted(warnings)))


def _problem(resource: AnyResource, fault: _Fault) -> Problem:
    line, column = resource.origin.at(*fault.path)
    return Problem(resource.origin.file or resource.ref, line, column, fault.message, fault.hint)


def _faults(resource: AnyResource, roles: set[str]) -> Iterator[_Fault]:
    if isinstance(resource, Role):
        for side in ("allow", "deny"):
            condition: Condition = getattr(resource.spec, side)
            yield from _condition_faults(condition, ("spec", side), roles)
        for index, extension in enumerate(resource.spec.options.cert_extensions):
            path = ("spec", "options", "cert_extensions", index)
            yield from _checked(path, lambda text=extension.value: template(text))  # type: ignore[misc]
    elif isinstance(resource, User):
        yield from _unknown_roles(resource.spec.roles, ("spec", "roles"), roles)
    elif isinstance(resource, Lock) and resource.spec.target.role:
        yield from _unknown_roles((resource.spec.target.role,), ("spec", "target", "role"), roles, indexed=False)


def _condition_faults(condition: Condition, path: Path, roles: set[str]) -> Iterator[_Fault]:
    for name in _TEMPLATED:
        for index, entry in enumerate(getattr(condition, name)):
            yield from _checked((*path, name, index), lambda text=entry: template(text))  # type: ignore[misc]
    for target in TARGETS:
        yield from _label_faults(condition.labels(target) or {}, (*path, f"{target}_labels"))
        expression = condition.expression(target)
        if expression:
            yield from _expression(expression, LABELS, (*path, f"{target}_labels_expression"))
    for index, rule in enumerate(condition.rules):
        yield from _rule_faults(rule, (*path, "rules", index))
    yield from _reference_faults(condition, path, roles)


def _label_faults(labels: Mapping[str, tuple[str, ...]], path: Path) -> Iterator[_Fault]:
    for key, values in labels.items():
        if key != "*":
            yield from _checked((*path, key), lambda text=key: template(text))  # type: ignore[misc]
        for index, value in enumerate(values):
            place = (*path, key, index) if len(values) > 1 else (*path, key)
            yield from _checked(place, lambda text=value: check_pattern(text))  # type: ignore[misc]


def _rule_faults(rule: Rule, path: Path) -> Iterator[_Fault]:
    if rule.where:
        yield from _expression(rule.where, WHERE, (*path, "where"))


def _reference_faults(condition: Condition, path: Path, roles: set[str]) -> Iterator[_Fault]:
    request, review, impersonate = condition.request, condition.review_requests, condition.impersonate
    if request is not None:
        yield from _unknown_roles(request.roles, (*path, "request", "roles"), roles)
        yield from _unknown_roles(request.search_as_roles, (*path, "request", "search_as_roles"), roles)
        for index, threshold in enumerate(request.thresholds):
            if threshold.filter:
                yield from _expression(threshold.filter, WHERE, (*path, "request", "thresholds", index))
    if review is not None:
        yield from _unknown_roles(review.roles, (*path, "review_requests", "roles"), roles)
        if review.where:
            yield from _expression(review.where, WHERE, (*path, "review_requests", "where"))
    if impersonate is not None:
        yield from _unknown_roles(impersonate.roles, (*path, "impersonate", "roles"), roles)
        if impersonate.where:
            yield from _expression(impersonate.where, WHERE, (*path, "impersonate", "where"))
    for index, join in enumerate(condition.join_sessions):
        yield from _unknown_roles(join.roles, (*path, "join_sessions", index, "roles"), roles)
    for index, policy in enumerate(condition.require_session_join):
        if policy.filter:
            yield from _expression(policy.filter, WHERE, (*path, "require_session_join", index, "filter"))


def _unknown_roles(names: Iterable[str], path: Path, roles: set[str], *, indexed: bool = True) -> Iterator[_Fault]:
    """Exact role names must exist; patterns and templates may match nothing yet."""
    for index, name in enumerate(names):
        place = (*path, index) if indexed else path
        if "{{" in name or "*" in name or name.startswith("^"):
            yield from _checked(place, lambda text=name: check_pattern(text))  # type: ignore[misc]
        elif name not in roles:
            likely = nearest(name, roles)
            yield _Fault(place, f"unknown role {name}", f"did you mean {likely}?" if likely else "")


def _expression(text: str, environment: Environment, path: Path) -> Iterator[_Fault]:
    yield from _checked(path, lambda: compile_expression(text, environment))


def _checked(path: Path, parse: Callable[[], object]) -> Iterator[_Fault]:
    try:
        parse()
    except ExpressionError as error:
        yield _Fault(path, error.message, error.hint)
    except ValueError as error:
        yield _Fault(path, f"pattern: {error}")


def _clashing_nodes(nodes: Iterable[Node]) -> Iterator[Problem]:
    first: dict[str, Node] = {}
    for node in nodes:
        earlier = first.setdefault(node.hostname, node)
        if earlier is not node:
            yield _problem(
                node,
                _Fault(
                    ("spec", "hostname"),
                    f"host {node.hostname} is declared by {earlier.ref} too",
                    "one declaration a host",
                ),
            )


def _surprises(resource: AnyResource) -> Iterator[_Fault]:
    if not isinstance(resource, Role):
        return
    deny = resource.spec.deny
    if deny.logins and (deny.node_labels or deny.node_labels_expression):
        logins = ", ".join(deny.logins)
        yield _Fault(
            ("spec", "deny"),
            f"role/{resource.name} denies {logins} on every host, and every login on the hosts it names",
            "a deny block does not combine: each line denies by itself; use two roles, or narrow the allow",
        )
