"""What people read: tables that line up on a terminal, and nothing in data that drives one."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from teleport.core.errors import AccessDenied, Invalid, Problem
from teleport.core.output import complain, printable, table, to_json

HOSTILE = "a\x1b[2Jb\rc\x07\x9b31m\u202e"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_are_as_wide_as_what_is_shown_and_lines_end_without_spaces() -> None:
    shown = table(("Host", "Labels"), [("db-1", "env=dev"), ("db-with-a-long-name", "-")])

    assert shown == "Host                 Labels\ndb-1                 env=dev\ndb-with-a-long-name  -\n"


def test_characters_that_take_two_cells_or_none_keep_the_columns_in_line() -> None:
    names = ("plain", "日本語", "e\u0301te\u0301", "🙂")

    rows = table(("Name", "X"), [(name, "|") for name in names]).splitlines()[1:]

    assert len({cell_len(row.partition("|")[0]) for row in rows}) == 1


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=5))
def test_a_table_has_one_line_a_row_whatever_the_cells_hold(rows: list[tuple[str, str]]) -> None:
    shown = table(("A", "B"), rows)

    assert shown.count("\n") == len(rows) + 1
    assert not any(ord(char) < 32 and char != "\n" for char in shown)


@pytest.mark.parametrize("text", [printable(HOSTILE), to_json(HOSTILE), table(("X",), [(HOSTILE,)])])
def test_controls_in_data_are_shown_and_not_obeyed(text: str) -> None:
    assert not any(char in text for char in "\x1b\r\x07\x9b\u202e")


def test_json_stays_json_and_says_the_same() -> None:
    assert json.loads(to_json({"name": HOSTILE, "word": "日本"})) == {"name": HOSTILE, "word": "日本"}


def test_the_heading_is_bold_on_a_terminal_only_and_not_where_colours_are_unwanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert table(("A",), [], stream=Screen()) == "\x1b[1mA\x1b[0m\n"
    assert table(("A",), [], stream=io.StringIO()) == "A\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert table(("A",), [], stream=Screen()) == "A\n"


def test_an_error_is_told_with_its_hint_and_gives_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    status = complain("tctl", AccessDenied("ann may not\x1b[2J", hint="ask\nsomebody"))

    assert status == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "tctl: error: ann may not\\x1b[2J\ntctl: hint: ask\ntctl: hint: somebody\n"


def test_every_problem_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    status = complain("tctl", Invalid([Problem("b.yaml", 2, 1, "bad", "fix it"), Problem("a.yaml", 1, 3, "worse")]))

    assert status == 2
    assert capsys.readouterr().err == "tctl: error: a.yaml:1:3: worse\ntctl: error: b.yaml:2:1: bad (fix it)\n"
