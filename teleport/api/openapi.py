"""The route table as an OpenAPI 3.1 document: what can be asked, by whom, with which answers. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from teleport.api.models import Message
from teleport.api.routes import Admin, Anybody, EachObject, Hosts, LocalAdmin, Permission, Route, Users
from teleport.core.errors import FAMILY

__all__ = ["document", "permission_text"]

_REF: Final = "#/components/schemas/{model}"
_TAGS: Final[Mapping[type, tuple[str, str]]] = {
    Anybody: ("anybody", "No certificate needed; the proxy passes these on."),
    Users: ("users", "A user of the cluster, about that user's own affairs."),
    Admin: ("administration", "Whoever the admin rules of the caller's roles permit."),
    EachObject: ("administration", "Whoever the admin rules of the caller's roles permit."),
    LocalAdmin: ("auth host", "Only at the administration socket of the auth host."),
    Hosts: ("services", "Joined services, about their own affairs."),
}

AnyRoute = Route[Any, Any]


def document(routes: Iterable[AnyRoute], *, version: str) -> dict[str, Any]:
    """The whole document, ready to be written as JSON."""
    routes = tuple(routes)
    schemas = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Teleport auth API",
            "version": version,
            "summary": "Access governed from git.",
            "description": (
                "HTTPS with JSON over mutual TLS: the client certificate says who asks, and every operation names"
                " the permission it needs (`x-permission`). Refusals are JSON too; see the schema Error."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in dict(_TAGS.values()).items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Refused": {"description": "Why not.", "content": _json({"$ref": _ref("Error")})}},
            "securitySchemes": {
                "certificate": {"type": "mutualTLS", "description": "A certificate of the cluster's user or host CA."}
            },
        },
    }


def permission_text(permission: Permission) -> str:
    """A permission in a few words, as `x-permission` has it."""
    match permission:
        case Anybody():
            return "anybody"
        case Users():
            return "user"
        case Hosts(roles):
            return "service " + " or ".join(roles)
        case Admin(verb, noun):
            return f"{verb} {noun or '{kind}'}"
        case EachObject(verbs):
            return f"{' or '.join(verbs)}, on each object"
        case LocalAdmin():
            return "local administrator"


def _operation(route: AnyRoute, schemas: Mapping[str, Any]) -> dict[str, Any]:
    permission = permission_text(route.permission)
    tag, audience = _TAGS[type(route.permission)]
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Permission: {permission}. {audience}",
        "tags": [tag],
        "x-permission": permission,
        "security": [] if isinstance(route.permission, Anybody) else [{"certificate": []}],
        "parameters": list(_parameters(route, schemas)),
        "responses": {"200": _answer(route), "default": {"$ref": "#/components/responses/Refused"}},
    }
    if (body := _body(route, schemas)) is not None:
        operation["requestBody"] = body
    return {key: value for key, value in operation.items() if value != [] or key == "security"}


def _parameters(route: AnyRoute, schemas: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Fields of the request in the path; and in the query, where the body is none or raw bytes."""
    model = schemas[route.request.__name__]
    required = set(model.get("required", ()))
    in_query = route.method in ("GET", "DELETE") or route.streams == "request"
    for name, schema in model.get("properties", {}).items():
        if name in route.parameters:
            yield {"name": name, "in": "path", "required": True, "schema": schema}
        elif in_query:
            yield {"name": name, "in": "query", "required": name in required, "schema": schema}


def _body(route: AnyRoute, schemas: Mapping[str, Any]) -> dict[str, Any] | None:
    if route.streams == "request":
        return {"required": True, "content": {"application/octet-stream": {}}}
    model = schemas[route.request.__name__]
    if route.method in ("GET", "DELETE") or not model.get("properties"):
        return None
    if not route.parameters:
        return {"required": True, "content": _json({"$ref": _ref(route.request.__name__)})}
    left = {name: schema for name, schema in model["properties"].items() if name not in route.parameters}
    required = [name for name in model.get("required", ()) if name in left]
    return {"required": True, "content": _json({"type": "object", "properties": left, "required": required})}


def _answer(route: AnyRoute) -> dict[str, Any]:
    if route.streams == "response":
        return {"description": "A stream of bytes.", "content": {"application/octet-stream": {}}}
    return {
        "description": _first_line(route.response) or "The answer.",
        "content": _json({"$ref": _ref(route.response.__name__)}),
    }


def _schemas(routes: Iterable[AnyRoute]) -> dict[str, Any]:
    """Every request as it is read and every answer as it is written, by the name of its model."""
    wanted: dict[tuple[type[Message], Any], None] = {}
    for route in routes:
        wanted[route.request, "validation"] = None
        wanted.setdefault((route.response, "validation"), None)
    _, definitions = models_json_schema(list(wanted), ref_template=_REF)
    return {**definitions["$defs"], "Error": _error_schema()}


def _error_schema() -> dict[str, Any]:
    error = {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {"enum": sorted(FAMILY), "description": "for programs"},
            "message": {"type": "string", "description": "for people"},
            "hint": {"type": "string", "description": "what to do next"},
            "details": {"type": "object", "description": "plain data, such as every problem of a refused policy"},
        },
    }
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _first_line(model: type[Message]) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def _ref(name: str) -> str:
    return _REF.format(model=name)


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
