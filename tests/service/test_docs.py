"""What the pages tell people to type: commands and options that exist, files that lie where they say."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from teleport.service.reload import LIVE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / name for name in ("operations.md", "installing.md", "backup.md", "watching.md")]
PROGRAMS = {
    "teleport": ("teleport.service.__main__", "cli"),
    "tctl": ("teleport.cli.tctl", "cli"),
    "tsh": ("teleport.cli.tsh", "cli"),
}
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#([^)]+))?\)")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of ours in the pages' shell blocks: the program, and the words that follow."""
    for page in PAGES:
        for block in _BLOCK.findall(page.read_text()):
            for line in block.splitlines():
                words = shlex.split(line.partition(" > ")[0], comments=True)
                yield from _ours(words)


def _ours(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """`podman exec CONTAINER PROGRAM …` and `podman run … IMAGE COMMAND …` count as what runs in the container."""
    if words[:2] == ["podman", "exec"] or words[:3] == ["podman", "run", "--rm"]:
        words = words[3:]
    if words and (name := Path(words[0]).name) in PROGRAMS:
        yield name, words[1:]


def understood(program: str, words: list[str]) -> click.Command:
    """The command that would run. Raises click's errors for what is not understood."""
    module, attribute = PROGRAMS[program]
    command: click.Command = getattr(importlib.import_module(module), attribute)
    context, rest = click.Context(command, info_name=program), words
    while True:
        _, rest, _ = command.make_parser(context).parse_args(list(rest))
        if not isinstance(command, click.Group):
            return command
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, parent=context)


@pytest.mark.parametrize(("program", "words"), list(commands()), ids=lambda value: " ".join(value)[:40])
def test_a_command_that_a_page_shows_is_understood(program: str, words: list[str]) -> None:
    assert understood(program, words).name


def test_a_command_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(click.NoSuchOption):
        understood("teleport", ["start", "--polices", "x"])
    with pytest.raises(click.UsageError):
        understood("tctl", ["tokens", "make"])


def test_the_page_names_what_sighup_takes_over() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (`.*) \|$", PAGES[0].read_text(), re.MULTILINE))

    for section, fields in LIVE.items():
        named = re.findall(r"`([\w.]+)`", rows[section])
        assert set(named) <= set(fields), section
        assert section == "auth_service" or set(named) == set(fields), section


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_pages_and_headings_that_exist(page: Path) -> None:
    for target, anchor in _LINK.findall(page.read_text()):
        path = page.parent / target
        assert path.exists(), target
        assert not anchor or anchor in _anchors(path), f"{target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_source_tree_that_a_page_names_exist(page: Path) -> None:
    for name in re.findall(r"(?<![/\w])examples/[\w./-]*\w", page.read_text()):
        assert (ROOT / name).exists(), name
