"""What the documentation shows of commands that need no cluster is what they print."""

import itertools
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click
import pytest

from teleport.access.environments import WHERE
from teleport.access.options import Conditions
from teleport.cli import tctl as tctl_program
from teleport.cli import tsh as tsh_program
from teleport.cli.tctl_commands import access, policy_plan
from tests.builders import FakeClock
from tests.cli.programs import tctl
from tests.cli.shop import COMMITS, shop
from tests.gitops.test_revision import commit, git

ROOT: Final = Path(__file__).resolve().parents[2]
_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HISTORY: Final = "history.md"
"""Its commands are about a repository of their own."""
_OFFLINE: Final = ("tctl access ", "tctl policy validate ")
_DONE_AS_A_WHOLE: Final = ("first-repository.md", _HISTORY)
"""Pages that another test follows from the beginning."""


def examples() -> Iterator[tuple[str, str, str]]:
    """Page, command and output of everything that a page shows and that can be run here."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        for command, output in _shown(page):
            if command.startswith(_OFFLINE) and page.name not in _DONE_AS_A_WHOLE:
                yield page.name, command, output


def _shown(page: Path) -> Iterator[tuple[str, str]]:
    """Command and output of everything that a page shows as typed."""
    for block in _BLOCK.findall(page.read_text()):
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = shown.partition("\n")
            yield command, output


EXAMPLES: Final = list(examples())


def test_there_are_examples_at_all() -> None:
    assert len([page for page, _, _ in EXAMPLES if page == "access.md"]) >= 5


@pytest.mark.parametrize(("page", "command", "output"), EXAMPLES, ids=[command for _, command, _ in EXAMPLES])
def test_a_documented_command_prints_what_the_page_shows(
    page: str, command: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(access, "time", FakeClock(1_800_000_000.0))  # before the contracts of the example end

    result = tctl(*command.split()[1:])

    assert result.errors + result.output == output, page


def test_the_plan_that_the_page_shows_is_what_comes_of_the_edit_that_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/planning.md").read_text()
    edit = re.search(r"^```diff\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = re.search(r"^```console\n\$ tctl (policy plan .*?)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert edit is not None
    assert shown is not None
    shutil.copytree(ROOT / "examples/policies", tmp_path / "policies")
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path)
    (tmp_path / "edit").write_text(edit[1])
    git(tmp_path, "apply", "--unidiff-zero", "edit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(policy_plan, "time", FakeClock(1_800_000_000.0))

    result = tctl(*shown[1].split())

    assert re.sub(r"\([0-9a-f]{12}\)", "(3f2c1a9d0e12)", result.errors + result.output) == shown[2]
    assert result.status == 2


def test_the_history_that_the_page_shows_is_that_of_the_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = shop(tmp_path)
    monkeypatch.chdir(tmp_path / "policies")
    shown = list(_shown(ROOT / "docs" / _HISTORY))

    for command, output in shown:
        result = tctl(*command.split()[1:])

        text = result.errors + result.output
        for real, told in zip(commits, COMMITS, strict=True):
            text = text.replace(real, told).replace(real[:12], told[:12])
        assert text == output

    assert len(shown) == 4


def test_the_role_of_the_page_is_one_that_a_cluster_takes(tmp_path: Path) -> None:
    page = (ROOT / "docs/planning.md").read_text()
    for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)):
        (tmp_path / f"{number}.yaml").write_text(text)

    result = tctl("policy", "validate", str(tmp_path))

    assert (result.status, result.output) == (0, f"{tmp_path} is valid: 1 role\n")


def test_the_failures_that_the_page_about_tests_shows_are_those_of_the_example_policies_without_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/policy-tests.md").read_text()
    shown = re.findall(r"^```console\n\$ tctl (policy test .*?)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    without = [("tests/production.yaml", r"  assume:(?s:.*)"), ("roles/contractor.yaml", r"    node_labels: .*\n")]

    for (command, output), (name, line) in zip(shown, without, strict=True):
        shutil.copytree(ROOT / "examples/policies", tmp_path / name / "policies")
        edited = tmp_path / name / "policies" / name
        edited.write_text(re.sub(line, "", edited.read_text()))
        monkeypatch.chdir(tmp_path / name)

        result = tctl(*command.split())

        assert result.errors + result.output == output
        assert result.status == 4


_CODE: Final = re.compile(r"^ *```(?:sh|console)?\n(.*?)^ *```$|((?:^ {4}.*\n)+)", re.MULTILINE | re.DOTALL)
_PROGRAMS: Final[Mapping[str, click.Command]] = {"tctl": tctl_program.cli, "tsh": tsh_program.cli}
_END_OF_COMMAND: Final = ("|", ">", ">>", "<<", "<", "&&", "||", ";")


def written_commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Page and words of every command line of ours in a block of code."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        for fenced, indented in _CODE.findall(page.read_text()):
            for line in (fenced or indented).splitlines():
                words = list(_words(line.strip().removeprefix("$ ")))
                if words and words[0] in _PROGRAMS:
                    yield page.name, tuple(words)


def _words(line: str) -> Iterator[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += ":{}@$%…,+"
    try:
        yield from itertools.takewhile(lambda word: not word.startswith(_END_OF_COMMAND), lexer)
    except ValueError:
        return  # a line of something else, such as YAML with an apostrophe


WRITTEN: Final = list(dict.fromkeys(written_commands()))


@pytest.mark.parametrize(("page", "words"), WRITTEN, ids=[" ".join(words) for _, words in WRITTEN])
def test_every_command_in_the_documentation_is_one_that_its_program_understands(
    page: str, words: tuple[str, ...]
) -> None:
    command: click.Command | None = _PROGRAMS[words[0]]
    context, rest = None, list(words[1:])
    while isinstance(command, click.Group):
        context = command.make_context(words[0], rest, parent=context)
        _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])

    assert command is not None, page
    command.make_context(words[-1], rest, parent=context)


@pytest.mark.parametrize("name", [name for name in WHERE.plain if name.startswith(("event.", "session."))])
def test_what_a_condition_may_speak_of_is_documented(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/access.md").read_text()


def test_every_condition_is_documented() -> None:
    page = (ROOT / "docs/access.md").read_text()
    table = page.partition("## Conditions")[2].partition("\n## ")[0]

    assert [key for key in Conditions().to_dict() if f"`{key}`" not in table] == []
