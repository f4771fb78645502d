import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.regex import compile_regex, escape, expand_with, opens_group


@pytest.mark.parametrize(
    ("replacement", "expected"),
    [
        ("$1", "a"),
        ("${1}x", "ax"),
        ("$1x", ""),
        ("$name", "b"),
        ("${name}-$1", "b-a"),
        ("$$1", "$1"),
        ("$9", ""),
        ("$99999999999999999999", ""),
        ("$", "$"),
        ("$-", "$-"),
        ("plain", "plain"),
    ],
)
def test_a_replacement_is_read_as_go_reads_it(replacement: str, expected: str) -> None:
    regex = compile_regex("^(a)(?P<name>b)$")

    assert regex.replace("ab", expand_with(replacement)) == expected


def test_every_match_is_replaced() -> None:
    assert compile_regex("a").replace("banana", expand_with("o")) == "bonono"


def test_a_group_that_took_no_part_is_empty() -> None:
    assert compile_regex("^(a)?b$").replace("b", expand_with("[$1]")) == "[]"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escaped_text_matches_itself(text: str) -> None:
    assert compile_regex(f"^{escape(text)}$", bounded=False).found_in(text)


def test_a_pattern_is_bounded() -> None:
    with pytest.raises(ValueError, match="longer than 2048"):
        compile_regex("a" * 2049)


@pytest.mark.parametrize(("prefix", "opens"), [("^a", True), ("^(a|", True), ("^[", False), ("^\\", False)])
def test_where_a_group_can_be_opened(prefix: str, opens: bool) -> None:
    assert opens_group(prefix) is opens
