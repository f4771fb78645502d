"""A folder that an export writes: a file an object, never over other work, and the same when it is read again."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.cli.export import check_free, texts, write_export
from teleport.core.errors import BadInput, Conflict
from teleport.gitops.folder import read_folder
from teleport.gitops.plan import plan
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loader
from tests.access.builders import lock, role, setting, user

SOME: Final[list[AnyResource]] = [
    role("ops"),
    user("ann", ["ops"]),
    setting("cluster_auth_preference", message_of_the_day="Hello\nyou\n"),
]


def test_each_object_has_a_file_in_the_folder_of_its_kind() -> None:
    assert list(texts(SOME)) == ["settings/cluster_auth_preference.yaml", "roles/ops.yaml", "users/ann.yaml"]


def test_the_folder_says_what_was_exported(tmp_path: Path) -> None:
    write_export(tmp_path, texts(SOME))

    files, problems = read_folder(tmp_path)
    loaded = Loader("folder").load(files)
    assert (*problems, *loaded.problems) == ()
    assert plan(loaded.resources, {(one.kind, one.name): one for one in SOME}).empty


@given(st.sets(st.text("aAbB./\\é中😀%~:-", min_size=1, max_size=30)))
def test_whatever_objects_are_called_their_files_are_apart_and_no_system_minds(names: set[str]) -> None:
    files = texts([lock(name, user="x") for name in names])

    assert len({path.casefold() for path in files}) == len(names)
    assert all(path.isascii() and len(path) < 250 and path.count("/") == 1 and "/." not in path for path in files)


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    files = texts([lock("é" * 100 + "1", user="x"), lock("é" * 100 + "2", user="x")])

    assert len(files) == 2
    assert max(map(len, files)) < 250


def test_what_no_export_wrote_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    check_free(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(Conflict, match=r"holds what no export wrote: notes\.txt"):
        check_free(tmp_path)


def test_an_earlier_export_is_brought_up_to_date(tmp_path: Path) -> None:
    write_export(tmp_path, texts(SOME))

    check_free(tmp_path)
    write_export(tmp_path, texts([role("ops", options={"lock": "strict"})]))

    assert [path.name for path in tmp_path.rglob("*.yaml")] == ["ops.yaml"]
    assert "strict" in (tmp_path / "roles/ops.yaml").read_text()
    check_free(tmp_path)


@pytest.mark.parametrize("change", ["edit", "add", "link"])
def test_an_export_that_somebody_changed_is_not_touched(tmp_path: Path, change: str) -> None:
    write_export(tmp_path, texts(SOME))
    if change == "edit":
        (tmp_path / "roles/ops.yaml").write_text("kind: role\n")
    elif change == "add":
        (tmp_path / "roles/more.yaml").write_text("kind: role\n")
    else:
        (tmp_path / "roles/link").symlink_to("/")

    with pytest.raises(Conflict):
        check_free(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"files": 1}', '{"files": {"../x": "0"}}', '{"files": {"/x": "0"}}'])
def test_a_list_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / ".export.json").write_text(text)

    with pytest.raises(BadInput, match=r"\.export\.json"):
        check_free(tmp_path)
