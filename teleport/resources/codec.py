"""Resources as bytes for the store and the wire, with their origin and incarnation; and back.

A resource of a version or with a field that this program does not know raises `UnknownVersion`: what cannot
be read in full must not be decided by.
"""

import json
from typing import Any

from pydantic import ValidationError

from teleport.resources.explain import explain
from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.model import Origin
from teleport.resources.yaml_reader import Marks

__all__ = ["UnknownVersion", "decode", "encode", "from_dict"]


class UnknownVersion(ValueError):
    """A resource was written by a newer program."""


def encode(resource: AnyResource) -> bytes:
    body: dict[str, Any] = {"resource": resource.to_dict(), "uid": resource.uid}
    if resource.origin != Origin():
        body["origin"] = resource.origin.to_wire()
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def decode(data: bytes) -> AnyResource:
    """Raises UnknownVersion for what this program cannot read."""
    body = json.loads(data)
    resource = from_dict(body["resource"])
    return resource.with_origin(Origin.from_wire(body.get("origin", {})), body.get("uid", ""))


def from_dict(body: dict[str, Any]) -> AnyResource:
    """The resource that `to_dict` gave. Raises UnknownVersion for what this program cannot read."""
    kind, version = body.get("kind"), body.get("version")
    cls = KINDS.get(str(kind))
    if cls is None or version not in cls.versions:
        raise UnknownVersion(f"{kind} of version {version}")
    try:
        return cls.model_validate({k: v for k, v in body.items() if k != "kind"}, context={"version": version})
    except ValidationError as error:
        first = explain(cls, error, Marks(0, 0), file="")[0]
        raise UnknownVersion(f"{kind} {body.get('metadata', {}).get('name')}: {first}") from error
