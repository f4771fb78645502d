"""What is left of a document with faults: enough to judge the rest, at its right place, and never part of the set."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.resources.load import Loaded, load
from tests.resources.documents import any_document, mappings

ROLE: Mapping[str, Any] = {
    "kind": "role", "version": "v7", "metadata": {"name": "dev"}, "spec": {"allow": {"logins": ["ann"]}},
}  # fmt: skip


def loaded(document: Mapping[str, Any]) -> Loaded:
    return load(json.dumps(document).encode(), file="d.json")


def allowing(**allow: Any) -> Loaded:
    return loaded({**ROLE, "spec": {"allow": allow}})


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ({"logns": "x", "logins": "ann"}, {"logins": ["ann"]}),
        ({"logins": ["*", "ann"]}, {"logins": ["ann"]}),
        ({"logins": "*", "db_users": "ann"}, {"db_users": ["ann"]}),
        ({"node_labels": {"*": "x", "env": "dev"}}, {"node_labels": {"env": "dev"}}),
        ({"node_labels": {"env": 1, "team": "web"}}, {"node_labels": {"team": "web"}}),
        ({"rules": [{"resources": ["rol"], "verbs": ["read"]}]}, {"rules": []}),
        ({"rules": [{"resources": ["role"]}], "logins": "ann"}, {"rules": [], "logins": ["ann"]}),
        ({"impersonate": "everybody", "logins": "ann"}, {"logins": ["ann"]}),
    ],
)
def test_only_what_is_wrong_is_cut_out(written: Mapping[str, Any], left: Mapping[str, Any]) -> None:
    found = allowing(**written)

    assert found.resources == ()
    assert [one.to_dict()["spec"] for one in found.remnants] == [{"allow": left}]


@pytest.mark.parametrize(
    ("change", "name"),
    [({"version": "v99"}, "dev"), ({"metadata": {"name": "Node"}}, "line-1"), ({"metadata": {}}, "line-1")],
)
def test_a_document_without_a_proper_address_can_still_be_judged(change: Mapping[str, Any], name: str) -> None:
    found = loaded({**ROLE, **change})

    assert [(one.name, one.spec.allow.logins) for one in found.remnants] == [(name, ("ann",))]


def test_nothing_is_left_where_there_is_no_spec() -> None:
    found = loaded({"kind": "role", "version": "v7", "metadata": {"name": "dev"}})

    assert (len(found.problems), found.remnants) == (1, ())


def test_what_follows_a_cut_keeps_its_place() -> None:
    text = (
        b"kind: role\nversion: v7\nmetadata: {name: dev}\nspec:\n  allow:\n    logins:\n      - '*'\n      - ann\n"
        b"      - ben\n"
    )

    (left,) = load(text, file="dev.yaml").remnants

    assert left.spec.allow.logins == ("ann", "ben")
    assert [left.origin.at("spec", "allow", "logins", index) for index in (0, 1)] == [(8, 9), (9, 9)]


def test_a_document_of_nothing_but_faults_is_given_up_soon() -> None:
    found = allowing(**{f"field{number}": 1 for number in range(1000)})

    assert found.remnants == ()


@given(st.data())
def test_whatever_is_wrong_a_document_with_faults_is_never_part_of_the_set(data: st.DataObject) -> None:
    document = data.draw(any_document())
    _, mapping = data.draw(st.sampled_from(list(mappings(document))))
    mapping[data.draw(st.sampled_from(["logins", "name", "spec", "rules", "nonsense"]))] = data.draw(
        st.sampled_from([1, None, [[]], {"a": []}, ["*"]])
    )

    found = loaded(document)

    assert len(found.resources) == (not found.problems)
    assert len(found.remnants) <= bool(found.problems)
