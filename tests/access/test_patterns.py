"""SEMANTICS, "Text pattern": starts with ^ and ends with $ → RE2 as written; otherwise only * is special, anchored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.patterns import ANY, Any_, Exact, Glob, Pattern, around, check_around, covers, glob, pattern


@pytest.mark.parametrize(
    ("written", "value", "matches"),
    [
        pytest.param("prod", "prod", True, id="plain text matches itself"),
        pytest.param("prod", "production", False, id="the whole is anchored at the end"),
        pytest.param("prod", "preprod", False, id="the whole is anchored at the start"),
        pytest.param("prod", "Prod", False, id="case counts"),
        pytest.param("", "", True, id="the empty pattern matches the empty text"),
        pytest.param("", "x", False, id="the empty pattern matches nothing else"),
        pytest.param("*", "", True, id="a star alone matches the empty text"),
        pytest.param("*", "any\nthing", True, id="a star alone matches everything"),
        pytest.param("web-*", "web-1", True, id="a star stands for any text"),
        pytest.param("web-*", "web-", True, id="a star stands for no text too"),
        pytest.param("web-*", "web", False, id="what stands before a star must be there"),
        pytest.param("*-eu", "web-eu", True, id="a star at the start"),
        pytest.param("web-*-eu", "web-1-2-eu", True, id="a star in the middle"),
        pytest.param("web-*-eu", "web-eu", False, id="the parts around a star do not overlap"),
        pytest.param("a*a", "a", False, id="one letter is not two"),
        pytest.param("a*b*c", "aXbXc", True, id="several stars"),
        pytest.param("a*b*c", "acb", False, id="parts come in order"),
        pytest.param("a*bc*c", "abc", False, id="the last part is not used twice"),
        pytest.param("**", "x", True, id="two stars are a star"),
        pytest.param("web.1", "webx1", False, id="a dot is a dot"),
        pytest.param("web?", "web?", True, id="a question mark is itself"),
        pytest.param("[ab]", "a", False, id="brackets are themselves"),
        pytest.param("a+*", "a+b", True, id="a plus is itself beside a star"),
        pytest.param("^web-.*", "^web-.x", True, id="without the dollar it is no expression"),
        pytest.param("web-.*$", "web-.x$", True, id="without the caret it is no expression"),
        pytest.param("$^", "$^", True, id="the wrong way round it is no expression"),
        pytest.param("^web-[0-9]+$", "web-17", True, id="caret and dollar make an expression"),
        pytest.param("^web-[0-9]+$", "web-x", False, id="an expression is matched as written"),
        pytest.param("^web-[0-9]+$", "my-web-17", False, id="its caret anchors"),
        pytest.param("^web-[0-9]+$", "web-17\n", False, id="its dollar is the very end"),
        pytest.param("^(?i)prod$", "PROD", True, id="its flags count"),
        pytest.param("^a.b$", "a\nb", False, id="its dot is no line end, as in RE2"),
        pytest.param("^(a|b)$", "b", True, id="a grouped alternation"),
        pytest.param("^[|]$", "|", True, id="a bar in a class is a character"),
        pytest.param("^[[:alpha:]|]$", "|", True, id="a bar behind a named class is a character"),
        pytest.param("^[]|]$", "]", True, id="a bracket that comes first is a member of its class"),
        pytest.param(r"^a\|b$", "a|b", True, id="an escaped bar is a character"),
        pytest.param(r"^\Qa|b\E$", "a|b", True, id="a quoted bar is a character"),
        pytest.param(r"^\$$", "$", True, id="an escaped dollar before the last one"),
        pytest.param("^$", "", True, id="nothing between the anchors"),
    ],
)
def test_a_pattern_matches_what_its_rule_says(written: str, value: str, matches: bool) -> None:
    assert pattern(written).matches(value) is matches


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        pytest.param("^a|b$", "not grouped", id="an ungrouped alternation undoes its anchors"),
        pytest.param("^(a)|(b)$", "not grouped", id="groups beside the bar do not help"),
        pytest.param("^a$|^b$", "not grouped", id="nor do anchors on both sides"),
        pytest.param(r"^foo\$", "literal dollar", id="an escaped dollar is no end"),
        pytest.param("^[$", "missing ]", id="a class without end"),
        pytest.param("^(a$", "missing )", id="a group without end"),
        pytest.param(r"^(a)\1$", "invalid escape", id="a back reference is not RE2"),
        pytest.param("^(?=a)$", "invalid perl operator", id="a look-ahead is not RE2"),
        pytest.param("^" + "a" * 3000 + "$", "longer than", id="too long"),
        pytest.param("^(a{500}){500}$", "invalid repetition", id="too large once compiled"),
    ],
)
def test_what_is_no_pattern_says_why(written: str, reason: str) -> None:
    with pytest.raises(ValueError) as error:
        pattern(written)

    assert reason in str(error.value)


def test_the_hint_for_an_ungrouped_alternation_is_a_pattern_that_means_it() -> None:
    with pytest.raises(ValueError, match="write") as error:
        pattern("^a|b$")

    meant = pattern(str(error.value).rpartition("write ")[2])
    assert [meant.matches(text) for text in ("a", "b", "ab")] == [True, True, False]


@given(st.text())
def test_a_value_from_a_trait_matches_only_itself(value: str) -> None:
    matcher = around("", value, "")

    assert matcher == Exact(value)


@given(st.text(), st.text())
def test_a_value_inside_a_glob_stays_data(value: str, other: str) -> None:
    matcher = around("team-", value, "-*")

    assert matcher.matches(f"team-{value}-x")
    assert matcher.matches(f"team-{other}-x") is f"team-{other}-x".startswith(f"team-{value}-")


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_value_inside_an_expression_stays_data(value: str, other: str) -> None:
    matcher = around("^team-", value, "-[0-9]$")

    assert matcher.matches(f"team-{value}-1")
    assert matcher.matches(f"team-{other}-1") is (other == value)


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param("^[", id="within a class"),
        pytest.param("^[[:alpha:]", id="behind a named class within a class"),
        pytest.param("^\\", id="behind a backslash"),
        pytest.param("^\\Q", id="within a quotation"),
        pytest.param("^\\x{", id="within a character code"),
        pytest.param("^(?P<", id="within the name of a group"),
        pytest.param("^(?", id="within flags"),
    ],
)
def test_a_template_cannot_stand_where_its_value_would_not_be_text(prefix: str) -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        check_around(prefix, "x$")


@pytest.mark.parametrize(
    ("prefix", "suffix"),
    [("", ""), ("a*", "*"), ("^", "$"), ("^(a|", ")$"), ("^(?i)", "$"), ("^\\Qa|\\E", "[b]$"), ("^a{1,", "}$")],
)
def test_a_template_may_stand_where_its_value_is_text(prefix: str, suffix: str) -> None:
    check_around(prefix, suffix)

    assert around(prefix, "(x|y)*", suffix).matches(
        {"a*": "ab(x|y)*c", "^(a|": "(x|y)*", "^\\Qa|\\E": "a|(x|y)*b", "^a{1,": "a{1,(x|y)*}"}.get(prefix, "(x|y)*")
    )


def test_an_alternation_around_a_template_must_be_grouped_too() -> None:
    with pytest.raises(ValueError, match="not grouped"):
        check_around("^a|", "$")


def test_a_long_value_compiles_although_no_one_may_write_so_much() -> None:
    value = "x" * 5000

    assert around("^a", value, "$").matches("a" + value)


def test_lone_surrogates_are_no_error() -> None:
    matchers = [pattern("^p.*$"), pattern("p*"), around("^p", "\ud800", "$")]

    assert [matcher.matches("p\ud800") for matcher in matchers] == [True, True, True]


@pytest.mark.parametrize(
    ("written", "kind"), [("a", Exact), ("*", Any_), ("a*", Glob), ("^a$", Pattern)], ids=["text", "star", "glob", "re"]
)
def test_a_matcher_shows_what_was_written(written: str, kind: type) -> None:
    matcher = pattern(written)

    assert isinstance(matcher, kind)
    assert str(matcher) == written


def _naive_glob(parts: str, value: str) -> bool:
    """Try every way to fill the first star."""
    if not parts:
        return not value
    if parts[0] == "*":
        return any(_naive_glob(parts[1:], value[cut:]) for cut in range(len(value) + 1))
    return bool(value) and value[0] == parts[0] and _naive_glob(parts[1:], value[1:])


@given(st.text("ab*", max_size=7), st.text("ab", max_size=9))
def test_a_glob_agrees_with_trying_every_way(written: str, value: str) -> None:
    assert glob(written).matches(value) is _naive_glob(written, value)


@given(st.text())
def test_arbitrary_text_is_a_pattern_or_a_value_error(text: str) -> None:
    for written in (text, f"^{text}$"):
        try:
            matcher = pattern(written)
        except ValueError:
            continue
        matcher.matches(text)


def test_there_is_one_matcher_for_everything() -> None:
    assert pattern("*") is ANY


@pytest.mark.parametrize(
    ("outer", "inner", "does"),
    [
        ("*", "^a.*$", True), ("a-*", "a-b", True), ("a-*", "a-*", True), ("a-*", "a-b*", True), ("a-*", "a*", False),
        ("a-*", "*", False), ("*-a", "b*-a", True), ("a*c", "a*b*c", True), ("a*b*c", "a*c", False),
        ("^a.*$", "ab", True), ("^a.*$", "a*", False), ("^a.*$", "^a.*$", True), ("^a.*$", "^ab$", False),
        ("a", "^a$", False), ("a", "a", True), ("a", "b", False), ("", "", True),
    ],
)  # fmt: skip
def test_one_pattern_covers_another_only_where_that_is_plain(outer: str, inner: str, does: bool) -> None:
    assert covers(outer, inner) is does


_GLOBS = st.text("ab*", max_size=6)


@given(_GLOBS, _GLOBS, st.text("ab", max_size=6))
def test_what_a_covered_pattern_matches_the_covering_one_matches_too(outer: str, inner: str, text: str) -> None:
    if covers(outer, inner) and pattern(inner).matches(text):
        assert pattern(outer).matches(text)
