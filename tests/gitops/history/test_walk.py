"""What was in force after each commit: what is said of those that do not hold, and what is not run."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from teleport.core.errors import Unavailable
from teleport.gitops.history import tree
from teleport.gitops.history.steps import read_line
from teleport.gitops.history.walk import Moment, walk
from teleport.gitops.revision import Repository
from teleport.resources.load import Loaded, Loader
from tests.gitops.history.branches import ANN, DEV, HOST, Files, branch, commits_of, head, role, user


def moments(folder: Path, *commits: Files, path: str = "", limit: int = 100) -> list[Moment]:
    repository = branch(folder, *commits, path=path)
    until = head(repository, path)
    return list(walk(repository, until, read_line(repository, until, limit)))


def test_each_commit_has_the_objects_that_it_leaves_with_the_commit_that_wrote_each(tmp_path: Path) -> None:
    first, second = moments(tmp_path, {"a.yaml": ANN, "d.yaml": DEV}, {"d.yaml": role(logins="web")})

    written = {ref: one.origin.commit for ref, one in second.resources.items()}
    assert written == {("user", "ann"): first.step.commit, ("role", "dev"): second.step.commit}
    assert dict(second.written) == {("role", "dev"): second.step.commit}


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"d.yaml": "kind: rôle\n"}, "d.yaml:1:7: unknown kind rôle"),
        ({"d.yaml": None}, "a.yaml:4:16: unknown role dev"),
        ({"d2.yaml": DEV}, "d2.yaml:1:1: role/dev is declared twice"),
        ({"d.yaml": DEV + "---\n" + DEV}, "role/dev is declared twice"),
        ({"l.yaml": "->/etc/passwd"}, "l.yaml: a link that leads out of the folder"),
        ({"big.yaml": "version https://git-lfs.github.com/spec/v1\n"}, "big.yaml: a pointer to git LFS"),
        ({"a.yaml": None, "d.yaml": None}, "nothing is declared"),
        ({"a.yaml": user(roles="dev, ops")}, "a.yaml:4:21: unknown role ops"),
    ],
)
def test_a_commit_that_does_not_hold_says_why_and_leaves_what_was(tmp_path: Path, files: Files, problem: str) -> None:
    first, broken, mended = moments(
        tmp_path, {"a.yaml": ANN, "d.yaml": DEV}, files,
        {**dict.fromkeys(files), "a.yaml": ANN, "d.yaml": DEV},
    )  # fmt: skip

    assert problem in "\n".join(map(str, broken.problems))
    assert broken.resources == first.resources
    assert not mended.problems
    assert mended.resources.keys() == first.resources.keys()


def test_only_the_folder_counts_and_commits_elsewhere_are_no_step(tmp_path: Path) -> None:
    found = moments(
        tmp_path, {"p/a.yaml": ANN, "p/d.yaml": DEV, "q/h.yaml": HOST}, {"q/x.yaml": "]"}, {"p/README": "x"}, path=""
    )
    inside = list(_inside(tmp_path, "p"))

    assert len(found) == 3
    assert len(inside) == 2
    assert {ref[0] for ref in inside[-1].resources} == {"user", "role"}


def _inside(folder: Path, path: str) -> list[Moment]:
    repository = Repository(folder)
    until = head(repository, path)
    return list(walk(repository, until, read_line(repository, until, 100)))


def test_a_file_is_parsed_once_for_each_time_that_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    class Counting(Loader):
        def load(self, files: Iterable[tuple[str, bytes]]) -> Loaded:
            found = list(files)
            parsed.extend(name for name, _ in found)
            return super().load(found)

    monkeypatch.setattr(tree, "Loader", Counting)

    moments(tmp_path, {"a.yaml": ANN, "d.yaml": DEV}, *({"z.yaml": user(f"u{number}")} for number in range(5)))

    assert sorted(parsed) == ["a.yaml", "d.yaml", *["z.yaml"] * 5]


def test_who_asks_no_longer_ends_the_reading(tmp_path: Path) -> None:
    repository = branch(tmp_path, {"a.yaml": ANN, "d.yaml": DEV})

    with pytest.raises(Unavailable, match="takes too long"):
        list(walk(repository, head(repository), read_line(repository, head(repository), 9), stop=lambda: True))


def test_names_and_messages_that_look_like_gits_own_words_confuse_nobody(tmp_path: Path) -> None:
    odd = ":100644 100644 x.yaml"

    found = moments(tmp_path, {"a.yaml": ANN, "d.yaml": DEV, odd: user("bob"), "\x01f.yaml": user("cy")})

    assert len(found) == 1
    assert ("user", "cy") in found[0].resources
    assert commits_of(branch(tmp_path / "two", {"a": "x"})) != [found[0].step.commit]


def test_a_shallow_clone_does_not_take_its_beginning_for_the_beginning(tmp_path: Path) -> None:
    first = {"a.yaml": ANN, "d.yaml": DEV}
    upstream = branch(tmp_path / "upstream", first, {"d.yaml": role(logins="web")}, {"x.yaml": user("bob", "")})
    found = {}
    for depth in (1, 2, 3):
        folder = tmp_path / f"clone{depth}"
        subprocess.run(
            ["git", "clone", "-q", f"--depth={depth}", f"file://{upstream.folder}", str(folder)], check=True, timeout=20
        )
        line = read_line(Repository(folder), Repository(folder).commit("HEAD"), 9)
        found[depth] = [line.base.commit if line.base is not None else "", *(one.commit for one in line.steps)]

    one, two, three = commits_of(upstream)
    assert found == {1: [three], 2: [two, three], 3: ["", one, two, three]}


def test_a_clone_that_left_files_with_its_server_says_what_to_do(tmp_path: Path) -> None:
    upstream = branch(tmp_path / "upstream", {"a.yaml": ANN, "d.yaml": DEV}, {"d.yaml": role(logins="web")})
    upstream.ask("config", "uploadpack.allowFilter", "true")
    subprocess.run(
        ["git", "clone", "-q", "--filter=blob:none", f"file://{upstream.folder}", str(tmp_path / "clone")],
        check=True, timeout=20,
    )  # fmt: skip
    repository = Repository(tmp_path / "clone")
    until = repository.commit("HEAD")

    with pytest.raises(Unavailable, match="is not in this clone") as error:
        list(walk(repository, until, read_line(repository, until, 9)))

    assert "git fetch --refetch" in error.value.hint
