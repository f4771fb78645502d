"""SEMANTICS, "Label selector", and labels with expressions in one block."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.labels import SelectorTemplate

TRAITS = {"team": ("web", "db"), "key": ("env", "team"), "star": ("*",)}


def selector(labels: dict[str, Any] | None, expression: str = "") -> Any:
    lists = {key: tuple(value) if isinstance(value, list) else (value,) for key, value in (labels or {}).items()}
    return SelectorTemplate.of(None if labels is None else lists, expression).bind("ann", ("dev",), TRAITS)


@pytest.mark.parametrize(
    ("written", "labels", "matches"),
    [
        pytest.param(None, {"env": "prod"}, False, id="no selector matches nothing"),
        pytest.param({}, {"env": "prod"}, False, id="the empty selector matches nothing"),
        pytest.param({}, {}, False, id="not even what has no labels"),
        pytest.param({"*": "*"}, {"env": "prod"}, True, id="star to star matches every resource"),
        pytest.param({"*": "*"}, {}, True, id="star to star matches what has no labels"),
        pytest.param({"*": "*", "env": "dev"}, {"env": "prod"}, True, id="star to star, whatever the other keys say"),
        pytest.param({"env": "prod"}, {"env": "prod"}, True, id="one key"),
        pytest.param({"env": "prod"}, {"env": "prod", "team": "web"}, True, id="more labels do not matter"),
        pytest.param({"env": "prod"}, {}, False, id="the key must exist"),
        pytest.param({"env": "prod"}, {"Env": "prod"}, False, id="keys are literal, case counts"),
        pytest.param({"en*": "prod"}, {"env": "prod"}, False, id="keys are literal, no wildcards"),
        pytest.param({"en*": "prod"}, {"en*": "prod"}, True, id="a key with a star is that key"),
        pytest.param({"env": "prod", "team": "web"}, {"env": "prod", "team": "web"}, True, id="keys are ANDed"),
        pytest.param({"env": "prod", "team": "web"}, {"env": "prod", "team": "db"}, False, id="one key that fails"),
        pytest.param({"env": "prod", "team": "web"}, {"env": "prod"}, False, id="one key that is missing"),
        pytest.param({"env": ["dev", "prod"]}, {"env": "prod"}, True, id="values of a list are ORed"),
        pytest.param({"env": ["dev", "test"]}, {"env": "prod"}, False, id="none of the list"),
        pytest.param({"env": ["dev", "*"]}, {"env": "prod"}, True, id="a star in a list is any value"),
        pytest.param({"env": "*"}, {"env": ""}, True, id="also the empty one"),
        pytest.param({"env": "*"}, {}, False, id="but the key must exist"),
        pytest.param({"env": []}, {"env": "prod"}, False, id="an empty list never matches"),
        pytest.param({"env": [], "team": "web"}, {"env": "", "team": "web"}, False, id="nor beside another key"),
        pytest.param({"env": "pr*"}, {"env": "prod"}, True, id="a value is a pattern"),
        pytest.param({"env": "^(prod|dev)$"}, {"env": "dev"}, True, id="also an expression"),
        pytest.param({"team": "{{internal.team}}"}, {"team": "db"}, True, id="several trait values are ORed"),
        pytest.param({"team": "{{internal.star}}"}, {"team": "db"}, False, id="a star from a trait is no wildcard"),
        pytest.param({"team": "{{internal.none}}"}, {"team": ""}, True, id="a missing trait is the empty text"),
        pytest.param({"team": "{{internal.none}}"}, {}, False, id="for which the key must exist"),
        pytest.param({"{{internal.key}}": "prod"}, {"env": "prod"}, True, id="a key takes the first value"),
        pytest.param({"{{internal.key}}": "prod"}, {"team": "prod"}, False, id="and only the first"),
        pytest.param({"{{internal.none}}": "*"}, {"env": "prod"}, False, id="a key of a missing trait matches nothing"),
        pytest.param({"{{internal.star}}": "*"}, {"env": "prod"}, False, id="a key from a trait is no wildcard"),
    ],
)
def test_a_selector_matches(written: dict[str, Any] | None, labels: dict[str, str], matches: bool) -> None:
    found = selector(written)

    assert found.allows(labels) is matches
    assert found.denies(labels) is matches


EXPRESSION = 'labels["team"] == "web"'


@pytest.mark.parametrize(
    ("written", "labels", "allows", "denies"),
    [
        pytest.param({"env": "prod"}, {"env": "prod", "team": "web"}, True, True, id="both hold"),
        pytest.param({"env": "prod"}, {"env": "prod"}, False, True, id="only the labels hold"),
        pytest.param({"env": "prod"}, {"team": "web"}, False, True, id="only the expression holds"),
        pytest.param({"env": "prod"}, {}, False, False, id="neither holds"),
        pytest.param(None, {"team": "web"}, True, True, id="an expression alone decides"),
        pytest.param(None, {"team": "db"}, False, False, id="an expression alone decides against"),
        pytest.param({}, {"team": "web"}, True, True, id="empty labels count as none beside an expression"),
        pytest.param({"*": "*"}, {"team": "db"}, False, True, id="star to star and an expression"),
    ],
)
def test_with_labels_and_expression_allow_needs_both_and_deny_needs_either(
    written: dict[str, Any] | None, labels: dict[str, str], allows: bool, denies: bool
) -> None:
    found = selector(written, EXPRESSION)

    assert (found.allows(labels), found.denies(labels)) == (allows, denies)


def test_an_expression_reads_the_user_it_is_bound_to() -> None:
    found = selector(
        None, 'contains(user.spec.traits["team"], labels["team"]) && user.metadata.name == labels["owner"]'
    )

    assert found.allows({"team": "db", "owner": "ann"})
    assert not found.allows({"team": "api", "owner": "ann"})
    assert not found.allows({"team": "db", "owner": "bob"})


@pytest.mark.parametrize(
    ("written", "expression", "words"),
    [
        (None, "", "nothing"),
        ({"*": "*"}, "", "every resource"),
        ({"env": ["dev", "test*"], "team": "web"}, "", "env=dev|test*, team=web"),
        ({"env": "dev"}, EXPRESSION, "env=dev, an expression"),
        ({"env": []}, "", "env=nothing"),
    ],
)
def test_a_selector_describes_itself(written: dict[str, Any] | None, expression: str, words: str) -> None:
    assert selector(written, expression).describe() == words


@given(
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
)
def test_labels_written_as_they_are_match_their_own_resource(labels: dict[str, str], more: dict[str, str]) -> None:
    plain = {key: value for key, value in labels.items() if not {"*", "{", "}", "^"} & set(key + value)}
    found = selector(plain)

    assert found.allows({**more, **plain}) is bool(plain)
