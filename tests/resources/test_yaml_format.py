"""The layout of policy files: what is said stays, comments stay with what they are about, and it is laid out once."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.core.errors import Invalid, Refused
from teleport.resources.kinds import KINDS
from teleport.resources.load import load
from teleport.resources.yaml_format import WIDTH, formatted
from teleport.resources.yaml_reader import read

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples/policies").rglob("*.yaml"))
UPSTREAM = sorted((Path(__file__).parent / "corpus/upstream").glob("*.yaml"))

HEAD = "kind: role\nversion: v7\nmetadata:\n  name: x\n"
ROLE = f"{HEAD}spec: {{}}\n"


def laid_out(text: str) -> str:
    return formatted(text.encode(), file="x.yaml")


def spec(text: str) -> str:
    """What becomes of a role with this specification."""
    return laid_out(HEAD + text).removeprefix(HEAD)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_example_policies_are_laid_out_already(path: Path) -> None:
    assert formatted(path.read_bytes(), file=path.name) == path.read_text()


@pytest.mark.parametrize("path", UPSTREAM, ids=lambda path: path.name)
def test_files_of_the_format_can_be_laid_out(path: Path) -> None:
    text = formatted(path.read_bytes(), file=path.name)

    before, after = (load(data, file="x").resources for data in (path.read_bytes(), text.encode()))
    assert [one.to_dict() for one in after] == [one.to_dict() for one in before]


@pytest.mark.parametrize("cls", KINDS.values(), ids=lambda cls: cls.kind)
def test_the_example_of_each_kind_is_laid_out_already(cls: Any) -> None:
    assert laid_out(cls.example) == cls.example


def test_the_parts_of_a_document_come_in_the_formats_order_each_with_its_comments() -> None:
    found = laid_out(
        "# the file\n\nspec:\n  # of the spec\n  allow: {}\n# about the version\nversion: v7  # newest\n"
        "metadata:\n  labels: {a: b}\n  # about the name\n  name: x\n# about the kind\nkind: role\n# the end\n"
    )

    assert found == (
        "# the file\n# about the kind\nkind: role\n# about the version\nversion: v7  # newest\nmetadata:\n"
        "  # about the name\n  name: x\n  labels: {a: b}\n\nspec:\n  # of the spec\n  allow: {}\n# the end\n"
    )


def test_kinds_are_spelled_as_the_format_does() -> None:
    assert laid_out("kind: cap\nversion: v2\nspec: {}\n").startswith("kind: cluster_auth_preference\n")
    assert laid_out('kind: "cap"\nversion: v2\nspec: {}\n').startswith("kind: cluster_auth_preference\n")


def test_lists_are_indented_by_two_and_mappings_too() -> None:
    found = spec("spec:\n    allow:\n        logins:\n        - a\n        -   b\n        rules:\n"
                 "        -   resources: [role]\n            verbs:\n               - list\n")  # fmt: skip

    assert found == (
        "spec:\n  allow:\n    logins:\n      - a\n      - b\n    rules:\n      - resources: [role]\n"
        "        verbs:\n          - list\n"
    )


def test_a_comment_keeps_its_distance_or_gets_two_spaces() -> None:
    found = spec("spec:\n    allow: # one\n        logins: [a]     # far\n        db_users: [a#b]  # two\n")

    assert found == "spec:\n  allow:  # one\n    logins: [a]     # far\n    db_users: [a#b]  # two\n"


def test_a_comment_at_the_end_of_a_block_stays_in_it() -> None:
    text = (
        "spec:\n  allow:\n    logins:\n      - a\n      # - b\n    # node_labels: {}\n  # deny: {}\n"
        "  options:\n    lock: strict\n# the end\n"
    )

    assert spec(text) == text


def test_a_comment_between_a_list_without_indentation_and_the_next_key_is_about_the_key() -> None:
    found = spec("spec:\n  allow:\n    logins:\n    - a\n    # people\n    db_users: [b]\n")

    assert "      - a\n    # people\n    db_users: [b]\n" in found


def test_comments_in_brackets_stay_and_the_list_is_written_one_item_a_line() -> None:
    found = spec("spec:\n  allow:\n    logins: [a, # first\n      # now the second\n      b] # both\n")

    assert found.endswith("    logins:  # both\n      - a  # first\n      # now the second\n      - b\n")


def test_what_does_not_fit_a_line_is_written_one_item_a_line() -> None:
    names = [f"somebody-with-a-long-name-{number}" for number in range(9)]

    found = spec(f"spec:\n  allow:\n    logins: [{', '.join(names)}]\n")

    assert found.splitlines()[2:] == ["    logins:", *(f"      - {name}" for name in names)]
    assert max(map(len, found.splitlines())) <= WIDTH


def test_text_of_several_lines_moves_as_it_is() -> None:
    found = laid_out(
        "kind: cap\nversion: v2\nspec:\n     message_of_the_day: |2  # shown\n         two more\n"
        "       none\n\n       end\n     connector_name: >-\n      folded\n      text\n     type: local\n"
    )

    assert found.partition("spec:\n")[2] == (
        "  message_of_the_day: |2  # shown\n      two more\n    none\n\n    end\n  connector_name: >-\n"
        "    folded\n    text\n  type: local\n"
    )


def test_blank_lines_that_belong_to_a_text_stay() -> None:
    text = (
        "kind: cluster_auth_preference\nversion: v2\nspec:\n  message_of_the_day: |+\n    a\n\n\n"
        "---\nkind: cluster_networking_config\nversion: v2\nspec: {}\n"
    )

    assert laid_out(text) == text


def test_empty_lines_between_parts_stay_as_one() -> None:
    assert spec("\n\n\nspec:\n\n\n  allow: {}\n\n\n") == "\nspec:\n\n  allow: {}\n"


def test_documents_are_separated_and_comments_between_them_stay_where_they_are() -> None:
    text = f"# first\n{ROLE}# behind\n---\n# second\n{ROLE.replace('x', 'y')}"

    assert laid_out(text) == text
    assert laid_out(f"---\n{text}...\n---\n# nothing\n") == f"{text}# nothing\n"


def test_line_ends_of_windows_and_a_byte_order_mark_go() -> None:
    assert formatted(b"\xef\xbb\xbf" + ROLE.replace("\n", "\r\n").encode(), file="x") == ROLE


def test_anchors_stay_before_their_aliases() -> None:
    text = "version: v7\nspec:\n  allow:\n    logins: &who [a]\n    db_users: *who\nkind: role\nmetadata: {name: x}\n"

    assert laid_out(text) == text


def test_an_empty_file_and_one_of_comments_alone_stay() -> None:
    assert [laid_out(text) for text in ("", "# a\n", "\n# a\n\n# b\n")] == ["", "# a\n", "# a\n\n# b\n"]


def test_a_file_with_faults_is_refused_with_them() -> None:
    with pytest.raises(Invalid) as refusal:
        spec("spec: {alow: {}}\n")

    (problem,) = refusal.value.problems
    assert (problem.line, problem.hint) == (5, "did you mean allow?")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"%YAML 1.1\n---\n{ROLE}", "how YAML is to be read"),
        (HEAD + 'spec:\n  allow:\n    node_labels:\n      ? "a\n        b"\n      : c\n', "a key of several lines"),
    ],
)
def test_what_cannot_be_laid_out_is_left_as_it_is(text: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        laid_out(text)


# Any layout of any document

WORDS = ["a", "b-1", "é", "x y", "a: b", "# no comment", "{{x}}", "it's", 'say "x"', "yes", "1.10", "", "- a", "|"]
labels = st.dictionaries(st.sampled_from(WORDS[:8]), st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
rules = st.lists(st.just({"resources": ["role"], "verbs": ["list", "read"]}), max_size=2)
documents = st.fixed_dictionaries(
    {
        "kind": st.just("role"),
        "version": st.just("v7"),
        "metadata": st.fixed_dictionaries({"name": st.just("n")}, optional={"labels": st.just({"a": "b"})}),
        "spec": st.fixed_dictionaries(
            {}, optional={"allow": st.fixed_dictionaries({"node_labels": labels, "rules": rules}),
                          "deny": st.just({"logins": ["x", "y"]}),
                          "options": st.just({"lock": "strict", "max_session_ttl": "8h"})},
        ),
    }
)  # fmt: skip


class Writer:
    """Writes documents in as many ways as there are, and remembers the comments."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.comments, self.deepest = chance, 0, 0
        """`deepest` is where a comment may stand: what is indented like text of several lines belongs to that."""

    def maybe(self, chance: float = 0.25) -> bool:
        return self.chance.random() < chance

    def comment(self) -> str:
        self.comments += 1
        return f"# c{self.comments} {self.chance.choice(['', ': x', '- y', '| z'])}".rstrip()

    def end(self) -> str:
        return f"{' ' * self.chance.randint(1, 4)}{self.comment()}" if self.maybe() else ""

    def between(self, indent: int) -> list[str]:
        lines = [""] if self.maybe() else []
        while self.maybe():
            lines.append(" " * self.chance.randint(0, min(indent + 2, self.deepest)) + self.comment())
        self.deepest = 80
        return lines

    def document(self, value: dict[str, Any]) -> str:
        items = list(value.items())
        self.chance.shuffle(items)
        lines = [*self.between(0), *(["---"] if self.maybe() else []), *self.block(dict(items), 0), *self.between(4)]
        return "".join(f"{line}\n" for line in lines)

    def block(self, value: Any, indent: int) -> list[str]:
        """A collection over lines of its own."""
        lines, margin = [], " " * indent
        for key, item in value.items() if isinstance(value, dict) else [("", one) for one in value]:
            lines += self.between(indent)
            head = f"{margin}{self.quoted(key)}:" if isinstance(value, dict) else f"{margin}-"
            if isinstance(item, dict | list) and item and self.maybe(0.7):
                lines.append(head + self.end())
                step = self.chance.randint(0 if head.endswith(":") and isinstance(item, list) else 1, 4)
                lines += self.block(item, indent + step)
            else:
                lines += self.line(head, item, indent)
        return lines

    def line(self, head: str, item: Any, indent: int) -> list[str]:
        if isinstance(item, str) and item.strip() and self.maybe(0.2):
            step = self.chance.randint(1, 4)
            self.deepest = indent
            return [f"{head} {self.chance.choice(['|-', '>-'])}{self.end()}", " " * (indent + step) + item]
        return f"{head} {self.flow(item, indent)}{self.end()}".split("\n")

    def flow(self, item: Any, indent: int) -> str:
        if isinstance(item, str):
            return self.quoted(item)
        parts = (
            [f"{self.quoted(key)}:{self.space(indent)}{self.flow(one, indent)}" for key, one in item.items()]
            if isinstance(item, dict)
            else [self.flow(one, indent) for one in item]
        )
        opened, closed = "{}" if isinstance(item, dict) else "[]"
        return opened + f",{self.space(indent)}".join(parts) + closed

    def space(self, indent: int) -> str:
        return f"{self.end()}\n{' ' * (indent + 1)}" if self.maybe(0.1) else " "

    def quoted(self, text: str) -> str:
        if re.fullmatch(r"[a-zé][a-z0-9_-]*", text) and text != "yes" and self.maybe(0.7):
            return text
        return "'" + text.replace("'", "''") + "'" if self.maybe(0.5) else json.dumps(text, ensure_ascii=False)


@given(st.lists(documents, min_size=1, max_size=2), st.integers(0, 2**32).map(random.Random))
def test_however_a_document_is_written_laying_it_out_keeps_what_it_says_and_every_comment(
    values: list[dict[str, Any]], chance: random.Random
) -> None:
    writer = Writer(chance)
    for number, value in enumerate(values):
        value["metadata"]["name"] = f"n{number}"
    text = "---\n".join([writer.document(value) for value in values])

    found = laid_out(text)

    read_again, faults = read(found.encode(), file="x")
    assert [one.value for one in read_again] == values, faults
    assert sorted(re.findall(r"# c\d+", found)) == sorted(re.findall(r"# c\d+", text))
    assert laid_out(found) == found
    assert [list(one.value) for one in read_again] == [["kind", "version", "metadata", "spec"]] * len(values)
