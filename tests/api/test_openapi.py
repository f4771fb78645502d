"""The OpenAPI document is valid, complete, and what the server answers."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from teleport.api.openapi import document, permission_text
from teleport.api.routes import ROUTES, Anybody, Route
from teleport.core.errors import FAMILY
from tests.auth.cluster import Cluster

DOCUMENT: Final[dict[str, Any]] = document(ROUTES, version="1.2.3")
OPERATIONS: Final = [
    (path, method, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def follow(reference: str) -> Any:
    here: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        here = here[step]
    return here


@pytest.mark.parametrize("route", ROUTES, ids=[route.name for route in ROUTES])
def test_every_route_is_there_with_its_permission_and_whether_a_certificate_is_needed(route: Route[Any, Any]) -> None:
    operation = DOCUMENT["paths"][route.path][route.method.lower()]

    assert operation["operationId"] == route.name
    assert operation["x-permission"] == permission_text(route.permission) != ""
    assert (operation["security"] == []) == isinstance(route.permission, Anybody)
    in_path = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
    assert in_path == set(route.parameters)


def test_nothing_is_there_that_is_no_route() -> None:
    assert len(OPERATIONS) == len(ROUTES)
    assert len({operation["operationId"] for _, _, operation in OPERATIONS}) == len(ROUTES)


def test_two_routes_never_answer_the_same_request() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in references(DOCUMENT):
        assert reference.startswith("#/components/"), reference
        assert isinstance(follow(reference), dict), reference


@pytest.mark.parametrize("operation", [row[2] for row in OPERATIONS], ids=[row[2]["operationId"] for row in OPERATIONS])
def test_every_operation_has_what_the_format_demands(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["responses"]["200"]["description"]
    assert operation["responses"]["default"] == {"$ref": "#/components/responses/Refused"}
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    for parameter in operation.get("parameters", ()):
        assert parameter["in"] in ("path", "query")
        Draft202012Validator.check_schema(parameter["schema"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        Draft202012Validator.check_schema(content.get("schema", {}))


@pytest.mark.parametrize("error", FAMILY.values(), ids=list(FAMILY))
def test_every_error_is_one_that_the_document_describes(error: type[Exception]) -> None:
    raised = error([]) if error.__name__ == "Invalid" else error("no")

    Draft202012Validator(DOCUMENT["components"]["schemas"]["Error"]).validate(raised.to_wire())  # type: ignore[attr-defined]


async def test_the_service_answers_with_this_document(cluster: Cluster) -> None:
    answer = (await cluster.call("openapi")).model_dump(mode="json", by_alias=True, exclude_none=True)

    assert answer["paths"].keys() == DOCUMENT["paths"].keys()
    assert answer["openapi"] == "3.1.0"
