"""Manifests become the documents that a folder would hold."""

from typing import Any

import pytest

from teleport.resources.custom_kinds import GROUP, to_document


def manifest(kind: str, version: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": {"name": "dev", **metadata}, "spec": spec,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "version", "spec", "expected"),
    [
        ("TeleportRole", "v5", {"version": "v5"}, "v5"),
        ("TeleportRole", "v6", {}, "v6"),
        ("TeleportRole", "v1", {"version": "v8"}, "v8"),
        ("TeleportRoleV7", "v1", {}, "v7"),
        ("TeleportLockV2", "v1", {}, "v2"),
    ],
)
def test_the_version_of_the_format_comes_from_where_the_kind_says_it(
    kind: str, version: str, spec: dict[str, Any], expected: str
) -> None:
    document = to_document(manifest(kind, version, spec))

    del document["metadata"]
    assert document == {"kind": "role" if "Role" in kind else "lock", "version": expected, "spec": {}}


def test_a_role_that_was_stored_by_another_api_version_keeps_its_own() -> None:
    document = to_document(manifest("TeleportRole", "v1", {"version": "v5", "allow": {"logins": ["ann"]}}))

    assert (document["version"], document["spec"]) == ("v5", {"allow": {"logins": ["ann"]}})


def test_labels_and_annotations_become_metadata() -> None:
    document = to_document(
        manifest(
            "TeleportUser", "v2", {}, labels={"team": "data"}, namespace="teleport", uid="x",
            annotations={"description": "of the data team", "teleport.dev/expires": "2030-01-31T12:00:00Z", "a/b": "c"},
        )
    )  # fmt: skip

    assert document["metadata"] == {
        "name": "dev", "description": "of the data team", "expires": "2030-01-31T12:00:00Z",
        "labels": {"team": "data", "teleport.dev/origin": "kubernetes"},
    }  # fmt: skip


def test_nobody_says_by_a_label_that_something_comes_from_elsewhere() -> None:
    document = to_document(manifest("TeleportUser", "v2", {}, labels={"teleport.dev/origin": "config-file"}))

    assert document["metadata"]["labels"] == {"teleport.dev/origin": "kubernetes"}


def test_a_plain_sshd_is_a_node_of_that_variety() -> None:
    document = to_document(manifest("TeleportOpenSSHServerV2", "v1", {"addr": "10.0.0.1:22", "hostname": "db"}))

    assert (document["kind"], document["sub_kind"]) == ("node", "openssh")


@pytest.mark.parametrize("spec", [None, [], "text"])
def test_what_is_no_spec_is_passed_on_to_be_refused(spec: Any) -> None:
    assert to_document(manifest("TeleportRole", "v1", spec))["spec"] == spec
