"""SEMANTICS, "Label expressions" and "where": names, operators, functions, bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.expressions import (
    LABELS,
    MAX_EXPRESSION,
    MAX_NESTING,
    TEMPLATE,
    WHERE,
    ExpressionError,
    Scope,
    compile_expression,
)

SCOPE = Scope(
    user="ann",
    roles=("dev", "audit"),
    traits={"teams": ("web", "db"), "Mail": ("Ann@example.com",), "empty": (), "any key": ("x",)},
    labels={"env": "prod", "team": "web", "team-lead": "bob", "empty": "", "owner": "ann"},
    resource_name="prod-1",
    resource_labels={"env": "prod"},
    attributes={"session.participants": ("ann", "bob"), "session.login": "root"},
)


def holds(text: str) -> Any:
    return compile_expression(text, LABELS).run(SCOPE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param('labels["env"] == "prod"', True, id="a label in brackets"),
        pytest.param('labels.env == "prod"', True, id="a label after a dot"),
        pytest.param('labels[`env`] == "prod"', True, id="a label in backquotes"),
        pytest.param('labels["missing"] == ""', True, id="a missing label is the empty text"),
        pytest.param('labels["env"] != "dev"', True, id="different texts"),
        pytest.param('labels.env == labels.team', False, id="two labels compared"),
        pytest.param('user.metadata.name == labels.owner', True, id="the user's name"),
        pytest.param('contains(user.spec.traits["teams"], labels["team"])', True, id="contains"),
        pytest.param('contains(user.spec.traits.teams, "api")', False, id="contains what is not there"),
        pytest.param('contains(user.spec.traits["missing"], "x")', False, id="a missing trait is the empty set"),
        pytest.param('contains(user.spec.traits["any key"], "x")', True, id="a trait of any name"),
        pytest.param('contains_any(user.spec.traits["teams"], set("api", "db"))', True, id="contains_any"),
        pytest.param('contains_any(user.spec.traits["teams"], set("api"))', False, id="contains_any of none"),
        pytest.param('contains_any(user.spec.traits["teams"], set())', False, id="contains_any of the empty set"),
        pytest.param('contains_all(user.spec.traits["teams"], set("web", "db"))', True, id="contains_all"),
        pytest.param('contains_all(user.spec.traits["teams"], set("web", "api"))', False, id="contains_all but one"),
        pytest.param('contains_all(user.spec.traits["teams"], set())', False, id="contains_all of the empty set is false"),
        pytest.param('contains_all(set(), set())', False, id="also of nothing in nothing"),
        pytest.param('regexp.match(labels["env"], "^p.*$")', True, id="regexp.match on a label"),
        pytest.param('regexp.match(user.spec.traits["teams"], "w*")', True, id="regexp.match with a glob, on a list"),
        pytest.param('regexp.match(user.spec.traits["teams"], "w")', False, id="regexp.match is anchored"),
        pytest.param('regexp.match(user.spec.traits["empty"], "*")', False, id="regexp.match on nothing"),
        pytest.param('contains(regexp.replace(user.spec.traits["teams"], "^w(.*)$", "$1"), "eb")', True, id="regexp.replace"),
        pytest.param('contains(regexp.replace(user.spec.traits["teams"], "^w(.*)$", "$1"), "db")', False, id="which drops"),
        pytest.param('regexp.replace(labels.env, "^x$", "y") == ""', True, id="regexp.replace of a text that does not match"),
        pytest.param('contains(email.local(user.spec.traits["Mail"]), "Ann")', True, id="email.local"),
        pytest.param('contains(strings.lower(email.local(user.spec.traits.Mail)), "ann")', True, id="strings.lower, nested"),
        pytest.param('strings.upper(labels.env) == "PROD"', True, id="strings.upper on a text"),
        pytest.param('strings.replaceall(labels.env, "p", "q") == "qrod"', True, id="strings.replaceall"),
        pytest.param('contains(strings.split(labels.env, "r"), "od")', True, id="strings.split"),
        pytest.param('contains(labels_matching("team*"), "bob")', True, id="labels_matching: values of all such keys"),
        pytest.param('contains(labels_matching("^(env|x)$"), "prod")', True, id="labels_matching with an expression"),
        pytest.param('contains(labels_matching("nothing*"), "")', False, id="labels_matching nothing"),
        pytest.param('labels.env == "prod" && labels.team == "db"', False, id="and"),
        pytest.param('labels.env == "prod" || labels.team == "db"', True, id="or"),
        pytest.param('!(labels.env == "prod")', False, id="not"),
        pytest.param('!!(labels.env == "prod")', True, id="not not"),
        pytest.param('labels.env == "x" && labels.env == "y" || labels.env == "prod"', True, id="and binds closer than or"),
        pytest.param('labels.env == "x" && (labels.env == "y" || labels.env == "prod")', False, id="unless in parentheses"),
        pytest.param('!labels.env == "prod"', False, id="not applies to the comparison"),
        pytest.param('// why\nlabels.env == "prod" // and how', True, id="comments"),
        pytest.param('labels.env == "//"', False, id="no comment within a text"),
        pytest.param('"a\\"b" == `a"b`', True, id="an escaped quote"),
        pytest.param('"a\\\\b\\n" == "a\\\\b\\n"', True, id="escapes"),
        pytest.param('labels.team-lead == "bob"', True, id="a name with a dash"),
    ],
)  # fmt: skip
def test_a_label_expression_says(text: str, value: bool) -> None:
    assert holds(text) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("contains(session.participants, user.metadata.name)", True, id="contains"),
        pytest.param('equals(session.login, "root")', True, id="equals"),
        pytest.param("equals(user.spec.roles, set(\"audit\", \"dev\"))", True, id="equals on lists is of sets"),
        pytest.param('has_prefix(resource.metadata.name, "prod-")', True, id="has_prefix"),
        pytest.param('has_prefix(resource.metadata.name, "dev-")', False, id="has_prefix of something else"),
        pytest.param('resource.metadata.labels["env"] == "prod"', True, id="the resource's labels"),
        pytest.param('contains(user.spec.roles, "audit") && !equals(session.login, "ann")', True, id="and, not"),
        pytest.param('contains(user.spec.traits["teams"], "web")', True, id="the user's traits"),
        pytest.param('equals(session.server_hostname, "")', True, id="what is not known is empty"),
        pytest.param('equals(event.user, user.metadata.name)', False, id="events"),
    ],
)  # fmt: skip
def test_a_condition_says(text: str, value: bool) -> None:
    assert compile_expression(text, WHERE).run(SCOPE) is value


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        pytest.param('user.spec.traits["teams"] == "web"', "compare texts, not lists", "contains", id="== on a list"),
        pytest.param('labels.env != user.spec.traits["teams"]', "compare texts, not lists", "", id="!= on a list"),
        pytest.param('labels.env == (labels.team == "x")', "a text cannot equal true or false", "", id="== on a truth"),
        pytest.param("labels.env", "gives a text; true or false is expected", "", id="a text is no condition"),
        pytest.param('user.spec.traits["teams"]', "gives a list; true or false", "", id="a list is no condition"),
        pytest.param('labels.env && labels.team == "x"', "a text where true or false", "", id="a text is no operand of &&"),
        pytest.param('lables.env == "prod"', "unknown name lables.env", "labels", id="a misspelt name"),
        pytest.param("labels == labels", "labels needs a key", 'labels["name"]', id="labels without a key"),
        pytest.param('labels.a.b == "x"', "labels takes one key", 'labels["a.b"]', id="a key with a dot"),
        pytest.param('resource.metadata.name == "x"', "unknown name resource.metadata.name in a label expression", "", id="a name of conditions"),
        pytest.param('has_prefix(labels.env, "p")', "has_prefix cannot be used in a label expression", "", id="a function of conditions"),
        pytest.param('contain(user.spec.traits.teams, "x")', "unknown function contain", "contains", id="a misspelt function"),
        pytest.param('contains(labels.env, "p")', "must be a list, not a text", "usage", id="contains is not for parts of texts"),
        pytest.param('contains(user.spec.traits.teams)', "takes 2 arguments, not 1", "usage", id="too few arguments"),
        pytest.param('contains(user.spec.traits.a, user.spec.traits.b)', "must be a text, not a list", "usage", id="a list for a text"),
        pytest.param('regexp.match(labels.env, labels.team)', "must be a quoted text", "usage", id="a pattern from a label"),
        pytest.param('regexp.match(labels.env, "^a|b$")', "not grouped", "", id="an ungrouped alternation"),
        pytest.param('regexp.match(labels.env, "^($")', "missing )", "", id="a pattern that is none"),
        pytest.param('regexp.replace(labels.env, "(", "") == ""', "missing )", "", id="an expression that is none"),
        pytest.param('set(user.spec.traits.teams) == ""', "must be a text", "", id="a set of a list"),
        pytest.param('strings.split(labels.env, "") == ""', "needs a separator", "", id="split by nothing"),
        pytest.param('strings.replaceall(labels.env, "", "x") == ""', "needs a text", "", id="replace nothing"),
        pytest.param('regexp["match"](labels.env, "x")', "without brackets", "", id="a function in brackets"),
        pytest.param("labels['env'] == \"x\"", "text stands in double quotes", "", id="single quotes"),
        pytest.param('labels.env == "x" &', "unexpected & at character 19", "", id="one ampersand"),
        pytest.param('labels.env = "x"', "unexpected = at character 12", "", id="one equals sign"),
        pytest.param('labels.env == "x" labels', "unexpected labels at character 19", "", id="two expressions"),
        pytest.param('(labels.env == "x"', "ends too early", "", id="a parenthesis that does not close"),
        pytest.param("", "ends too early", "", id="nothing"),
        pytest.param("// only a comment", "ends too early", "", id="only a comment"),
        pytest.param(r'labels.env == "\d"', r"unknown escape \d", "backquotes", id="an unknown escape"),
        pytest.param('labels.env == "' + "x" * MAX_EXPRESSION + '"', "longer than 4096", "", id="too long"),
    ],
)  # fmt: skip
def test_what_is_no_label_expression_says_why(text: str, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as error:
        compile_expression(text, LABELS)

    assert message in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize(
    "text", ["equals(user.metadata.name, user.spec.roles)", 'labels_matching("x")', 'contains(labels.x, "y")']
)
def test_a_condition_knows_neither_labels_of_hosts_nor_mixed_comparisons(text: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(text, WHERE)


def nested(depth: int) -> str:
    return "(" * depth + 'labels.env == "prod"' + ")" * depth


def test_nesting_is_bounded() -> None:
    deep = "!" * (MAX_NESTING - 2) + '(labels.env == "prod")'

    assert compile_expression(deep, LABELS).run(SCOPE) is True
    with pytest.raises(ExpressionError, match="nested deeper than 32"):
        compile_expression("!!!" + deep, LABELS)


@pytest.mark.parametrize("text", [nested(1500), "!" * 4000 + "x", "strings.upper(" * 280 + "labels.a", "a." * 2000])
def test_no_depth_that_fits_into_an_expression_breaks_the_parser(text: str) -> None:
    try:
        compile_expression(text, LABELS)
    except ExpressionError:
        return
    assert text == nested(1500), "parentheses alone are no depth"


def test_a_long_chain_is_not_deep() -> None:
    chain = " || ".join(['labels.env == "x"'] * 150 + ['labels.env == "prod"'])

    assert holds(chain) is True


PIECES = st.sampled_from(
    ["labels", ".env", '["env"]', "user.spec.traits", "contains(", "set(", ")", "(", ",", "==", "!=", "&&", "||", "!",
     '"prod"', "`x`", " ", "//", "\n", "regexp.match(", "internal.x", "'", "\\", "\u2028", "é"]
)  # fmt: skip


@given(st.text() | st.lists(PIECES, max_size=25).map("".join), st.sampled_from([LABELS, WHERE, TEMPLATE]))
def test_arbitrary_text_gives_an_expression_or_an_expression_error(text: str, environment: Any) -> None:
    try:
        compiled = compile_expression(text, environment)
    except ExpressionError:
        return
    assert compiled.run(SCOPE) in (True, False)


@given(st.text(), st.text())
def test_running_never_fails_whatever_the_labels_and_traits(label: str, trait: str) -> None:
    scope = Scope(user=label, traits={"t": (trait, label)}, labels={"k": label, trait: label})
    texts = [
        'regexp.match(labels.k, "^.*$") || contains(email.local(user.spec.traits.t), labels.k)',
        'contains_any(labels_matching("^.*$"), regexp.replace(user.spec.traits.t, "(.)", "$1$1"))',
        'strings.upper(labels.k) == strings.lower(labels.k) || contains(strings.split(labels.k, "a"), "")',
    ]

    for text in texts:
        assert compile_expression(text, LABELS).run(scope) in (True, False)
