"""Label and field selectors of Kubernetes' API."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["matching"]

_SET = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s+\(([^)]*)\)\s*")
_PARTS = re.compile(r",(?![^(]*\))")


def matching(objects: Iterable[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    """The objects that the `labelSelector` and `fieldSelector` of a query mean."""
    labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
    return [
        one
        for one in objects
        if _fits(labels, one["metadata"].get("labels") or {}) and all(_field(part, one) for part in _split(fields))
    ]


def _split(selector: str) -> list[str]:
    return [part.strip() for part in _PARTS.split(selector) if part.strip()]


def _fits(selector: str, labels: Mapping[str, str]) -> bool:
    return all(_label(part, labels) for part in _split(selector))


def _label(part: str, labels: Mapping[str, str]) -> bool:
    among = _SET.fullmatch(part)
    if among:
        key, how, words = among.groups()
        return (labels.get(key) in [word.strip() for word in words.split(",")]) is (how == "in")
    if "!=" in part:
        key, _, value = part.partition("!=")
        return labels.get(key.strip()) != value.strip()
    if "=" in part:
        key, _, value = part.partition("=")
        return labels.get(key.strip()) == value.strip("= ")
    return part[1:] not in labels if part.startswith("!") else part in labels


def _field(part: str, one: dict[str, Any]) -> bool:
    unequal = "!=" in part
    path, _, value = part.partition("!=" if unequal else "=")
    found: Any = one
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return (str(found or "") == value.strip("= ")) is not unequal
