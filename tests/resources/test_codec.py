"""Resources as bytes for the store: nothing is lost, and nothing newer is half understood."""

import json
from typing import Any

import pytest
from hypothesis import given

from teleport.resources.codec import UnknownVersion, decode, encode, from_dict
from teleport.resources.load import load
from teleport.resources.model import Origin
from tests.resources.documents import any_document

ROLE: dict[str, Any] = {"kind": "role", "version": "v7", "metadata": {"name": "dev"}, "spec": {}}


@given(any_document())
def test_a_resource_of_any_kind_is_decoded_as_it_was_encoded(document: dict[str, Any]) -> None:
    (resource,) = load(json.dumps(document).encode(), file="d.json", source="folder").resources
    resource = resource.with_origin(resource.origin, uid="made-1")

    again = decode(encode(resource))

    assert again == resource
    assert (again.origin, again.uid, again.to_dict()) == (resource.origin, "made-1", resource.to_dict())


def test_the_place_of_a_rule_survives_with_its_commit() -> None:
    origin = Origin("git", "roles/dev.yaml", 3, {"spec.allow.logins.0": (7, 14)}, commit="3f2c")
    resource = from_dict(ROLE).with_origin(origin, uid="u1")

    again = decode(encode(resource))

    assert again.origin.at("spec", "allow", "logins", 0) == (7, 14)
    assert again.origin.at("spec", "allow", "logins", 5) == (3, 1)
    assert again.origin == origin


@pytest.mark.parametrize(
    "newer",
    [
        {**ROLE, "version": "v9"},
        {**ROLE, "version": None},
        {**ROLE, "kind": "bouncer"},
        {**ROLE, "spec": {"allow": {"teleporters": ["*"]}}},
        {**ROLE, "spec": {"options": {"lock": "lenient"}}},
        {**ROLE, "expires": "never"},
    ],
)
def test_what_a_newer_program_wrote_is_refused_whole(newer: dict[str, Any]) -> None:
    data = json.dumps({"resource": newer, "uid": "u1"}).encode()

    with pytest.raises(UnknownVersion):
        decode(data)


def test_the_refusal_says_what_was_not_understood() -> None:
    newer = {**ROLE, "spec": {"allow": {"teleporters": ["*"]}}}

    with pytest.raises(UnknownVersion, match="role dev: unknown field teleporters"):
        from_dict(newer)
