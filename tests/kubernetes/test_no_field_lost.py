"""Of every kind: a field that nobody knows, wherever it is put, is refused by its name, and then nothing of it applies.

The three steps of its way are held together here: what a schema keeps, the policy at the API server sees, and what gets
past an API server without such policies, the operator refuses.
"""

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teleport.gitops.manifests import Manifests
from teleport.resources.admission import FieldRule, field_rules
from teleport.resources.crds import spec_schema
from teleport.resources.custom_kinds import CUSTOM_KINDS, GROUP, CustomKind
from teleport.resources.structural import Schema
from tests.resources.documents import document, mappings
from tests.resources.test_admission import context
from tests.resources.test_structural import example, pruned

NAMES = [one.kind for one in CUSTOM_KINDS]
BY_NAME = {one.kind: one for one in CUSTOM_KINDS}
STRAY = "denny"


def manifest(kind: CustomKind, spec: Any) -> dict[str, Any]:
    metadata = {"name": _name(kind), "namespace": "default", "generation": 1}
    written = {"version": "v7", **spec} if kind.says_version else spec
    return {"apiVersion": f"{GROUP}/{kind.stored}", "kind": kind.kind, "metadata": metadata, "spec": written}


def _name(kind: CustomKind) -> str:
    return kind.resource.replace("_", "-") if kind.cls.singleton else "sample"


async def told_of(kind: CustomKind, spec: Any) -> list[str]:
    source = Manifests("kubernetes", "default")
    source.take([manifest(kind, spec)])
    return [one.message for one in (await source.load()).problems]


@cache
def schema_of(kind: str) -> Schema:
    return spec_schema(BY_NAME[kind], BY_NAME[kind].stored)


@cache
def closed(kind: str) -> Mapping[str, FieldRule]:
    """Where only certain fields may stand, as admission sees it, without positions."""
    return {one.path: one for one in field_rules(schema_of(kind))}


def with_stray(spec: Any, path: tuple[str | int, ...]) -> Any:
    changed = copy.deepcopy(spec)
    at = changed
    for step in path:
        at = at[step]
    at[STRAY] = {"logins": ["root"]}
    return changed


def shown(path: tuple[str | int, ...]) -> str:
    return "spec" + "".join("[]" if isinstance(step, int) else f".{step}" for step in path)


async def stray_is_refused(kind: CustomKind, spec: Any, path: tuple[str | int, ...]) -> None:
    changed = with_stray(spec, path)
    written = manifest(kind, changed)["spec"]

    rule, around = closed(kind.kind)[shown(path)], context(written)
    assert pruned(written, schema_of(kind.kind)) == written
    assert cel.evaluate(rule.expression, around) is False
    assert STRAY in str(cel.evaluate(rule.message, around))
    assert any(f"unknown field {STRAY}" in one for one in await told_of(kind, changed))


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
async def test_a_stray_field_anywhere_in_the_example_is_refused_by_name(kind: CustomKind) -> None:
    spec = example(kind)
    places = [path for path, _ in mappings(spec) if shown(path) in closed(kind.kind)]

    for path in places:
        await stray_is_refused(kind, spec, path)

    assert () in places


@pytest.mark.parametrize("kind", CUSTOM_KINDS, ids=NAMES)
@settings(max_examples=4)
@given(data=st.data())
async def test_a_stray_field_anywhere_in_any_manifest_is_refused_by_name(kind: CustomKind, data: st.DataObject) -> None:
    spec = data.draw(document(kind.cls)).get("spec") or {}
    places = [path for path, _ in mappings(spec) if shown(path) in closed(kind.kind)] or [()]

    await stray_is_refused(kind, spec, data.draw(st.sampled_from(places)))
