"""References to Secrets of Kubernetes: how manifests write them, and what they can never mean."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from teleport.resources.custom_kinds import CUSTOM_KINDS, secrets_of, to_document
from teleport.resources.secret_ref import SecretRef, brought_secret, secret_fields


def token(secret: Any) -> dict[str, Any]:
    return {
        "apiVersion": "resources.teleport.dev/v2", "kind": "TeleportProvisionToken",
        "metadata": {"name": "fleet", "namespace": "team-b"}, "spec": {"roles": ["Node"], "secret": secret},
    }  # fmt: skip


@pytest.mark.parametrize(
    "written", ["secret://fleet/token", {"valueFrom": {"secretKeyRef": {"name": "fleet", "key": "token"}}}]
)
def test_both_spellings_mean_a_secret_of_the_manifests_own_namespace(written: Any) -> None:
    document = to_document(token(written))
    (found,) = secrets_of(token(written))

    assert document["spec"]["secret"] == {"kubernetes": "team-b/fleet/token"}
    assert (found.namespace, found.secret, str(found)) == ("team-b", "fleet/token", "the Secret fleet/token")


def test_every_kind_whose_upstream_refers_to_secrets_does() -> None:
    referring = {kind.kind: secret_fields(kind.cls) for kind in CUSTOM_KINDS if secret_fields(kind.cls)}

    assert referring == {"TeleportProvisionToken": ("secret",), "TeleportTrustedClusterV2": ("token",)}


@pytest.mark.parametrize("written", [None, {}, {"file": "/run/secrets/a"}, {"env": "TELEPORT_SECRET_A"}, 1, ["a"]])
def test_what_is_no_reference_to_a_secret_stays_as_it_is_and_has_the_operator_read_none(written: Any) -> None:
    assert brought_secret(written, "team-b") == written
    assert secrets_of(token(written)) == ()


PARTS = st.sampled_from(["team-b", "ops", "fleet", "..", ".", "", "/", "a.b", "A", "%2f", "\n", "?", "secret:", "é"])


@given(st.lists(PARTS, max_size=5).map("/".join), st.lists(PARTS, max_size=2).map("".join))
def test_whatever_is_written_the_operator_reads_in_its_own_namespace_or_nothing(path: str, key: str) -> None:
    spellings = [
        f"secret://{path}", {"kubernetes": path}, {"valueFrom": {"secretKeyRef": {"name": path, "key": key}}},
    ]  # fmt: skip

    for found in (one for written in spellings for one in secrets_of(token(written))):
        name, _, rest = found.secret.partition("/")
        assert found.namespace == "team-b"
        assert "/" not in rest
        assert ".." not in (name, rest)
        assert name.replace("-", "").replace(".", "").isalnum()


def test_two_places_at_once_are_none() -> None:
    with pytest.raises(ValidationError):
        SecretRef(kubernetes="team-b/fleet/token", file="/run/secrets/a")
