"""What Kubernetes holds schemas to, and that nothing written below spec is lost by them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.resources.crds import crd, spec_schema
from teleport.resources.custom_kinds import CUSTOM_KINDS, CustomKind
from teleport.resources.load import load
from teleport.resources.structural import PRESERVE, breaches
from teleport.resources.yaml_reader import read

CORPUS = Path(__file__).parent / "corpus"
NAMES = [one.kind for one in CUSTOM_KINDS]
STORED = [(one, one.stored) for one in CUSTOM_KINDS]


def pruned(value: Any, schema: Mapping[str, Any]) -> Any:
    """What an API server keeps of a value: the algorithm of Kubernetes' "Field pruning"."""
    if isinstance(value, Mapping) and (schema.get("type") == "object" or PRESERVE in schema):
        kept = {}
        properties, more = schema.get("properties", {}), schema.get("additionalProperties")
        for key, one in value.items():
            if key in properties:
                kept[key] = pruned(one, properties[key])
            elif isinstance(more, Mapping):
                kept[key] = pruned(one, more)
            elif schema.get(PRESERVE):
                kept[key] = one
        return kept
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [pruned(one, schema["items"]) for one in value]
    return value


def specs(resource: str) -> Iterator[Any]:
    """What the corpus and the example declare of a kind."""
    for path in sorted(CORPUS.glob("**/*.yaml")):
        loaded = load(path.read_bytes(), file=path.name)
        yield from (one.to_dict().get("spec", {}) for one in loaded.resources if one.kind == resource)


def example(kind: CustomKind) -> Any:
    return read(kind.cls.example.encode(), file=kind.kind)[0][0].value.get("spec", {})


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_every_schema_is_structural(kind: CustomKind) -> None:
    for version in crd(kind)["spec"]["versions"]:
        assert list(breaches(version["schema"]["openAPIV3Schema"])) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/x", "type": "object"},
        {"anyOf": [], "type": "string"},
        {"description": "no type"},
        {"type": ["string", "null"]},
        {"type": "array"},
        {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {"type": "array", "items": {}}}},
        {"type": "string", "minItems": 1},
        {"type": "string", "enum": ["a"], "nullable": True},
    ],
)
def test_what_an_api_server_refuses_of_a_schema_is_noticed(schema: dict[str, Any]) -> None:
    assert list(breaches(schema))


def objects(schema: Mapping[str, Any], path: str = "spec") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema of an object with fields, with its path."""
    if "properties" in schema:
        yield path, schema
        for name, one in schema["properties"].items():
            yield from objects(one, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            yield from objects(schema[word], f"{path}[]")


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_every_object_keeps_what_it_does_not_know(kind: CustomKind) -> None:
    for version in kind.versions:
        assert [path for path, one in objects(spec_schema(kind, version)) if one.get(PRESERVE) is not True] == []


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
def test_nothing_that_anybody_wrote_is_pruned(kind: CustomKind) -> None:
    schema = spec_schema(kind, kind.stored)

    for spec in (example(kind), *specs(kind.resource)):
        assert pruned(spec, schema) == spec


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(st.sampled_from(CUSTOM_KINDS), st.data())
def test_a_field_put_in_anywhere_stays(kind: CustomKind, data: st.DataObject) -> None:
    schema = spec_schema(kind, kind.stored)
    path, _ = data.draw(st.sampled_from(list(objects(schema))))
    value: Any = {"stray": data.draw(_VALUES)}
    for step in reversed(path.split(".")[1:]):
        name, *lists = step.split("[]")
        for _ in lists:
            value = [value]
        value = {name: value}

    assert pruned(value, schema) == value
