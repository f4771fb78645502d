"""Documents to begin with: valid, in the one layout, and explained."""

import re

import pytest
from jsonschema import Draft202012Validator

from teleport.access.judge import judge
from teleport.core.errors import BadInput, Invalid
from teleport.resources.kinds import KINDS
from teleport.resources.load import load
from teleport.resources.schema import kind_schema
from teleport.resources.starting import starting_document
from teleport.resources.yaml_format import formatted
from teleport.resources.yaml_reader import read

NAMED = [kind for kind, cls in KINDS.items() if not cls.singleton]


@pytest.mark.parametrize("kind", KINDS)
def test_the_document_of_each_kind_is_valid_to_loader_and_editors_and_laid_out(kind: str) -> None:
    text = starting_document(KINDS[kind], schema="../.schemas/x.json")

    (document,), faults = read(text.encode(), file=kind)
    assert (*faults, *load(text.encode(), file=kind).problems) == ()
    Draft202012Validator(kind_schema(KINDS[kind])).validate(document.value)
    assert formatted(text.encode(), file=kind) == text
    assert text.startswith("# yaml-language-server: $schema=../.schemas/x.json\n")


@pytest.mark.parametrize("kind", ["role", "user", "token", "node", "lock", "cluster_auth_preference"])
def test_a_cluster_would_take_it_alone(kind: str) -> None:
    loaded = load(starting_document(KINDS[kind]).encode(), file=kind)

    assert judge(loaded.resources).problems == ()


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_comment_above(kind: str) -> None:
    lines = starting_document(KINDS[kind]).splitlines()

    fields = [number for number, line in enumerate(lines) if re.match(r"  (?!name)[a-z_]+:", line)]

    assert fields
    assert [lines[number] for number in fields if not lines[number - 1].startswith("  # ")] == []


@pytest.mark.parametrize("kind", NAMED)
def test_it_bears_the_name_that_is_asked_for(kind: str) -> None:
    (found,) = load(starting_document(KINDS[kind], "no").encode(), file=kind).resources

    assert found.name == "no"


def test_a_name_that_the_kind_does_not_take_is_refused() -> None:
    with pytest.raises(Invalid, match="user name with"):
        starting_document(KINDS["user"], "a b")
    with pytest.raises(BadInput, match="only one cluster_auth_preference"):
        starting_document(KINDS["cluster_auth_preference"], "mine")
