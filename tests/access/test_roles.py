"""SEMANTICS, "Role": logins, what the versions of the format leave implicit, and what is rejected at load."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.roles import BoundRole, compile_role, valid_login
from teleport.resources.load import load
from tests.access.builders import role, rule

VERSIONS = ("v3", "v4", "v5", "v6", "v7", "v8")


def bound(traits: dict[str, tuple[str, ...]] | None = None, **fields: Any) -> BoundRole:
    return compile_role(role(**fields)).bind("ann", ("dev",), traits or {})


@pytest.mark.parametrize(
    ("login", "valid"),
    [
        ("root", True), ("_svc", True), ("web-1", True), ("a.b_c", True), ("Ann", True), ("host$", True),
        ("a" * 32, True), ("a" * 33, False), ("a" * 31 + "$", True), ("a" * 32 + "$", False),
        ("", False), ("1st", False), ("-x", False), ("a b", False), ("a,b", False), ("a\n", False), ("a$b", False),
        ("*", False), ("../x", False), ("ä", False), ("root\x00", False),
    ],
)  # fmt: skip
def test_a_valid_unix_login(login: str, valid: bool) -> None:
    assert valid_login(login) is valid


@given(st.text())
def test_no_login_can_carry_what_a_certificate_or_a_shell_would_read_as_more(login: str) -> None:
    if valid_login(login):
        assert login.isascii()
        assert not set(login) & set(" ,*/\\\t\n\"'`;|&<>()")


@pytest.mark.parametrize(
    ("written", "logins"),
    [
        pytest.param(["root", "dev"], ["root", "dev"], id="exact names"),
        pytest.param(["{{internal.logins}}"], ["ann", "web"], id="templates"),
        pytest.param(["{{internal.odd}}"], ["fine"], id="names that are no Unix logins are dropped after templating"),
        pytest.param(["dev ops", "x"], ["x"], id="also those written as they are"),
        pytest.param(["{{internal.missing}}", "x"], ["x"], id="a missing trait drops its entry only"),
        pytest.param(["{{internal.star}}"], [], id="a star from a trait is no login"),
        pytest.param(["ann", "{{internal.logins}}"], ["ann", "web"], id="duplicates are removed"),
    ],
)
def test_the_logins_of_a_role(written: list[str], logins: list[str]) -> None:
    traits = {"logins": ("ann", "web"), "odd": ("a b", "fine", "*", "x,y", ""), "star": ("*",)}

    assert list(bound(traits, allow={"logins": written}).allow.logins) == logins


def test_a_star_in_deny_means_every_login_and_one_from_a_trait_does_not() -> None:
    written = bound(deny={"logins": ["*"]}).deny
    from_trait = bound({"star": ("*",)}, deny={"logins": ["{{internal.star}}"]}).deny

    assert written.names_login("anything")
    assert not from_trait.names_login("anything")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("target", ["app", "kubernetes", "db"])
def test_only_v3_gives_app_kube_and_db_labels_by_itself(version: str, target: str) -> None:
    silent = bound(version=version)

    assert silent.allow.selector(target).allows({"env": "prod"}) is (version == "v3")
    assert silent.allow.selector(target).allows({}) is (version == "v3")


@pytest.mark.parametrize("version", VERSIONS)
def test_only_v3_gives_node_labels_by_itself_and_only_with_logins(version: str) -> None:
    with_logins = bound(version=version, allow={"logins": ["{{internal.logins}}"]})
    without = bound(version=version)

    assert with_logins.allow.selector("node").allows({"env": "prod"}) is (version == "v3")
    assert not without.allow.selector("node").allows({"env": "prod"})


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_that_are_written_are_no_matter_of_the_version(version: str) -> None:
    found = bound(version=version, allow={**rule("root", env="dev"), "db_labels": {}})

    assert found.allow.selector("node").allows({"env": "dev"})
    assert not found.allow.selector("node").allows({"env": "prod"})
    assert not found.allow.selector("db").allows({})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("target", ["node", "app", "kubernetes", "db", "windows_desktop", "cluster"])
def test_no_version_denies_anything_by_itself(version: str, target: str) -> None:
    assert not bound(version=version, allow={"logins": ["root"]}).deny.selector(target).denies({"env": "prod"})


@pytest.mark.parametrize(
    ("version", "kinds"),
    [
        pytest.param("v5", ["pod"], id="up to v5 pods"),
        pytest.param("v6", [], id="v6 defaults to none"),
        pytest.param("v7", ["*"], id="v7 to everything inside the matched clusters"),
        pytest.param("v8", ["*"], id="v8 to everything inside the matched clusters"),
    ],
)
def test_kubernetes_resources_that_a_role_does_not_mention(version: str, kinds: list[str]) -> None:
    compiled = compile_role(role(version=version, allow={"kubernetes_labels": {"*": "*"}}))

    assert [one.kind for one in compiled.allow.kubernetes_resources] == kinds
    assert all(one.namespace == one.name == "*" for one in compiled.allow.kubernetes_resources)
    assert compiled.deny.kubernetes_resources == ()


def test_v8_takes_an_api_group_and_plural_kinds() -> None:
    written = {"kind": "deployments", "api_group": "apps", "namespace": "web", "name": "*", "verbs": ["get"]}

    compiled = compile_role(role(version="v8", allow={"kubernetes_resources": [written]}))

    assert [(one.kind, one.api_group) for one in compiled.allow.kubernetes_resources] == [("deployments", "apps")]


def test_kubernetes_resources_written_as_an_empty_list_are_none_in_any_version() -> None:
    compiled = compile_role(role(version="v7", allow={"kubernetes_resources": []}))

    assert compiled.allow.kubernetes_resources == ()


@pytest.mark.parametrize(
    "sides",
    [
        {"allow": {"logins": ["{{internal.a"]}},
        {"allow": {"node_labels": {"env": "^a|b$"}}},
        {"deny": {"node_labels": {"{{x}}": "a"}}},
        {"deny": {"node_labels_expression": "labels.a ="}},
        {"allow": {"rules": [{"resources": ["role"], "verbs": ["read"], "where": "nonsense("}]}},
    ],
    ids=["template", "pattern", "label key", "expression", "where"],
)
def test_a_role_that_cannot_be_decided_by_is_not_compiled(sides: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        compile_role(role(**sides))


HEAD = "kind: role\nversion: v7\nmetadata: {name: x}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("kind: role\nmetadata: {name: x}\nspec: {}", "no version", id="no version"),
        pytest.param("kind: role\nversion: v9\nmetadata: {name: x}\nspec: {}", "unknown version v9", id="unknown version"),
        pytest.param(HEAD + "spec: {allow: {rules: [{verbs: [read]}]}}", "no resources", id="a rule without resources"),
        pytest.param(HEAD + "spec: {allow: {rules: [{resources: [role]}]}}", "no verbs", id="a rule without verbs"),
        pytest.param(HEAD + "spec: {allow: {rules: [{resources: [role], verbs: []}]}}", "must not be empty", id="a rule with no verb"),
        pytest.param(HEAD + 'spec: {allow: {logins: ["*"]}}', "* is not permitted in allow.logins", id="a star in allow.logins"),
        pytest.param(HEAD + 'spec: {allow: {db_roles: ["*"]}}', "* is not permitted in allow.db_roles", id="a star in allow.db_roles"),
        pytest.param(HEAD + 'spec: {allow: {node_labels: {"*": prod}}}', "goes only with the value *", id="label key * with another value"),
        pytest.param(HEAD + 'spec: {deny: {app_labels: {"*": ["*", prod]}}}', "goes only with the value *", id="also in a list, in deny"),
        pytest.param("kind: role\nversion: v7\nmetadata: {name: Proxy}\nspec: {}", "built-in role", id="a role named like a system role"),
        pytest.param(HEAD.replace("v7", "v6") + "spec: {allow: {kubernetes_resources: [{kind: pod, name: x}]}}", "needs namespace", id="v6 without namespace"),
        pytest.param(HEAD.replace("v7", "v6") + "spec: {allow: {kubernetes_resources: [{kind: pod, namespace: x}]}}", "needs name", id="v6 without name"),
    ],
)  # fmt: skip
def test_what_is_rejected_at_load(text: str, message: str) -> None:
    loaded = load(text.encode(), file="role.yaml")

    assert loaded.resources == ()
    assert message in " ".join(problem.message for problem in loaded.problems)
    assert all(problem.line for problem in loaded.problems)


@pytest.mark.parametrize("spelling", ["yes", '"yes"', "true", "on", "Yes"])
def test_booleans_may_be_written_in_any_of_these_ways(spelling: str) -> None:
    loaded = load(f"{HEAD}spec: {{options: {{forward_agent: {spelling}}}}}".encode(), file="role.yaml")

    assert [one.spec.options.forward_agent for one in loaded.resources] == [True]


def test_a_label_value_may_be_a_scalar_or_a_list_and_a_list_of_one_is_written_back_as_a_scalar() -> None:
    loaded = load((HEAD + "spec: {allow: {node_labels: {a: [x], b: y, c: [x, y]}}}").encode(), file="role.yaml")

    assert loaded.resources[0].to_dict()["spec"]["allow"]["node_labels"] == {"a": "x", "b": "y", "c": ["x", "y"]}
