"""Reading YAML: what it means, where everything stands, and that no text harms the reader."""

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from teleport.resources.yaml_reader import MAX_DEPTH, MAX_DOCUMENT, MAX_DOCUMENTS, MAX_FILE, MAX_NODES, Marks, read


def value(text: str) -> Any:
    """The one document of a text that has no problem."""
    documents, problems = read(text.encode(), file="f")
    assert problems == []
    assert documents[0].problems == ()
    assert len(documents) == 1
    return documents[0].value


def problems(data: str | bytes) -> list[tuple[int, int, str]]:
    """Line, column and message of everything wrong with a text."""
    documents, found = read(data.encode() if isinstance(data, str) else data, file="f")
    every = [*(one for document in documents for one in document.problems), *found]
    return [(one.line, one.column, one.message) for one in sorted(every)]


def marks(text: str) -> Marks:
    return read(text.encode(), file="f")[0][0].marks


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("yes", True), ("Yes", True), ("ON", True), ("no", False), ("Off", False), ("FALSE", False), ("yEs", "yEs"),
        ("y", "y"), ("n", "n"), ('"yes"', "yes"), ("'no'", "no"), ("!!str yes", "yes"), ("!!str", ""),
        ("~", None), ("", None), ("Null", None), ('""', ""), ("nULL", "nULL"),
        ("7", 7), ("-7", -7), ("+7", 7), ("0", 0), ("007", "007"), ("0o7", "0o7"), ("0x1F", "0x1F"), ("1_000", "1_000"),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1.", "1."), (".", "."), ("-", ["-"]), ("1.2.3", "1.2.3"),
        ("9" * 18, int("9" * 18)), ("9" * 19, "9" * 19), ("9" * 5000, "9" * 5000), ("1e999", "1e999"), (".inf", ".inf"),
        (".nan", ".nan"), ("2030-01-31", "2030-01-31"), ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        ("12:30:45", "12:30:45"), ("=", "="), ("no one", "no one"),
    ],
)  # fmt: skip
def test_a_plain_value_means_what_the_reader_says(written: str, meant: object) -> None:
    if written == "-":
        written, meant = "- '-'", ["-"]

    found = value(f"k: {written}") if not isinstance(meant, list) else {"k": value(written)}

    assert found == {"k": meant}
    assert type(found["k"]) is type(meant)


@pytest.mark.parametrize("written", ["yes", "1", "null", "~", "1.5", "on", "2030-01-31", '"1"', "''", "0x1F"])
def test_a_key_is_text_as_written(written: str) -> None:
    assert list(value(f"{written}: v")) == [written.strip("\"'")]


def test_every_key_and_value_has_a_place() -> None:
    text = "a:\n  - b: c\n    d: [e, f]\n# note\ng: >-\n  h\n"

    found = marks(text)

    assert found.find(()) == (1, 1)
    assert found.find(("a",)) == (2, 3)
    assert found.find(("a",), key=True) == (1, 1)
    assert found.find(("a", 0, "b")) == (2, 8)
    assert found.find(("a", 0, "d", 1)) == (3, 12)
    assert found.find(("a", 0, "d"), key=True) == (3, 5)
    assert found.find(("g",)) == (5, 4)


def test_what_is_absent_stands_where_its_nearest_parent_does() -> None:
    found = marks("a:\n  b: c\n")

    assert found.find(("a", "x", "y")) == (2, 3)
    assert found.find(("a", "x"), key=True) == (2, 3)


def test_what_yaml_reads_as_something_else_is_remembered_as_written() -> None:
    found = marks("a: No\nb: 1.10\nc: 'x'\nd: x\n")

    assert [found.written((key,)) for key in "abcd"] == ["No", "1.10", "", ""]


def test_columns_count_characters_and_lines_end_with_lf_or_crlf() -> None:
    found = marks("é: 😀\r\nb: {c: d}\r\n")

    assert found.find(("é",)) == (1, 4)
    assert found.find(("b", "c")) == (2, 8)


def test_a_byte_order_mark_is_not_part_of_the_text() -> None:
    assert read(b"\xef\xbb\xbfkind: role", file="f")[0][0].value == {"kind": "role"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from([None, 2, "\t"]),
)
@example({"": [], "😀": "\U0001f600/\\"}, "\t")
@example({"a": "\x00\x7f\u202e"}, None)
@example({"a": "\r\n\u2028"}, 2)
def test_json_means_the_same(body: Any, indent: int | str | None) -> None:
    text = json.dumps({"body": body}, indent=indent)

    assert value(text) == {"body": body}


