"""Which files of a folder are policy, through links of all kinds."""

from pathlib import Path

import pytest

from teleport.gitops.tree import policy_files


def names(root: Path) -> list[str]:
    return [found.name for found in policy_files(root) if not found.refusal]


def refusals(root: Path) -> list[str]:
    return [found.name for found in policy_files(root) if found.refusal]


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def test_a_mounted_config_map_is_read_through_its_links_and_once(tmp_path: Path) -> None:
    put(tmp_path / "..2030_01_31" / "roles" / "dev.yaml")
    put(tmp_path / "..2030_01_31" / "users.yaml")
    (tmp_path / "..data").symlink_to("..2030_01_31")
    (tmp_path / "roles").symlink_to("..data/roles")
    (tmp_path / "users.yaml").symlink_to("..data/users.yaml")

    assert names(tmp_path) == ["users.yaml", "roles/dev.yaml"]
    assert refusals(tmp_path) == []


def test_a_linked_folder_outside_is_refused_and_not_looked_into(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "x.yaml")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "roles").symlink_to(tmp_path / "elsewhere")

    assert names(tmp_path / "policies") == []
    assert refusals(tmp_path / "policies") == ["roles"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.yaml")
    put(tmp_path / "b" / "y.yaml")
    (tmp_path / "a" / "over").symlink_to("../b")
    (tmp_path / "b" / "back").symlink_to("../a")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")

    assert names(tmp_path) == ["loop.yaml", "a/x.yaml", "a/over/y.yaml"]


def test_a_folder_beside_of_a_like_name_is_outside(tmp_path: Path) -> None:
    put(tmp_path / "policies-old" / "x.yaml")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "y.yaml").symlink_to(tmp_path / "policies-old" / "x.yaml")

    assert refusals(tmp_path / "policies") == ["y.yaml"]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path / "release-1" / "users" / "ann.yaml")
    (tmp_path / "current").symlink_to("release-1")

    assert names(tmp_path / "current") == ["users/ann.yaml"]


def test_a_folder_that_cannot_be_looked_into_is_a_fault_and_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "users" / "ann.yaml")

    def closed(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("teleport.gitops.tree.os.scandir", closed)

    assert [found.refusal for found in policy_files(tmp_path)] == ["cannot be read: Permission denied"]
