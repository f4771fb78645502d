"""What holds for every text: reading it never fails otherwise than by problems, whose places lie in the file."""

import json
import random
import re
from datetime import date
from pathlib import Path
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from teleport.resources.load import load
from teleport.resources.yaml_reader import read
from tests.fuzz.targets.policy import assert_places_lie_inside

CORPUS = [
    path.read_text()
    for path in sorted((Path(__file__).parent / "corpus").glob("**/*"))
    if path.suffix in (".yaml", ".json")
]
PIECES = [
    "kind: role\n", "kind: user\nversion: v2\n", "version: v7\n", "metadata: {name: x}\n", "spec:\n", "  allow:\n",
    "    logins: [root]\n", "a", ":", ": ", "- ", "\n", "  ", "\t", "[", "]", "{", "}", ",", "? ", "&a ", "*a", "!x ",
    "|", ">-", "'", '"', "#", "%YAML 1.1\n", "---\n", "...\n", "<<", "\\", "\\u", "\x00", "\r\n", "\r", "\u2028",
    "\u202e", "\ufeff", "é", "😀", "{{x}}", "yes", "1.10", "~", "0x", "status:", "null", "@", "`", "\x85",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=30).map("".join)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A file of the corpus in which something was cut out, doubled or put in."""
    text = draw(st.sampled_from(CORPUS))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(chance.randint(1, 3)):
        start, end = sorted(chance.randint(0, len(text)) for _ in range(2))
        end = min(end, start + 20)
        text = text[:start] + chance.choice(["", text[start:end] * 2, chance.choice(PIECES)]) + text[end:]
    return text


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf\xff")
@example(b"\xff\xfea\x00")
def test_any_bytes_end_in_problems_inside_the_file(data: bytes) -> None:
    assert_places_lie_inside(data, load(data, file="f").problems)


@given(texts)
@example("a: 'x\n\n")
@example("{\r\n")
@example('"\\u12')
@example("- - - [\n")
@example("a: b\r\n\tc")
@example("\ufeff\ufeff[")
def test_any_text_ends_in_problems_inside_the_file(text: str) -> None:
    data = text.encode("utf-8", "replace")

    assert_places_lie_inside(data, load(data, file="f").problems)


@given(damaged())
def test_a_damaged_policy_file_ends_in_problems_inside_the_file(text: str) -> None:
    data = text.encode("utf-8", "replace")

    assert_places_lie_inside(data, load(data, file="f").problems)


_OWN_WAYS = re.compile(
    r"[-+]?0[xob_][0-9a-fA-F_]*|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|[-+.]?\.(?:inf|Inf|INF|nan|NaN|NAN)"
    r"|[-+]?[0-9._]*[eE]?[-+]?[0-9._]*"
)
"""Plain scalars that the other reader takes for numbers and ours for text, or the other way round."""


def alike(ours: Any, theirs: Any) -> bool:
    """Equal, apart from the documented differences: words and numbers of YAML 1.1, dates, and keys as written."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return len(ours) == len(theirs) and all(map(alike, ours.values(), theirs.values()))
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(alike, ours, theirs))
    if isinstance(ours, bool) and isinstance(theirs, str):
        return theirs.lower() in (("yes", "on") if ours else ("no", "off"))
    if isinstance(ours, str) and isinstance(theirs, int | float):
        return _OWN_WAYS.fullmatch(ours) is not None
    if isinstance(ours, str) and isinstance(theirs, date):
        return ours.startswith(str(theirs.year))
    return bool(ours == theirs) and type(ours) is type(theirs)


PLAIN = [
    "yes", "No", "ON", "off", "true", "FALSE", "~", "null", "x", "7", "-7", "007", "1.10", "1e3", ".5", "1.", "0o17",
    "0x1F", "0b1", "1_000", "12:30", ".inf", ".NaN", "2030-01-31", "a-b", "a:b", "a#b", "x=y", "é", "😀", "^a$",
]  # fmt: skip
scalars = (
    st.sampled_from(PLAIN)
    | st.sampled_from(PLAIN).map(repr)
    | st.text(st.characters(categories=["L", "N", "P"]), max_size=5).map(
        lambda text: json.dumps(text, ensure_ascii=False)
    )
)


def flow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.dictionaries(scalars, inner, max_size=3)
    return st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]") | pairs.map(
        lambda mapping: "{" + ", ".join(f"{key}: {item}" for key, item in mapping.items()) + "}"
    )


LINES = ["- {}", "- k: {}", "- &a {}\n- *a", "- >-\n  {}\n  {}", "- |\n  {}", "-\n  - {} # note", "- ? {}"]
values = st.recursive(scalars, flow, max_leaves=6)
lines = st.lists(st.tuples(st.sampled_from(LINES), values), min_size=1, max_size=4).map(
    lambda drawn: "".join(line.replace("{}", item) + "\n" for line, item in drawn)
)


@given(lines)
@example("- [yes, No, 1.10, 0o7, 0x1F, 2030-01-31, ~, '']\n")
@example("- a: 'it''s'\n  b: \"\\x41\\n\"\n  c: |+\n    x\n\n- >\n  folded\n  text\n\n  more\n")
def test_what_another_safe_reader_accepts_too_means_the_same(text: str) -> None:
    documents, problems = read(text.encode(), file="f")
    assume(not problems and not any(document.problems for document in documents))
    try:
        theirs = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError):
        theirs = None
    assume(theirs is not None)

    assert alike(documents[0].value, theirs), (documents[0].value, theirs)
