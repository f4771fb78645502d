"""What a program says it reads: all that it takes, and nothing that it would refuse."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given

from teleport.resources.codec import from_dict
from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.load import load
from teleport.resources.reading import Reads, own_reads
from tests.resources.documents import any_document

OWN = own_reads()


def without(*fields: str, **versions: tuple[str, ...]) -> Reads:
    """What an older program reads."""
    kept = {path for path in OWN.fields if not any(path == one or path.startswith(f"{one}.") for one in fields)}
    return Reads.of({**OWN.versions, **versions}, kept)


def role(**spec: Any) -> AnyResource:
    return from_dict({"kind": "role", "version": "v8", "metadata": {"name": "dev"}, "spec": spec})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_program_reads_its_own_examples(kind: str) -> None:
    for resource in load(KINDS[kind].example.encode(), file=kind).resources:
        assert OWN.lacking(resource) == ()


@given(any_document())
def test_a_program_reads_whatever_it_loads(document: dict[str, Any]) -> None:
    loaded = load(json.dumps(document).encode(), file="x.json")
    assume(loaded.resources)

    assert [OWN.lacking(resource) for resource in loaded.resources] == [()]


def test_a_version_that_is_not_known_is_lacking_as_a_whole() -> None:
    assert without(role=("v6", "v7")).lacking(role(allow={"logins": ["root"]})) == ("role v8",)


def test_a_field_that_is_not_known_is_lacking_wherever_it_is_used() -> None:
    older = without("role.spec.options.pin_source_ip", "role.spec.allow.request")
    used = role(options={"pin_source_ip": True, "lock": "strict"}, allow={"request": {"roles": ["x"]}})

    assert older.lacking(used) == ("role.spec.options.pin_source_ip", "role.spec.allow.request")
    assert older.lacking(role(options={"lock": "strict"})) == ()


def test_keys_that_anybody_may_choose_are_no_fields() -> None:
    assert OWN.lacking(role(allow={"node_labels": {"anything.at all": ["x"]}})) == ()


def test_programs_that_read_the_same_have_the_same_format_and_no_others() -> None:
    again = Reads.of(dict(reversed(list(OWN.versions.items()))), sorted(OWN.fields, reverse=True))

    assert again.format == OWN.format
    assert without(role=("v7",)).format != OWN.format
    assert replace(OWN, fields=OWN.fields - {"role.spec.options.lock"}).format != OWN.format