def test_json_with_slashes_escaped_means_the_same() -> None:
    assert value(r'{"a": "\/dev\/null", "b": "\\/"}') == {"a": "/dev/null", "b": "\\/"}


def test_half_a_surrogate_pair_is_a_problem() -> None:
    assert problems(r'{"a": "\ud83d"}') == [(1, 10, "an escape that is no character")]


DUPLICATES = {
    "plain": ("a: 1\nb: 2\na: 3\n", 3, 1),
    "quoted": ('a: 1\n"a": 2\n', 2, 1),
    "flow": ("{a: 1, a: 2}", 1, 8),
    "json": ('{"a": {"b": 1, "b": 2}}', 1, 16),
    "nested": ("x:\n  - a: 1\n    a: 2\n", 3, 5),
    "escaped": ('a: 1\n"\\x61": 2\n', 2, 1),
    "within an anchor": ("x: &x {a: 1, a: 2}\ny: *x\n", 1, 14),
}


@pytest.mark.parametrize(("text", "line", "column"), DUPLICATES.values(), ids=DUPLICATES.keys())
def test_a_key_written_twice_is_a_problem_however_it_is_written(text: str, line: int, column: int) -> None:
    (found,) = problems(text)

    assert found[:2] == (line, column)
    assert found[2].startswith("duplicate key ")


REFUSED = {
    "merge key": ("a: &a {x: 1}\nb:\n  <<: *a\n", 3, 3, "merge key <<"),
    "alias to another document": ("a: &a x\n---\nb: *a\n", 3, 4, "alias *a has no anchor in this document"),
    "alias to itself": ("a: &a [*a]\n", 1, 8, "alias *a has no anchor in this document"),
    "alias before its anchor": ("a: *b\nb: &b x\n", 1, 4, "alias *b has no anchor in this document"),
    "alias as key": ("a: &a x\n*a : y\n", 2, 1, "a key must be text, not an alias"),
    "anchor set twice": ("- &a x\n- &a y\n", 2, 3, "anchor &a is set twice"),
    "anchor within itself": ("a: &a [&a x]\n", 1, 8, "anchor &a is set twice"),
    "list as key": ("? [a, b]\n: c\n", 1, 3, "a key must be text, not a mapping or a list"),
    "mapping as key": ("{{a: b}: c}", 1, 2, "a key must be text, not a mapping or a list"),
    "python tag": ("a: !!python/object:os.system x\n", 1, 4, "tag !!python/object:os.system"),
    "binary tag": ("a: !!binary aGVsbG8=\n", 1, 4, "tag !!binary"),
    "timestamp tag": ("a: !!timestamp 2030-01-31\n", 1, 4, "tag !!timestamp"),
    "set": ("a: !!set {x, y}\n", 1, 4, "tag !!set"),
    "local tag": ("a: !include secrets.yaml\n", 1, 4, "tag !include"),
    "empty tag": ("a: ! yes\n", 1, 4, "tag !"),
    "number tag": ("a: !!int 7\n", 1, 4, "tag !!int"),
    "tag on a key": ("!!binary a: x\n", 1, 1, "tag !!binary"),
    "tag on a list": ("a: !!omap [x: y]\n", 1, 4, "tag !!omap"),
    "tag directive": ("%TAG ! tag:example.com,2000:\n---\na: !x y\n", 3, 4, "tag tag:example.com,2000:x"),
    "newer yaml": ("%YAML 2.0\n---\na: b\n", 1, 1, "a version of YAML other than 1.1 and 1.2"),
    "not utf-8": (b"a: b\nc: d\xff\xfe\n", 2, 5, "not UTF-8 text"),
    "utf-16": ("a: b".encode("utf-16"), 1, 1, "not UTF-8 text"),
    "surrogate in utf-8": (b"a: \xed\xa0\x80\n", 1, 4, "not UTF-8 text"),
    "nul": (b"a: b\nc: \x00\n", 2, 4, "control character U+0000"),
    "escape sequence": ("a: b\x1b[31m\n", 1, 5, "control character U+001B"),
    "delete": ("a: \x7f\n", 1, 4, "control character U+007F"),
    "c1 control": ("a: \x9b31m\n", 1, 4, "control character U+009B"),
    "lone carriage return": ("# a comment\rb: c\n", 1, 12, "line end U+000D, which editors do not show"),
    "line separator": ("# a comment\u2028b: c\n", 1, 12, "line end U+2028, which editors do not show"),
    "next line": ("# a comment\x85b: c\n", 1, 12, "line end U+0085, which editors do not show"),
    "override in a comment": ("a: b # \u202eeurt :c\n", 1, 8, "invisible character U+202E"),
    "isolate in a value": ("a: b\u2066c\n", 1, 5, "invisible character U+2066"),
    "zero width space": ("logins: [ro\u200bot]\n", 1, 12, "invisible character U+200B"),
    "joiner between ascii letters": ("logins: [ro\u200dot]\n", 1, 12, "invisible character U+200D"),
    "byte order mark within": ("a: b\ufeff\n", 1, 5, "invisible character U+FEFF"),
    "tag character": ("a: b\U000e0061\n", 1, 5, "invisible character U+E0061"),
    "tab for indentation": ("a:\n\tb: c\n", 2, 1, "YAML is indented with spaces, this is a tab"),
}


