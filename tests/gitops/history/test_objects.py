"""What became of one object."""

from pathlib import Path

from teleport.gitops.history.objects import ObjectChange, changes_of
from teleport.gitops.history.steps import read_line
from teleport.gitops.history.walk import walk
from tests.gitops.history.branches import ANN, DEV, Files, branch, commits_of, head, role, user

TOKEN = "kind: token\nversion: v2\nmetadata: {name: s3cret}\nspec: {roles: [node], join_method: token}\n"


def changes(
    folder: Path, *commits: Files, ref: tuple[str, str] = ("role", "dev"), limit: int = 100
) -> tuple[list[ObjectChange], list[str]]:
    """The changes, oldest first, and all commits."""
    repository = branch(folder, *commits)
    line = read_line(repository, head(repository), limit)
    return list(changes_of(walk(repository, head(repository), line), ref)), commits_of(repository)


def test_it_is_made_changed_moved_and_removed_and_only_moving_is_no_change(tmp_path: Path) -> None:
    found, commits = changes(
        tmp_path, {"a.yaml": user(roles=""), "d.yaml": DEV}, {"d.yaml": role(logins="web")},
        {"d.yaml": None, "e.yaml": role(logins="web")}, {"x.yaml": user("bob", "")}, {"e.yaml": None},
    )  # fmt: skip

    assert [(one.action, commits.index(one.commit)) for one in found] == [
        ("created", 0),
        ("updated", 1),
        ("deleted", 4),
    ]
    (field,) = found[1].fields
    assert (field.path, field.old, field.new) == ("spec.allow.logins", ["root"], ["web"])
    assert (found[2].file, found[2].line) == ("e.yaml", 1)


def test_a_change_belongs_to_who_wrote_it_also_if_it_came_into_force_with_a_later_commit(tmp_path: Path) -> None:
    found, commits = changes(
        tmp_path, {"a.yaml": ANN, "d.yaml": DEV}, {"d.yaml": role(logins="web"), "x.yaml": "]"}, {"x.yaml": None}
    )

    assert [(commits.index(one.commit), commits.index(one.in_force)) for one in found] == [(0, 0), (1, 2)]


def test_what_a_broken_file_hides_is_removed_by_who_removes_it_and_not_by_who_broke_it(tmp_path: Path) -> None:
    found, commits = changes(
        tmp_path, {"a.yaml": user(roles=""), "d.yaml": DEV}, {"d.yaml": "]"}, {"d.yaml": "]]"}, {"d.yaml": None},
    )  # fmt: skip

    assert [(one.action, commits.index(one.commit)) for one in found] == [("created", 0), ("deleted", 3)]


def test_what_never_came_into_force_is_no_change(tmp_path: Path) -> None:
    found, _ = changes(
        tmp_path, {"a.yaml": ANN, "d.yaml": DEV}, {"d.yaml": role(logins="web"), "x.yaml": "]"},
        {"d.yaml": DEV, "x.yaml": None},
    )  # fmt: skip

    assert [one.action for one in found] == ["created"]


def test_where_the_history_is_cut_off_an_object_is_there_already(tmp_path: Path) -> None:
    found, _ = changes(
        tmp_path, {"a.yaml": ANN, "d.yaml": DEV}, {"x.yaml": user("bob", "")}, {"x.yaml": user("cy", "")}, limit=1
    )

    assert [one.action for one in found] == ["there"]


def test_secrets_are_not_told(tmp_path: Path) -> None:
    found, _ = changes(tmp_path, {"t.yaml": TOKEN}, ref=("token", "s3cret"))

    assert "s3cret" not in str([one.to_dict() for one in found[0].fields])
    assert {one.new for one in found[0].fields} == {"(hidden)"}
