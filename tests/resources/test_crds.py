"""The definitions that Kubernetes is given: names that people know, and sizes that it takes."""

import json
from typing import Any

import cel
import pytest

from teleport.resources.crds import crd, spec_schema
from teleport.resources.custom_kinds import CUSTOM_KINDS, CustomKind, custom_kind

NAMES = [one.kind for one in CUSTOM_KINDS]


def named(kind: str) -> CustomKind:
    found = custom_kind(kind)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "plural", "versions"),
    [
        ("TeleportRole", "teleportroles", ["v1", "v5", "v6"]),
        ("TeleportRoleV7", "teleportrolesv7", ["v1"]),
        ("TeleportUser", "teleportusers", ["v2"]),
        ("TeleportProvisionToken", "teleportprovisiontokens", ["v2"]),
        ("TeleportLockV2", "teleportlocksv2", ["v1"]),
        ("TeleportOpenSSHServerV2", "teleportopensshserversv2", ["v1"]),
    ],
)
def test_kinds_bear_the_names_that_manifests_of_the_upstream_use(kind: str, plural: str, versions: list[str]) -> None:
    spec = crd(named(kind))["spec"]

    assert spec["names"]["plural"] == plural
    assert [one["name"] for one in spec["versions"]] == versions
    assert [one["name"] for one in spec["versions"] if one["storage"]] == versions[:1]


def test_a_role_of_our_own_version_says_in_which_version_it_is_written() -> None:
    schema = spec_schema(named("TeleportRole"), "v1")

    assert "version" in schema["required"]
    assert schema["properties"]["version"]["enum"] == ["v3", "v4", "v5", "v6", "v7", "v8"]


@pytest.mark.parametrize("version", ["v5", "v6"])
def test_a_role_of_an_upstream_version_gets_it_stored(version: str) -> None:
    said = spec_schema(named("TeleportRole"), version)["properties"]["version"]

    assert (said["default"], said["enum"]) == (version, [version])


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_a_definition_fits_into_the_annotation_that_kubectl_apply_makes_of_it(kind: CustomKind) -> None:
    assert len(json.dumps(crd(kind))) < 256 * 1024 - 2048


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_kubectl_explain_has_something_to_say_of_every_field(kind: CustomKind) -> None:
    fields = spec_schema(kind, kind.stored)["properties"]

    assert [name for name, one in fields.items() if not one.get("description")] == []


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_kubectl_get_shows_whether_it_is_in_force(kind: CustomKind) -> None:
    for version in crd(kind)["spec"]["versions"]:
        shown = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
        assert shown == ["Ready", "Reason", "Revision", "Age"]
        assert version["subresources"] == {"status": {}}


def validations(schema: dict[str, Any], *path: str) -> list[str]:
    for step in path:
        schema = schema["properties"][step]
    return [one["rule"] for one in schema["x-kubernetes-validations"]]


@pytest.mark.parametrize(("logins", "taken"), [(["root", "{{internal.logins}}"], True), (["root", "*"], False)])
def test_the_api_server_refuses_any_login_in_allow(logins: list[str], taken: bool) -> None:
    (rule,) = validations(spec_schema(named("TeleportRoleV7"), "v1"), "allow", "logins")

    assert cel.evaluate(rule, {"self": logins}) is taken


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [
        ({}, {"created_by": "ann"}, True),
        ({"created_by": "ann"}, {"created_by": "ann"}, True),
        ({"created_by": "ann"}, {"created_by": "bob"}, False),
        ({"created_by": "ann"}, {}, False),
    ],
)
def test_who_made_a_lock_does_not_change(before: dict[str, str], after: dict[str, str], taken: bool) -> None:
    rules = validations(spec_schema(named("TeleportLockV2"), "v1"))

    assert all(cel.evaluate(rule, {"oldSelf": before, "self": after}) for rule in rules) is taken


def test_settings_have_one_name() -> None:
    version = crd(named("TeleportAuthPreference"))["spec"]["versions"][0]
    (rule,) = validations(version["schema"]["openAPIV3Schema"])

    assert cel.evaluate(rule, {"self": {"metadata": {"name": "cluster-auth-preference"}}}) is True
    assert cel.evaluate(rule, {"self": {"metadata": {"name": "mine"}}}) is False
