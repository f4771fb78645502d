"""Fields that no kind knows are refused by name; whatever the kinds know passes."""

from typing import Any

import cel
import pytest

from teleport.resources.admission import FieldRule, admission, field_rules
from teleport.resources.crds import crd, spec_schema
from teleport.resources.custom_kinds import CUSTOM_KINDS, CustomKind
from teleport.resources.structural import PRESERVE
from tests.resources.test_structural import NAMES, example, specs


def rules(kind: CustomKind) -> list[FieldRule]:
    return list(field_rules(spec_schema(kind, kind.stored)))


def context(spec: Any) -> cel.Context:
    made = cel.Context()
    made.add_variable("object", {"spec": spec} if spec is not None else {})
    made.add_function("join", lambda texts, between: between.join(texts))
    return made


def refusals(kind: CustomKind, spec: Any) -> list[str]:
    """What an API server says of it."""
    around = context(spec)
    return [
        str(cel.evaluate(rule.message, around))
        for rule in rules(kind)
        if cel.evaluate(rule.expression, around) is not True
    ]


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_what_the_kind_knows_passes(kind: CustomKind) -> None:
    for spec in (example(kind), *specs(kind.resource)):
        written = {"version": "v7", **spec} if kind.says_version else spec
        assert refusals(kind, written) == []


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
@pytest.mark.parametrize("spec", [None, {}])
def test_nothing_at_all_passes_here(kind: CustomKind, spec: Any) -> None:
    assert refusals(kind, spec) == []


def with_stray(path: str) -> Any:
    """A spec with nothing but a stray field at a path of a rule."""
    value: Any = {"denny": True}
    for step in reversed(path.split(".")[1:]):
        name = step.split("[")[0]
        for mark in reversed(step[len(name) :].split("]")[:-1]):
            value = [value] if mark == "[" else {"key": value}
        value = {name: value}
    return value


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_a_stray_field_is_refused_by_name_wherever_it_stands(kind: CustomKind) -> None:
    for rule in rules(kind):
        assert refusals(kind, with_stray(rule.path)) == [f"unknown field below {rule.path}: denny"]


def test_a_mistyped_deny_is_refused() -> None:
    role = next(one for one in CUSTOM_KINDS if one.kind == "TeleportRoleV7")

    assert refusals(role, {"allow": {}, "dney": {"logins": ["root"]}}) == ["unknown field below spec: dney"]


def test_all_strays_of_all_entries_are_named() -> None:
    role = next(one for one in CUSTOM_KINDS if one.kind == "TeleportRoleV7")
    rule = {"resources": ["user"], "verbs": ["list"]}

    (found,) = refusals(role, {"allow": {"rules": [rule, {**rule, "wher": "x"}, {**rule, "verb": ["y"], "on": 1}]}})

    place, _, names = found.partition(": ")
    assert place == "unknown field below spec.allow.rules[]"
    assert sorted(names.split(", ")) == ["on", "verb", "wher"]


def test_what_is_null_has_nothing_stray() -> None:
    role = next(one for one in CUSTOM_KINDS if one.kind == "TeleportRoleV7")

    assert refusals(role, {"allow": None, "deny": {"rules": None, "request": None}}) == []


def test_a_policy_comes_with_what_puts_it_into_force() -> None:
    policy, binding = admission(CUSTOM_KINDS[0])

    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}


def looked_at(old: Any, new: Any) -> bool:
    """Whether a policy has a say in a write, by its match conditions; `old` is None for what is new."""
    policy, _ = admission(CUSTOM_KINDS[0])
    around = cel.Context()
    around.add_variable("object", new)
    around.add_variable("oldObject", old)
    around.add_variable("request", {"operation": "CREATE" if old is None else "UPDATE"})
    return all(cel.evaluate(one["expression"], around) is True for one in policy["spec"]["matchConditions"])


STRAY = {"apiVersion": "a", "kind": "b", "metadata": {"finalizers": ["x"]}, "spec": {"dney": {}}}


def test_what_is_written_is_looked_at() -> None:
    assert looked_at(None, STRAY)
    assert looked_at({**STRAY, "spec": {}}, STRAY)
    assert looked_at({"metadata": {}}, STRAY)
    assert looked_at(STRAY, {**STRAY, "dney": {}})


def test_a_finalizer_can_be_taken_off_what_was_there_before_the_policy() -> None:
    assert not looked_at(STRAY, {**STRAY, "metadata": {}})
    assert not looked_at({"metadata": {"finalizers": ["x"]}}, {"metadata": {}})


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_a_stray_field_beside_spec_is_refused_by_name_and_not_pruned(kind: CustomKind) -> None:
    policy, _ = admission(kind)
    rule, around = policy["spec"]["validations"][0], cel.Context()
    around.add_variable("object", {**STRAY, "spec": {}, "deny": {"logins": ["root"]}})
    around.add_function("join", lambda texts, between: between.join(texts))

    assert cel.evaluate(rule["expression"], around) is False
    assert cel.evaluate(rule["messageExpression"], around) == "unknown field: deny"
    for version in crd(kind)["spec"]["versions"]:
        assert version["schema"]["openAPIV3Schema"][PRESERVE] is True
