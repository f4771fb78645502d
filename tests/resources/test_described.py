"""What is said of kinds and fields: something of every one, and the likely right path for a wrong one."""

from collections.abc import Iterator

import pytest

from teleport.core.errors import BadInput, NotFound
from teleport.resources.described import Described, describe
from teleport.resources.kinds import KINDS


def everything(path: str) -> Iterator[Described]:
    found = describe(path)
    yield found
    for field in found.fields:
        yield from everything(field.path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_every_kind_says_what_it_is_for(kind: str) -> None:
    found = list(everything(kind))

    assert len(found) > 8
    assert [one.path for one in found if not one.description or one.type == "value"] == []
    assert [one.path for one in found if "versions" not in one.to_dict() or not one.versions] == []


def test_an_option_tells_its_words_its_default_and_what_several_roles_come_to() -> None:
    found = describe("role.spec.options.device_trust_mode")

    assert (found.type, found.words, found.default) == ("word", ("off", "optional", "required"), "off")
    assert found.over_roles.startswith("required, then optional, wins")
    assert found.versions == "v3, v4, v5, v6, v7, v8"


def test_what_differs_between_versions_is_told() -> None:
    assert "nothing from v4 on" in describe("role.spec.allow.db_labels").versions
    assert "v8 alone" in describe("role.spec.allow.kubernetes_resources.api_group").versions


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("role.spec.allow.logins", "list of text"),
        ("roles.spec.allow.rules[0]", "list of mappings"),
        ("role.spec.allow.rules[].verbs", "list of words"),
        ("cap.spec.default_session_ttl", "duration"),
        ("node.metadata.labels", "labels"),
        ("provision_token.spec.github", "mapping"),
        ("user.spec.traits", "traits"),
    ],
)
def test_a_field_is_found_through_lists_and_under_the_other_names_of_its_kind(path: str, type_: str) -> None:
    assert describe(path).type == type_


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("role.spec.alow", "role.spec has no field alow", "did you mean role.spec.allow?"),
        ("role.spec.options.lok", "role.spec.options has no field lok", "did you mean role.spec.options.lock?"),
        ("role.status", "role has no field status", "its fields: version, metadata, spec"),
        ("role.spec.options.lock.mode", "role.spec.options.lock has no fields below it", "tctl explain"),
    ],
)
def test_a_wrong_path_is_answered_with_the_likely_right_one(path: str, message: str, hint: str) -> None:
    with pytest.raises(NotFound) as refusal:
        describe(path)

    assert refusal.value.message == message
    assert refusal.value.hint.startswith(hint)


def test_a_wrong_kind_is_answered_with_the_likely_right_one() -> None:
    with pytest.raises(BadInput) as refusal:
        describe("rol.spec")

    assert refusal.value.hint == "did you mean role?"
