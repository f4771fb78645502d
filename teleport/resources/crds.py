"""CustomResourceDefinitions of the kinds, for Kubernetes: schemas, columns, and what its API server can refuse itself.

Source: Kubernetes API, apiextensions.k8s.io/v1; the upstream's operator for the names of kinds, plurals and versions.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from teleport.resources.custom_kinds import GROUP, CustomKind
from teleport.resources.structural import PRESERVE, Schema, structural_spec

__all__ = ["crd", "spec_schema"]

_ITEMS: Final = 1024
"""Entries of a list that a rule walks: API servers weigh what a rule may cost at most."""
_LENGTH: Final = 1024


@dataclass(frozen=True)
class _Rule:
    """Something that the API server refuses: where, the expression (CEL), and the words."""

    path: tuple[str, ...]
    rule: str
    message: str


_RULES: Final[Mapping[str, tuple[_Rule, ...]]] = {
    "role": (
        _Rule(("allow", "logins"), "!('*' in self)", "logins has no * in allow: name each login"),
        _Rule(("allow", "db_roles"), "!('*' in self)", "db_roles has no * in allow: name each role"),
    ),
    "lock": tuple(
        _Rule(
            (), f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})",
            f"{name} tells of the beginning and does not change",
        )
        for name in ("created_at", "created_by")
    ),
}  # fmt: skip


def crd(kind: CustomKind) -> dict[str, Any]:
    """The definition of one kind of manifest."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["teleport"],
            },
            "versions": [_version(kind, name) for name in kind.versions],
        },
    }


def _version(kind: CustomKind, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": name == kind.stored,
        "subresources": {"status": {}},
        "additionalPrinterColumns": list(_columns(kind)),
        "schema": {"openAPIV3Schema": _document(kind, name)},
    }


def _columns(kind: CustomKind) -> Iterator[dict[str, Any]]:
    ready = '.status.conditions[?(@.type=="Ready")]'
    yield {"name": "Ready", "type": "string", "jsonPath": f"{ready}.status"}
    yield {"name": "Reason", "type": "string", "jsonPath": f"{ready}.reason"}
    yield {"name": "Revision", "type": "integer", "jsonPath": ".status.appliedRevision"}
    if kind.resource == "role":
        yield {"name": "Reach", "type": "string", "jsonPath": ".status.reach", "priority": 1}
    yield {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _document(kind: CustomKind, version: str) -> Schema:
    schema: Schema = {
        "description": f"{kind.resource}: {kind.cls.summary}",
        "type": "object",
        "required": ["spec"] if kind.cls.model_fields["spec"].is_required() or kind.says_version else [],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(kind, version),
            "status": _STATUS,
        },
        PRESERVE: True,
    }
    if kind.cls.singleton:
        name = kind.cls.singleton
        schema["x-kubernetes-validations"] = [
            {"rule": f"self.metadata.name == '{name}'", "message": f"there is only one: call it {name}"}
        ]
    return schema if schema["required"] else {key: value for key, value in schema.items() if key != "required"}


def spec_schema(kind: CustomKind, version: str) -> Schema:
    """The schema of `spec` in one API version."""
    schema = deepcopy(structural_spec(kind.cls))
    if kind.says_version:
        schema["properties"] = {"version": _format_version(kind, version), **schema["properties"]}
        schema["required"] = ["version", *schema.get("required", [])]
    for one in _RULES.get(kind.resource, ()):
        _add(schema, one)
    return schema


def _format_version(kind: CustomKind, version: str) -> Schema:
    """The field that says which version of the format the spec is written in; other API versions fill it in."""
    fixed = kind.versions[version]
    words = [fixed] if fixed else list(kind.cls.versions)
    default = {"default": fixed} if fixed else {}
    return {"type": "string", "enum": words, "description": f"version of the {kind.resource}'s format", **default}


def _add(schema: Schema, rule: _Rule) -> None:
    for step in rule.path:
        schema = schema["properties"][step]
    if schema["type"] == "array":
        schema["maxItems"] = _ITEMS
        schema["items"] = {**schema["items"], "maxLength": _LENGTH}
    schema.setdefault("x-kubernetes-validations", []).append({"rule": rule.rule, "message": rule.message})


_CONDITION: Final[Schema] = {
    "type": "object",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": {"type": "string"},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "reason": {"type": "string", "maxLength": 1024},
        "message": {"type": "string", "maxLength": 32768},
    },
}
"""As `metav1.Condition`."""

_STATUS: Final[Schema] = {
    "description": "what became of it; written by the operator",
    "type": "object",
    "properties": {
        "conditions": {
            "type": "array",
            "items": _CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
        "observedGeneration": {
            "description": "generation of the manifest that the conditions tell of", "type": "integer",
            "format": "int64",
        },
        "appliedRevision": {
            "description": "revision of the policy at which it came into force", "type": "integer", "format": "int64"
        },
        "reach": {"description": "of a role: how many people reach how many hosts", "type": "string"},
        "teleportResourceID": {"description": "upstream's; kept for its objects", "type": "integer", "format": "int64"},
    },
    PRESERVE: True,
}  # fmt: skip
