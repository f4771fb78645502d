"""Resources as YAML load again as what they were, and rows of tables say what matters."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.api.models import Resource
from teleport.cli.documents import columns, row, to_yaml
from teleport.resources.load import load
from teleport.resources.yaml_reader import read

LEAVES = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=12)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def resource(body: dict[str, Any], source: str = "api", file: str = "", line: int = 0) -> Resource:
    return Resource(resource=body, revision=1, source=source, file=file, line=line)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
def test_whatever_a_resource_holds_is_read_again_as_the_same(body: dict[str, Any]) -> None:
    documents, problems = read(to_yaml([resource(body)]).encode(), file="f")

    if not problems:  # the reader refuses some texts, such as controls, whoever wrote them
        assert [one.value for one in documents] == [body]


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "no",
        "on",
        "null",
        "~",
        "",
        "1",
        "1.10",
        "0x10",
        "1e3",
        "2030-01-01",
        "a: b",
        "- a",
        "#a",
        "*",
        "{{a}}",
        "a\nb",
    ],
)
def test_text_that_looks_like_anything_else_stays_text(text: str) -> None:
    documents, problems = read(to_yaml([resource({"value": text})]).encode(), file="f")

    assert (problems, documents[0].value) == ([], {"value": text})


def test_several_resources_are_documents_that_say_where_they_are_declared() -> None:
    user = {"kind": "user", "version": "v2", "metadata": {"name": "ann"}, "spec": {"roles": []}}

    text = to_yaml([resource(user, "folder", "users/ann.yaml", 3), resource({**user, "metadata": {"name": "bob"}})])

    assert text.startswith("# users/ann.yaml:3\nkind: user\n")
    assert [one.name for one in load(text.encode(), file="f").resources] == ["ann", "bob"]


def test_a_row_shows_labels_and_expressions_and_tells_lists_from_keys() -> None:
    allow = {"logins": ["root", "deploy"], "node_labels": {"env": ["dev", "test"], "team": "web"}}
    role = {"kind": "role", "metadata": {"name": "dev"}, "spec": {"allow": allow}}
    written = {**role, "spec": {"allow": {"node_labels_expression": 'labels["env"] == "prod"'}}}

    assert columns("role") == ("Role", "Logins", "Node labels", "Denies", "Declared in")
    assert row(resource(role)) == ("dev", "root, deploy", "env=dev|test, team=web", "-", "tctl or the API")
    assert row(resource(written, "folder", "r.yaml", 2))[2:] == ('labels["env"] == "prod"', "-", "r.yaml:2")


def test_a_long_cell_is_cut_with_a_mark() -> None:
    role = {"kind": "role", "metadata": {"name": "dev"}, "spec": {"allow": {"logins": ["x" * 100]}}}

    assert row(resource(role))[1] == "x" * 47 + "…"
