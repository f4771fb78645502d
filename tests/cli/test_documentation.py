"""What the documentation shows of commands that need no cluster is what they print."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from teleport.access.options import Conditions
from teleport.cli.tctl_commands import access
from tests.builders import FakeClock
from tests.cli.programs import tctl

ROOT: Final = Path(__file__).resolve().parents[2]
_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OFFLINE: Final = ("tctl access ", "tctl policy validate ")


def examples() -> Iterator[tuple[str, str, str]]:
    """Page, command and output of everything that a page shows and that can be run here."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in _BLOCK.findall(page.read_text()):
            for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = shown.partition("\n")
                if command.startswith(_OFFLINE):
                    yield page.name, command, output


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


def test_every_condition_is_documented() -> None:
    page = (ROOT / "docs/access.md").read_text()
    table = page.partition("## Conditions")[2].partition("\n## ")[0]

    assert [key for key in Conditions().to_dict() if f"`{key}`" not in table] == []
