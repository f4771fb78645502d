"""Expressions of which only a part is known: what is said to be so is so whatever the rest turns out to be."""

from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from teleport.access.expressions import LABELS, Scope, compile_expression
from teleport.access.partial import Knowledge, held, parts, possible_sets
from tests.access.strategies import EXPRESSIONS

VALUES = [None, "prod", "web", ""]
SETS = possible_sets(("web", "prod"))
TEAMS = [(), ("web",), ("prod",), ("web", "prod")]


@given(EXPRESSIONS, st.fixed_dictionaries({}, optional={key: st.sampled_from(VALUES) for key in ("env", "team", "none")}),
       st.booleans(), st.none() | st.just("ann"))  # fmt: skip
def test_an_answer_holds_for_everybody_and_every_host_that_agree_with_what_is_known(
    text: str, labels: dict[str, Any], teams: bool, user: str | None
) -> None:
    known = Knowledge(labels, traits={"team": SETS or ()} if teams else {}, user=user)

    missing: set[str] = set()
    answer = held(parts(text), known, missing)

    run = compile_expression(text, LABELS).run
    for env, team, none, wears, name in product(VALUES, VALUES, VALUES, TEAMS, ("ann", "bob")):
        host = {"env": env, "team": team, "none": none} | labels
        if user is None or name == user:
            scope = Scope(
                name, (), {"team": wears, "env": ("prod",), "mail": ("ann@x",)},
                {key: value for key, value in host.items() if value is not None},
            )  # fmt: skip
            assert answer is None or bool(run(scope)) is answer
    assert (answer is None) == bool(missing)


def test_one_side_that_decides_needs_no_other() -> None:
    known = Knowledge({"env": "dev"})

    assert held(parts('labels["env"] == "prod" && labels["x"] == "y"'), known, set()) is False
    assert held(parts('labels["env"] == "dev" || labels["x"] == "y"'), known, set()) is True


def test_what_would_have_to_be_known_is_named() -> None:
    missing: set[str] = set()

    held(
        parts('contains(user.spec.traits["team"], labels["team"]) && user.metadata.name == "x"'), Knowledge({}), missing
    )

    assert missing == {"traits.team", "labels.team", "user"}


def test_a_host_that_has_no_other_labels_is_known_altogether() -> None:
    text = 'contains(labels_matching("t*"), "web")'

    assert held(parts(text), Knowledge({"team": "web"}), set()) is None
    assert held(parts(text), Knowledge({"team": "web"}, complete=True), set()) is True
