"""The schemas for editors: valid themselves, complete, and of one mind with the loader about what a field is."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from teleport.resources.kinds import KINDS
from teleport.resources.load import load
from teleport.resources.schema import any_kind_schema, kind_schema
from teleport.resources.yaml_reader import read
from tests.resources.documents import any_document, mappings

VALIDATORS = {kind: Draft202012Validator(kind_schema(cls)) for kind, cls in KINDS.items()}
BY_WORD = {word: VALIDATORS[kind] for kind, cls in KINDS.items() for word in (kind, *cls.aliases)}
ANY_KIND = Draft202012Validator(any_kind_schema())
SCHEMAS = [*(pytest.param(validator.schema, id=kind) for kind, validator in VALIDATORS.items()),
           pytest.param(ANY_KIND.schema, id="resource")]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_schema_is_a_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    references = {one["$ref"].removeprefix("#/$defs/") for _, one in mappings(schema) if "$ref" in one}

    assert references == set(schema["$defs"])


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_field_is_explained_and_nothing_has_a_title_of_its_own(schema: dict[str, Any]) -> None:
    fields = [
        (path, field)
        for path, one in mappings(schema)
        if isinstance(one.get("properties"), dict) and path[:1] != ("allOf",)
        for name, field in one["properties"].items()
        if name != "*"
    ]

    assert len(fields) > 10
    assert [path for path, field in fields if not field.get("description")] == []
    assert [path for path, one in mappings(schema) if path and isinstance(one.get("title"), str)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_a_kind_is_valid_and_loads(kind: str) -> None:
    text = KINDS[kind].example.encode()
    documents, _ = read(text, file="example")

    loaded = load(text, file="example")

    assert loaded.problems == ()
    assert [one.kind for one in loaded.resources] == [kind]
    VALIDATORS[kind].validate(documents[0].value)
    ANY_KIND.validate(documents[0].value)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (
            "node_labels",
            [{"env": "dev"}, {"env": ["dev", "prod"]}, {"*": "*"}, {"*": ["*"]}, None],
            [{"*": "dev"}, "x"],
        ),
        ("logins", ["root", ["root"], None], [[1], True]),
        ("rules", [[{"resources": ["role"], "verbs": "list"}]], [[{"resources": [], "verbs": ["list"]}], [{}]]),
    ],
)
def test_a_role_may_be_written_in_every_way_that_loads(field: str, good: list[Any], bad: list[Any]) -> None:
    def valid(value: Any) -> bool:
        body = {"kind": "role", "version": "v7", "metadata": {"name": "r"}, "spec": {"allow": {field: value}}}
        return VALIDATORS["role"].is_valid(body)

    assert [valid(value) for value in good] == [True] * len(good)
    assert [valid(value) for value in bad] == [False] * len(bad)


@pytest.mark.parametrize("written", ["yes", "no", "on", "off", "true", "false", True, False])
def test_a_switch_may_be_written_in_every_way_that_loads(written: object) -> None:
    body = {"kind": "role", "version": "v7", "metadata": {"name": "r"}, "spec": {"options": {"forward_agent": written}}}

    assert VALIDATORS["role"].is_valid(body)
    assert load(json.dumps(body).encode(), file="r").problems == ()


def test_a_document_of_an_unknown_kind_or_without_one_is_invalid() -> None:
    assert not ANY_KIND.is_valid({"kind": "rol", "version": "v7", "metadata": {"name": "r"}, "spec": {}})
    assert not ANY_KIND.is_valid({"version": "v7", "metadata": {"name": "r"}, "spec": {}})


@pytest.mark.parametrize(("kind", "alias"), [(kind, alias) for kind, cls in KINDS.items() for alias in cls.aliases])
def test_another_word_for_a_kind_is_as_good_to_editors_as_to_the_loader(kind: str, alias: str) -> None:
    documents, _ = read(KINDS[kind].example.encode(), file="example")
    document = {**documents[0].value, "kind": alias}

    assert [one.kind for one in load(json.dumps(document).encode(), file="d.json").resources] == [kind]
    assert VALIDATORS[kind].is_valid(document)
    assert ANY_KIND.is_valid(document)


@given(any_document())
def test_what_a_schema_permits_is_valid_for_both_schemas_and_loads(document: dict[str, Any]) -> None:
    loaded = load(json.dumps(document).encode(), file="d.json")

    assert loaded.problems == ()
    assert BY_WORD[document["kind"]].is_valid(document)
    assert ANY_KIND.is_valid(document)


@given(st.data())
def test_schema_and_loader_agree_about_unknown_fields(data: st.DataObject) -> None:
    document = data.draw(any_document())
    _, mapping = data.draw(st.sampled_from(list(mappings(document))))
    mapping[data.draw(st.sampled_from(["logins", "name", "spec", "enabled", "nonsense", "Kind"]))] = "x"

    loaded = load(json.dumps(document).encode(), file="d.json")

    reported = {one.message for one in loaded.problems if one.message.startswith("unknown field ")}
    errors = BY_WORD[document["kind"]].iter_errors(document)
    assert reported == {f"unknown field {name}" for error in errors for name in _not_permitted(error)}


def _not_permitted(error: ValidationError) -> Iterator[str]:
    """The fields that the schema has no place for."""
    if error.validator == "additionalProperties" and error.validator_value is False:
        assert isinstance(error.schema, Mapping)
        assert isinstance(error.instance, dict)
        yield from set(error.instance) - set(error.schema["properties"])
    for inner in error.context or ():
        yield from _not_permitted(inner)
