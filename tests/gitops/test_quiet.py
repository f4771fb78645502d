"""What a folder looks like from outside."""

from pathlib import Path

import pytest

from teleport.gitops.quiet import glance


def test_a_folder_that_nobody_wrote_to_looks_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("1")

    assert glance(tmp_path) == glance(tmp_path)


@pytest.mark.parametrize("change", ["write", "add", "remove", "replace"])
def test_each_way_to_write_to_it_shows(tmp_path: Path, change: str) -> None:
    (tmp_path / "a.yaml").write_text("1")
    (tmp_path / "b.tmp").write_text("1")
    before = glance(tmp_path)
    if change == "write":
        (tmp_path / "a.yaml").write_text("22")
    elif change == "add":
        (tmp_path / "c.yaml").write_text("1")
    elif change == "remove":
        (tmp_path / "a.yaml").unlink()
    else:
        (tmp_path / "b.tmp").replace(tmp_path / "a.yaml")

    assert glance(tmp_path) != before


def test_git_is_at_work_while_the_index_of_the_repository_around_is_locked(tmp_path: Path) -> None:
    policies = tmp_path / "deep" / "policies"
    policies.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    at_rest = glance(policies).locked

    (tmp_path / ".git" / "index.lock").touch()

    assert (at_rest, glance(policies).locked) == (False, True)


def test_a_linked_working_tree_has_its_index_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "repository" / "worktrees" / "policies"
    elsewhere.mkdir(parents=True)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / ".git").write_text(f"gitdir: {elsewhere}\n")
    at_rest = glance(tmp_path / "policies").locked

    (elsewhere / "index.lock").touch()

    assert (at_rest, glance(tmp_path / "policies").locked) == (False, True)
