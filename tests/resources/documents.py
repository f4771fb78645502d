"""Strategies for documents of each kind, made from the kind's own schema: every field, in every way to write it."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st

from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.schema import kind_schema

__all__ = ["any_document", "document", "mappings", "words"]

Schema = Mapping[str, Any]
Strategy = st.SearchStrategy[Any]

words: st.SearchStrategy[str] = st.text(st.sampled_from("abxyz019*^${}()|.-_@/ :#'\"\\éß日\n\t"), max_size=12)
"""Texts that are troublesome to write and to read."""

_names = st.from_regex(r"[a-z][a-z0-9.-]{0,12}", fullmatch=True)
_lengths = st.builds("{}{}".format, st.integers(0, 99_999), st.sampled_from(["ms", "s", "m", "h", "d"]))

_texts = st.lists(_names, min_size=1, max_size=2)
_hosts: Strategy = st.one_of(
    st.just("any"), st.builds(dict, name=_names), st.builds(dict, labels=st.dictionaries(_names, _names, min_size=1))
)
_given: Strategy = st.one_of(
    st.builds(dict, user=_names), st.builds(dict, roles=_texts, traits=st.dictionaries(_names, _texts))
)
_expect = st.sampled_from(["can", "cannot", "needs_mfa"]).flatmap(
    lambda verb: st.fixed_dictionaries({verb: st.one_of(_names, _texts), "hosts": _hosts})
)
_exactly = st.fixed_dictionaries({"users": st.lists(_names, max_size=2), "hosts": _hosts}, optional={"logins": _texts})
_selector = st.dictionaries(_names, st.one_of(_names, _texts), min_size=1, max_size=2)

_mapping_of_roles = st.fixed_dictionaries(
    {"remote": words.filter(bool)}, optional={"local": st.one_of(_names, _texts), "traits": _texts}
)

_BY_TYPE: Mapping[str, Strategy] = {
    "AccessTestSpec": st.one_of(
        st.fixed_dictionaries({"given": _given, "expect": st.lists(_expect, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"exactly": st.lists(_exactly, min_size=1, max_size=2)}),
    ),
    "SecretRef": st.one_of(
        st.builds(dict, env=st.just("TELEPORT_SECRET_X")), st.builds(dict, file=st.just("/run/secrets/x"))
    ),
    "May": st.fixed_dictionaries({"logins": _texts, "labels": _selector}),
    "name": _names,
    "duration": st.one_of(st.just("never"), st.just(0), _lengths),
    "time": st.datetimes().map(lambda when: when.isoformat(timespec="seconds") + "Z"),
    "labels": st.dictionaries(_names, _names, max_size=3),
}
"""Types whose texts are more particular than their schema says."""

_BY_FIELD: Mapping[str, Strategy] = {
    "logins": st.lists(_names, max_size=3),
    "db_roles": st.lists(_names, max_size=3),
    "windows_desktop_logins": st.lists(_names, max_size=3),
    "kubernetes_resources": st.none(),
    "max_duration": st.sampled_from(["7d", "2h", "never"]),
    "hostname": _names,
    "host_keys": st.just([]),
    "web_proxy_addr": st.builds("{}:443".format, _names),
    "tunnel_addr": st.builds("{}:443".format, _names),
    "ca_pin": st.lists(st.integers(0, 9).map(lambda digit: f"sha256:{str(digit) * 64}"), max_size=2),
    "role_map": st.lists(_mapping_of_roles, max_size=3, unique_by=lambda entry: entry["remote"]),
    "is_locked": st.just("no"),
    "encryption": st.builds(dict, enabled=st.just("no")),
    "target": st.fixed_dictionaries({"user": _names}, optional={"role": _names, "login": words, "join_token": words}),
}
"""Fields that mean something beyond their type."""


def document(cls: type[AnyResource]) -> st.SearchStrategy[dict[str, Any]]:
    """Documents that load, of one kind."""
    schema = kind_schema(cls)
    strategy: st.SearchStrategy[dict[str, Any]] = _value(schema, schema["$defs"])
    return strategy.map(_reached) if cls.kind == "node" else strategy


def _reached(node: dict[str, Any]) -> dict[str, Any]:
    """A plain host has an address."""
    return (
        {**node, "spec": {**(node.get("spec") or {}), "addr": "old-1:22"}}
        if node.get("sub_kind") == "openssh"
        else node
    )


@cache
def any_document() -> st.SearchStrategy[dict[str, Any]]:
    """Documents that load, of any kind."""
    return st.one_of([document(cls) for cls in KINDS.values()])


def mappings(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every mapping within a document, with its path."""
    if isinstance(value, dict):
        yield path, value
    pairs: list[tuple[str | int, Any]] = list(value.items()) if isinstance(value, dict) else []
    pairs += enumerate(value) if isinstance(value, list) else []
    for step, inner in pairs:
        yield from mappings(inner, (*path, step))


def _value(schema: Schema, definitions: Mapping[str, Schema]) -> Strategy:
    match schema:
        case {"$ref": reference}:
            name = reference.removeprefix("#/$defs/")
            if name in _BY_TYPE:
                return _BY_TYPE[name]
            return _value({**definitions[name], **{key: schema[key] for key in schema if key != "$ref"}}, definitions)
        case {"const": value}:
            return st.just(value)
        case {"enum": values}:
            return st.sampled_from(values)
        case {"anyOf": options}:
            return st.one_of([_value({"minItems": schema.get("minItems", 0), **one}, definitions) for one in options])
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if schema.get("minItems"):
        types = [name for name in types if name != "null"]
    return st.one_of([_typed(name, schema, definitions) for name in types])


def _typed(name: str, schema: Schema, definitions: Mapping[str, Schema]) -> Strategy:
    match name:
        case "object":
            return _mapping(schema, definitions)
        case "array":
            least = schema.get("minItems", 0)
            return st.lists(_value(schema["items"], definitions), min_size=least, max_size=max(2, least))
        case "integer":
            return st.integers(schema.get("minimum", 0), schema.get("maximum", 10**6))
    return {"string": words, "boolean": st.booleans(), "null": st.none()}[name]


def _mapping(schema: Schema, definitions: Mapping[str, Schema]) -> Strategy:
    if "additionalProperties" in schema and schema["additionalProperties"] is not False:
        keys = words.filter(lambda key: key != "*")
        return st.dictionaries(keys, _value(schema["additionalProperties"], definitions), max_size=3)
    fields = {
        key: _BY_FIELD[key] if key in _BY_FIELD else _value(value, definitions)
        for key, value in schema["properties"].items()
    }
    required = {key: fields.pop(key) for key in schema.get("required", ())}
    if not fields:
        return st.fixed_dictionaries(required)
    chosen = st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=4)
    return chosen.flatmap(lambda keys: st.fixed_dictionaries({**required, **{key: fields[key] for key in keys}}))
