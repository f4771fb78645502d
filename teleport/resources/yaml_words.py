"""What libyaml complains of, in words for people who write policy: what is wrong here, and what was probably meant."""

from typing import Any, Final

from ruamel.yaml.error import MarkedYAMLError

__all__ = ["TEMPLATE_HINT", "explain_yaml"]

TEMPLATE_HINT: Final = 'a template needs quotes: "{{internal.logins}}"'
_QUOTES: Final = "put it in quotes"

_WORDS: Final = (
    ("cannot start any token", "a value cannot begin with this character", _QUOTES),
    ("expected alphabetic or numeric character", "* and & have a meaning of their own in YAML", f'{_QUOTES}: "*"'),
    ("mapping values are not allowed", "a second colon in one value", "quote the value, or mend the indentation"),
    ("could not find expected ':'", "a line that is no `key: value`", "add the colon, or close the quotes before it"),
    ("unexpected end of stream", "the file ends within quotes", "close them"),
    ("unexpected document indicator", "the document ends within quotes", "close them"),
    ("did not find expected key", "a line that does not belong here", "align it with the others of its block"),
    ("did not find expected '-' indicator", "a line that does not belong here", "align it with the list's other items"),
    ("sequence entries are not allowed", "a list cannot begin here", "begin it on a line of its own"),
    ("did not find expected ',' or ']'", "a list in brackets that is not closed", "close it with ]"),
    ("did not find expected ',' or '}'", "a mapping in braces that is not closed", "close it with }"),
    ("did not find expected node content", "a value is expected here", "the one before may lack a closing bracket"),
    ("unknown escape character", "an unknown escape in double quotes", "use single quotes, or double the backslash"),
    ("did not find expected hexdecimal number", "an incomplete escape in double quotes", "use single quotes"),
    ("invalid Unicode character escape", "an escape that is no character", ""),
    ("incompatible YAML document", "a version of YAML other than 1.1 and 1.2", "remove the %YAML line"),
)  # fmt: skip

_AT_START: Final = ("could not find expected ':'", "unexpected end of stream", "unexpected document indicator")
"""Complaints that are better shown where the thing began than where the reader gave up."""


def explain_yaml(error: MarkedYAMLError, text: str) -> tuple[Any, str, str]:
    """The mark, the message and the hint for an error of libyaml."""
    complaint = str(error.problem or error.context or "not YAML")
    at_start = any(part in complaint for part in _AT_START)
    mark = (error.context_mark if at_start else None) or error.problem_mark or error.context_mark
    line = text.splitlines()[mark.line : mark.line + 1] if mark else []
    if mark and text[mark.index : mark.index + 1] == "\t":
        return mark, "YAML is indented with spaces, this is a tab", "replace it by spaces"
    if line and "{{" in line[0] and '"{{' not in line[0]:
        return mark, "braces open a mapping in YAML", TEMPLATE_HINT
    for part, message, hint in _WORDS:
        if part in complaint:
            return mark, message, hint
    return mark, f"YAML: {complaint}", ""
