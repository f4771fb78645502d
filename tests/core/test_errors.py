"""Errors over the wire: what one service raises another raises, and no answer makes the reader fail."""

from typing import Any

import pytest

from teleport.core.errors import FAMILY, Invalid, Problem, from_wire


@pytest.mark.parametrize("code", sorted(set(FAMILY) - {"invalid"}))
def test_an_error_is_the_same_at_the_other_end(code: str) -> None:
    raised = FAMILY[code]("no", hint="ask", details={"role": "dev"})

    received = from_wire(raised.to_wire())

    assert type(received) is type(raised)
    assert (received.message, received.hint, received.details) == ("no", "ask", {"role": "dev"})


def test_problems_keep_their_places() -> None:
    raised = Invalid([Problem("a.yaml", 3, 5, "no kind", "say which"), Problem("b.yaml", 1, 1, "no version")])

    received = from_wire(raised.to_wire())

    assert isinstance(received, Invalid)
    assert received.problems == raised.problems


@pytest.mark.parametrize("problems", [None, 7, "x", [7], [None], [{"line": None}], [{"line": "x", "column": []}], [[]]])
def test_problems_that_are_none_are_no_reason_to_fail(problems: Any) -> None:
    body = {"error": {"code": "invalid", "message": "no", "details": {"problems": problems}}}

    assert isinstance(from_wire(body), Invalid)


@pytest.mark.parametrize("body", [None, [], "x", {}, {"error": None}, {"error": {"code": [], "details": 7}}])
def test_a_body_that_is_no_error_is_one_all_the_same(body: object) -> None:
    assert from_wire(body).status == 500
