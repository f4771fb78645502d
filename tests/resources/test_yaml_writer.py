"""Resources written as YAML: what is read back is the same, whatever the texts in it look like."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from teleport.resources.kinds import AnyResource
from teleport.resources.load import load
from teleport.resources.presets import preset_roles
from teleport.resources.user import User
from teleport.resources.yaml_writer import to_yaml
from tests.resources.documents import any_document


def loaded(text: str) -> tuple[AnyResource, ...]:
    result = load(text.encode(), file="written.yaml")
    assert result.problems == ()
    return tuple(resource.with_origin(type(resource.origin)()) for resource in result.resources)


def user(traits: dict[str, list[str]]) -> User:
    return User.model_validate({"version": "v2", "metadata": {"name": "ann"}, "spec": {"traits": traits}})


@given(any_document())
def test_a_resource_of_any_kind_reads_back_equal(document: dict[str, Any]) -> None:
    (resource,) = loaded(json.dumps(document))

    (again,) = loaded(to_yaml(resource))

    assert again == resource
    assert again.to_dict() == resource.to_dict()


@given(st.text(), st.text())
@example("no", "on")
@example("1.10", "0x1F")
@example("12:30:45", "010")
@example("\u202e", "\x00")
@example("a\nb\n", " a\n b")
@example("\r\n", "\x85\u2028")
@example("%TAG", "---")
@example("\U00010000", "é" * 200)
def test_any_text_reads_back_equal(value: str, key: str) -> None:
    resource = user({key: [value, value]})

    (again,) = loaded(to_yaml(resource))

    assert again == resource


WORDS = """no Yes ON off y N true ~ null = << 1.10 0o7 0x1F 1_000 1e3 .5 +1 2030-01-31 12:30:45 190:20:30.15 .inf"""


@pytest.mark.parametrize("word", ["", *WORDS.split()])
def test_text_that_some_reader_takes_for_something_else_is_quoted(word: str) -> None:
    text = to_yaml(user({"t": [word]}))

    assert f"- '{word}'" in text or f'- "{word}"' in text


def test_the_order_is_that_of_the_format_and_the_style_is_block() -> None:
    (resource,) = loaded('{"spec":{"traits":{"logins":["root"]},"roles":["a","b"]},"metadata":{"name":"ann"},'
                         '"version":"v2","kind":"user"}')  # fmt: skip

    assert to_yaml(resource) == (
        "kind: user\nversion: v2\nmetadata:\n  name: ann\nspec:\n  roles:\n  - a\n  - b\n"
        "  traits:\n    logins:\n    - root\n"
    )


def test_text_of_several_lines_is_a_block_that_can_be_read() -> None:
    text = to_yaml(user({"key": ["-----BEGIN-----\nMIIB\n-----END-----\n"]}))

    assert "    - |\n      -----BEGIN-----\n      MIIB\n      -----END-----\n" in text


def test_what_cannot_be_seen_is_escaped_and_what_can_is_not() -> None:
    plain, hidden = to_yaml(user({"name": ["Zoë 日本"]})), to_yaml(user({"name": ["a\u202eb"]}))

    assert "Zoë 日本" in plain
    assert '"a\\u202Eb"' in hidden


def test_several_resources_are_several_documents() -> None:
    text = to_yaml(*preset_roles())

    assert [one.name for one in loaded(text)] == ["access", "editor", "auditor"]


@given(any_document())
def test_another_reader_sees_the_same_values(document: dict[str, Any]) -> None:
    (resource,) = loaded(json.dumps(document))

    assert YAML(typ="safe", pure=True).load(to_yaml(resource)) == resource.to_dict()
