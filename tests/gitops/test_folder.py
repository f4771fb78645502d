"""Reading a folder: what counts, what is left out, what is refused."""

import asyncio
import os
from pathlib import Path

import pytest

from teleport.gitops import folder as module
from teleport.gitops.folder import FolderSource, read_folder
from teleport.resources.load import Loader

LOCK = "kind: lock\nversion: v2\nmetadata: {name: %s}\nspec: {target: {user: ann}}\n"


def test_policy_files_are_read_in_order_whatever_their_ending(tmp_path: Path) -> None:
    for name in ("b.yaml", "a/z.yml", "a/c.json", "notes.txt", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")

    files, problems = read_folder(tmp_path)

    assert [name for name, _ in files] == ["b.yaml", "a/c.json", "a/z.yml"]
    assert problems == []


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.yaml").write_text("{}")
    (tmp_path / ".x.yaml.swp.yaml").write_text("{}")

    assert read_folder(tmp_path) == ([], [])


def test_a_link_out_of_the_folder_is_refused_and_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("password: x")
    root = tmp_path / "policies"
    root.mkdir()
    (root / "x.yaml").symlink_to(secret)

    files, problems = read_folder(root)

    assert files == []
    assert [str(problem) for problem in problems] == [
        "x.yaml: a link that leads out of the folder (put what it leads to here)"
    ]


def test_a_link_within_the_folder_is_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("{}")
    (tmp_path / "alias.yaml").symlink_to("real.yaml")

    files, problems = read_folder(tmp_path)

    assert ([name for name, _ in files], problems) == (["alias.yaml", "real.yaml"], [])


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "v1" / "locks").mkdir(parents=True)
    (tmp_path / "v1" / "locks" / "x.yaml").write_text("{}")
    (tmp_path / "current").symlink_to("v1")

    assert read_folder(tmp_path / "current") == ([("locks/x.yaml", b"{}")], [])


def test_a_folder_beside_of_a_like_name_is_outside(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies-old.yaml").write_text("{}")
    (tmp_path / "policies" / "x.yaml").symlink_to(tmp_path / "policies-old.yaml")

    files, problems = read_folder(tmp_path / "policies")

    assert (files, [problem.message for problem in problems]) == ([], ["a link that leads out of the folder"])


def test_a_dangling_link_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.yaml")

    files, problems = read_folder(tmp_path)

    assert files == []
    assert [problem.file for problem in problems] == ["gone.yaml", "pipe.yaml"]


def test_a_folder_that_is_none_is_a_problem_not_an_empty_policy(tmp_path: Path) -> None:
    files, problems = read_folder(tmp_path / "missing")

    assert files == []
    assert "is not a folder" in str(problems[0])


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    for number in range(5):
        (tmp_path / f"{number}.yaml").write_text("{}")

    files, problems = read_folder(tmp_path)

    assert len(files) == 3
    assert "more than 3 files" in str(problems[0])


def test_more_resources_than_fit_are_refused_before_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.resources.load.MAX_RESOURCES", 2)
    files = [(f"{number}.yaml", (LOCK % f"l{number}").encode()) for number in range(3)]

    loaded = Loader().load([*files, ("z.yaml", b"never: [looked at")])

    assert [str(one) for one in loaded.problems] == ["2.yaml: more than 2 resources in one source"]
    assert loaded.resources == ()
    assert len(Loader().load(files[:2]).resources) == 2


async def test_a_source_names_itself_in_what_it_loads_and_keeps_paths_relative(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "x.yaml").write_text(LOCK % "one")

    loaded = await FolderSource(tmp_path, name="ops").load()

    origin = loaded.resources[0].origin
    assert (origin.source, origin.file, origin.line) == ("ops", "locks/x.yaml", 1)


async def test_one_name_declared_in_two_files_is_a_problem_of_the_later(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LOCK % "one")
    (tmp_path / "b.yaml").write_text(LOCK % "one")

    loaded = await FolderSource(tmp_path, name="ops").load()

    assert [str(problem) for problem in loaded.problems] == [
        "b.yaml:3:18: lock/one is declared twice (first at a.yaml:3)"
    ]


async def test_a_file_that_is_away_for_a_moment_is_not_taken_for_a_decision(tmp_path: Path) -> None:
    (tmp_path / "here.yaml").write_text(LOCK % "one")
    source = FolderSource(tmp_path, name="ops")
    loading = asyncio.create_task(source.load())
    await asyncio.sleep(0)
    data = (tmp_path / "here.yaml").read_bytes()
    (tmp_path / "here.yaml").unlink()
    await asyncio.sleep(0.05)
    (tmp_path / "there.yaml").write_bytes(data)

    loaded = await loading

    assert [one.name for one in loaded.resources] == ["one"]


async def test_while_git_is_at_work_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    lock = tmp_path / ".git" / "index.lock"
    lock.touch()
    (tmp_path / "policies").mkdir()
    loading = asyncio.create_task(FolderSource(tmp_path / "policies", name="ops").load())
    done, _ = await asyncio.wait([loading], timeout=0.5)
    (tmp_path / "policies" / "x.yaml").write_text(LOCK % "one")
    lock.unlink()

    loaded = await loading

    assert not done
    assert [one.name for one in loaded.resources] == ["one"]


async def test_a_lock_that_git_left_behind_holds_nothing_up_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REST_SECONDS", 0.001)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index.lock").touch()
    (tmp_path / "x.yaml").write_text(LOCK % "one")

    loaded = await FolderSource(tmp_path, name="ops").load()

    assert [one.name for one in loaded.resources] == ["one"]
