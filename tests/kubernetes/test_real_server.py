"""What only a real API server does with our definitions: validation, admission, defaults, tables, explanations.

Skipped unless one is named: `make test-kubernetes KUBECONFIG=…`.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from teleport.resources.custom_kinds import CUSTOM_KINDS, GROUP, CustomKind
from tests.kubernetes.clusters import NAMESPACE, REAL, Answer, Cluster, cluster, manifest

pytestmark = pytest.mark.skipif(not REAL, reason="no real API server is named; see make test-kubernetes")

NAMES = [one.kind for one in CUSTOM_KINDS]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("kubernetes")) as found:
        settle(found)
        yield found


def settle(kubernetes: Cluster) -> None:
    """Until admission policies, which take effect a moment after they are made, do so."""
    deadline = time.monotonic() + 60
    while send(kubernetes, typo("probe")).status == 0:
        kubernetes.delete("trolev7", "probe")
        assert time.monotonic() < deadline
        time.sleep(0.5)


def typo(name: str) -> dict[str, Any]:
    return manifest("TeleportRoleV7", name, {"allow": {"logins": ["app"]}, "dney": {"logins": ["root"]}})


def send(kubernetes: Cluster, body: dict[str, Any]) -> Answer:
    """As a client without validation of its own, and that does not ask the server for it."""
    return kubernetes.kubectl("create", "--validate=false", "-f", "-", stdin=json.dumps(body))


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_kubectl_explains_the_fields_of_every_kind(real: Cluster, kind: CustomKind) -> None:
    said = real.kubectl("explain", f"{kind.plural}.{GROUP}.spec").good()

    assert "DESCRIPTION" in said
    assert "<empty>" not in said.split("FIELDS", 1)[0]


def test_strict_validation_names_an_unknown_field(real: Cluster) -> None:
    refused = real.apply(typo("strict"))

    assert refused.status != 0
    assert "dney" in refused.errors


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_a_stray_field_of_every_kind_is_refused_by_name_whoever_sends_it(real: Cluster, kind: CustomKind) -> None:
    body = manifest(kind.kind, "stray", {"denny": {"logins": ["root"]}}, kind.stored)

    refused = send(real, body)

    assert refused.status != 0
    assert "denny" in refused.errors or "Required value" in refused.errors


def test_a_stray_field_beside_spec_is_refused_by_name(real: Cluster) -> None:
    refused = send(real, {**manifest("TeleportRoleV7", "beside", {"allow": {}}), "deny": {"logins": ["root"]}})

    assert refused.status != 0
    assert "unknown field: deny" in refused.errors


def test_nothing_is_pruned_where_no_policy_is_in_force(real: Cluster) -> None:
    binding = "teleport-fields-teleportrolesv7"
    real.kubectl("delete", "validatingadmissionpolicybinding", binding).good()
    deadline = time.monotonic() + 60
    while send(real, typo("kept")).status:
        assert time.monotonic() < deadline
        time.sleep(0.5)

    assert real.get("trolev7", "kept")["spec"]["dney"] == {"logins": ["root"]}


def test_any_login_in_allow_is_refused_by_the_schema_itself(real: Cluster) -> None:
    refused = send(real, manifest("TeleportRoleV7", "any", {"allow": {"logins": ["*"]}}))

    assert refused.status != 0
    assert "logins" in refused.errors


def test_who_made_a_lock_does_not_change(real: Cluster) -> None:
    target = {"target": {"user": "ann"}}
    real.apply(manifest("TeleportLockV2", "made", {**target, "created_by": "ann"})).good()

    refused = real.apply(manifest("TeleportLockV2", "made", {**target, "created_by": "bob"}))

    assert refused.status != 0


@pytest.mark.parametrize("version", ["v5", "v6"])
def test_the_version_in_which_a_role_was_written_is_kept_with_it(real: Cluster, version: str) -> None:
    real.apply(manifest("TeleportRole", f"old-{version}", {"allow": {"logins": ["app"]}}, version)).good()

    found = real.kubectl("get", f"teleportroles.v1.{GROUP}", f"old-{version}", "-n", NAMESPACE, "-o", "json").good()

    assert json.loads(found)["spec"]["version"] == version


def test_kubectl_get_shows_all_kinds_by_their_category_with_their_columns(real: Cluster) -> None:
    real.apply(manifest("TeleportLockV2", "shown", {"target": {"user": "ann"}})).good()

    shown = real.kubectl("get", "teleport", "-n", NAMESPACE).good()

    assert "shown" in shown
    assert {"READY", "REASON", "REVISION", "AGE"} <= set(shown.split())
