"""SEMANTICS, "Templates": `prefix{{expr}}suffix` over the user's traits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.expressions import ExpressionError
from teleport.access.patterns import Exact
from teleport.access.templates import check_pattern, template

TRAITS = {
    "logins": ("ann", "root"),
    "email": ("Ann@Example.com", "bob@example.com", "no address"),
    "groups": ("team-web", "team-db", "other"),
    "any key": ("odd",),
    "twice": ("a", "A"),
    "empty": (),
    "star": ("*",),
}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        pytest.param("root", ["root"], id="text without braces is itself"),
        pytest.param("", [""], id="so is no text"),
        pytest.param("{{internal.logins}}", ["ann", "root"], id="several values expand to several entries"),
        pytest.param("{{external.logins}}", ["ann", "root"], id="external reads the same traits"),
        pytest.param("{{ internal.logins }}", ["ann", "root"], id="blanks within the braces do not count"),
        pytest.param('{{external["any key"]}}', ["odd"], id="a key in brackets may be any text"),
        pytest.param("{{external[`any key`]}}", ["odd"], id="also in backquotes"),
        pytest.param('{{internal["logins"]}}', ["ann", "root"], id="brackets on internal too"),
        pytest.param("x-{{internal.logins}}-y", ["x-ann-y", "x-root-y"], id="prefix and suffix"),
        pytest.param("{{internal.missing}}", [], id="a missing trait drops the entry"),
        pytest.param("x-{{internal.missing}}", [], id="prefix and all"),
        pytest.param("{{internal.empty}}", [], id="a trait without values is a missing one"),
        pytest.param("{{strings.lower(internal.twice)}}", ["a"], id="duplicates are removed"),
        pytest.param("{{email.local(external.email)}}", ["Ann", "bob"], id="email.local, dropping what is no address"),
        pytest.param("{{strings.lower(email.local(external.email))}}", ["ann", "bob"], id="functions nest"),
        pytest.param("{{strings.upper(internal.logins)}}", ["ANN", "ROOT"], id="strings.upper"),
        pytest.param(
            '{{regexp.replace(internal.groups, "^team-(.*)$", "$1")}}', ["web", "db"],
            id="regexp.replace drops values that do not match",
        ),
        pytest.param(
            '{{regexp.replace(internal.groups, "^team-(?P<t>.*)$", "${t}x")}}', ["webx", "dbx"],
            id="regexp.replace with a named group",
        ),
        pytest.param("{{internal.star}}", ["*"], id="a star from a trait is only a text"),
    ],
)  # fmt: skip
def test_a_template_expands(text: str, expanded: list[str]) -> None:
    assert list(template(text).expand(TRAITS)) == expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{{internal.logins", "unbalanced braces", id="braces that do not close"),
        pytest.param("internal.logins}}", "unbalanced braces", id="braces that do not open"),
        pytest.param("}}{{", "unbalanced braces", id="braces the wrong way round"),
        pytest.param("{{internal.a}}-{{internal.b}}", "more than one expression", id="two expressions"),
        pytest.param("{{}}", "ends too early", id="nothing within"),
        pytest.param("{{logins}}", "unknown name logins", id="a name that is neither internal nor external"),
        pytest.param("{{internal}}", "internal needs a key", id="no trait named"),
        pytest.param("{{internal.a.b}}", "internal takes one key", id="a trait of a trait"),
        pytest.param('{{"root"}}', "reads no trait", id="a text that reads no trait"),
        pytest.param('{{strings.upper("root")}}', "reads no trait", id="a function that reads no trait"),
        pytest.param('{{set("root")}}', "cannot be used in a template", id="a function of label expressions"),
        pytest.param('{{labels_matching("x")}}', "cannot be used in a template", id="labels in a template"),
        pytest.param("{{user.metadata.name}}", "unknown name", id="a name of label expressions"),
        pytest.param("{{email.locale(internal.a)}}", "unknown function email.locale", id="a misspelt function"),
        pytest.param("{{email.local(internal.a, internal.b)}}", "takes 1 arguments, not 2", id="too many arguments"),
        pytest.param("{{regexp.replace(internal.a, internal.b, \"\")}}", "must be a quoted text", id="a regex from a trait"),
        pytest.param('{{regexp.replace(internal.a, "a", internal.b)}}', "must be a quoted text", id="a replacement from one"),
        pytest.param('{{regexp.replace(internal.a, "(", "")}}', "missing )", id="a regex that is none"),
        pytest.param("{{contains(internal.a, internal.b)}}", "cannot be used in a template", id="a truth, not texts"),
        pytest.param("{{!internal.a}}", "a list where true or false", id="a negation"),
    ],
)  # fmt: skip
def test_what_is_no_template_says_why(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as error:
        template(text)

    assert message in error.value.message


def test_a_misspelt_function_has_the_likely_right_one() -> None:
    with pytest.raises(ExpressionError) as error:
        template("{{email.locale(internal.a)}}")

    assert error.value.hint == "did you mean email.local?"


@pytest.mark.parametrize(
    ("text", "value", "matches"),
    [
        pytest.param("{{internal.star}}", "*", True, id="a star from a trait matches a star"),
        pytest.param("{{internal.star}}", "prod", False, id="and nothing else"),
        pytest.param("{{internal.missing}}", "", True, id="a missing trait is the empty text"),
        pytest.param("x{{internal.missing}}", "", True, id="prefix and all"),
        pytest.param("x{{internal.missing}}", "x", False, id="so the prefix is gone"),
        pytest.param("{{internal.logins}}-*", "root-7", True, id="a star beside a template is a star"),
        pytest.param("{{internal.star}}-*", "x-7", False, id="beside which the trait stays a text"),
        pytest.param("^{{internal.logins}}[0-9]$", "root7", True, id="an expression around a template"),
        pytest.param("^{{internal.star}}[0-9]$", "7", False, id="in which the trait stays a text"),
        pytest.param("^{{internal.logins}}", "^root", True, id="a caret without a dollar is a text"),
    ],
)
def test_a_template_in_a_label_value_matches(text: str, value: str, matches: bool) -> None:
    found = template(text).matchers(TRAITS)

    assert any(matcher.matches(value) for matcher in found) is matches


@given(st.text())
def test_a_trait_value_as_a_label_matches_only_itself(value: str) -> None:
    assert template("{{internal.x}}").matchers({"x": (value,)}) == (Exact(value),)


@given(st.lists(st.text(), max_size=4))
def test_an_expansion_is_the_values_in_order_without_duplicates(values: list[str]) -> None:
    expanded = template("<{{internal.x}}>").expand({"x": tuple(values)})

    assert list(expanded) == [f"<{value}>" for value in dict.fromkeys(values)]


@given(st.text() | st.text("{}internal.lg \"`()[],$\\'", max_size=30).map(lambda text: f"{{{{{text}}}}}"))
def test_arbitrary_text_is_a_template_or_an_expression_error(text: str) -> None:
    try:
        parsed = template(text)
    except ExpressionError:
        return
    parsed.expand(TRAITS)


@pytest.mark.parametrize("text", ["a[{{internal.x}}]", "*{{internal.x}}*", "^({{internal.x}}|all)$", "prod"])
def test_a_label_value_that_compiles_with_any_trait_is_accepted(text: str) -> None:
    check_pattern(text)


@pytest.mark.parametrize("text", ["^[{{internal.x}}]$", r"^\{{internal.x}}$", "^a|{{internal.x}}$", "^a|b$", "^($"])
def test_a_label_value_that_might_not_compile_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        check_pattern(text)
