"""The published table is of these targets and not of others, and names what was really executed."""

from pathlib import Path

from tests.fuzz.budget import API, SSH
from tests.fuzz.targets import TARGETS

PAGE = Path(__file__).parents[2] / "docs" / "security-model.md"


def rows() -> dict[str, tuple[str, int, str]]:
    """By what was tried: the tool, how often, and what was asserted."""
    section = PAGE.read_text().split("\n## How it is fuzzed\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0]: (row[1], int(row[2].replace(",", "")), row[3]) for row in cells[2:]}


def test_every_target_is_published_with_the_number_of_its_executions() -> None:
    published = rows()

    for target in TARGETS:
        tool, executions, holds = published[target.about]
        assert (tool, holds) == ("atheris", target.holds)
        assert executions >= target.runs
    for about, holds in (SSH, API):
        _, executions, asserted = published[about]
        assert asserted == holds
        assert executions > 1000


def test_nothing_is_published_that_is_no_target() -> None:
    expected = {target.about for target in TARGETS} | {SSH[0], API[0]}

    left = set(rows()) - expected

    assert len(left) == 1
    assert "property tests" in left.pop()