@pytest.mark.parametrize(("data", "line", "column", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_policy_must_not_contain_is_refused_at_its_place(
    data: str | bytes, line: int, column: int, message: str
) -> None:
    found = problems(data)

    assert (line, column, message) in found
    assert len(found) == 1


@pytest.mark.parametrize("text", ["a: 👩\u200d💻", "a: می\u200cخواهم", 'a: "\\u202E"', "a: Zoë", "a: '\u00a0'", "# ¬"])
def test_writing_of_every_kind_is_read_where_it_shows_what_it_is(text: str) -> None:
    assert problems(text) == []


def laughs(width: int, levels: int) -> str:
    lines = ["a0: &a0 [" + ", ".join(["lol"] * width) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * width) + "]" for n in range(1, levels)]
    return "\n".join(lines)


TOO_LONG = f"document larger than {MAX_DOCUMENT} characters"
HOSTILE = {
    "a billion laughs": (laughs(9, 12), f"more than {MAX_NODES} values in one document"),
    "wide laughs": (laughs(400, 3), f"more than {MAX_NODES} values in one document"),
    "laughs in many documents": ("---\n".join([laughs(300, 2) + "\n"] * 100), "more than 2000000 values in one file"),
    "deep lists": ("[" * 100_000, f"nested deeper than {MAX_DEPTH} levels"),
    "deep mappings": ("{a: " * 100_000, f"nested deeper than {MAX_DEPTH} levels"),
    "deep blocks": ("- " * 100_000 + "x", f"nested deeper than {MAX_DEPTH} levels"),
    "deep keys": ("? " * 100_000 + "x", "a key must be text, not a mapping or a list"),
    "many values": ("- x\n" * (MAX_NODES + 1), f"more than {MAX_NODES} values in one document"),
    "a long text": ("a: " + "x" * (MAX_DOCUMENT + 1), TOO_LONG),
    "a long comment": ("a: b\n#" + "x" * (MAX_DOCUMENT + 1) + "\nc: d\n", TOO_LONG),
    "a long key": ("x" * (MAX_DOCUMENT + 1) + ": a", TOO_LONG),
    "many documents": ("--- a\n" * 1_000_000, f"more than {MAX_DOCUMENTS} documents in one file"),
    "many empty documents": ("---\n" * 1_000_000, f"more than {MAX_DOCUMENTS} documents in one file"),
    "a key written often": ("a: b\n" * 50_000, "this document has more problems than are shown"),
    "many tags": ("- !x y\n" * 50_000, "this document has more problems than are shown"),
    "many anchors": ("".join(f"- &a{n} x\n" for n in range(50_000)), ""),
    "many controls": ("\x01" * 1_000_000, "control character U+0001"),
    "many invisible characters": ("\u200b" * 1_000_000, "invisible character U+200B"),
    "many brackets that never close": ("[a, " * 30 + "b, " * 30_000, "a value is expected here"),
    "a file of spaces": (" " * 4_000_000, TOO_LONG),
    "a file of line ends": ("\n" * 4_000_000, TOO_LONG),
    "a huge file": ("#" * (MAX_FILE + 1), f"file of {MAX_FILE + 1} bytes is larger than {MAX_FILE}"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_ends_in_a_clear_problem_within_bounded_time_and_memory(text: str, message: str) -> None:
    data = text.encode()
    started = time.process_time()
    tracemalloc.start(1)

    found = [text for _, _, text in problems(data)]

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found[-1:] == ([message] if message else [])
    assert len(found) <= 250
    assert time.process_time() - started < 20
    assert peak < 400 << 20
